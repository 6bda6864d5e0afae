"""The VAE with a mutual information term. B sentences, T steps, H decoder state, Z latent size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import require_not_negative
from datamodules.vocabulary import BOS, PAD
from lightning_modules.backbone.encoder import Encoder
from lightning_modules.backbone.initialization import initialize
from lightning_modules.backbone.posterior import Gaussian, PosteriorHeads, standard_normal_log_prob
from lightning_modules.decoding.search import sample
from lightning_modules.svae import SentenceVAE
from lightning_modules.text_model import ObjectiveTerms, configured


@dataclass(frozen=True)
class MutualInformationConfig:
    """The mutual information term (Vani & Birodkar 2016, eq. 8 and 9).

    Attributes:
        weight: lambda; the final one where a schedule drives `mi_weight`.
        text: Of what the decoder's states are: a sentence `sampled` from p(x|z), z from the prior (eq. 8), or the
            `true` sentence, z from its posterior (the authors' code).
        times_kl_weight: The authors' code multiplies lambda by the KL weight, and so anneals both.
    """

    weight: float = 1.0
    text: Literal["sampled", "true"] = "sampled"
    times_kl_weight: bool = False

    def __post_init__(self) -> None:
        require_not_negative("mutual_information.weight", self.weight)


class MutualInformationVAE(SentenceVAE):
    """Minimises negative ELBO + lambda L_MI, L_MI = E[log p(z) - log q_MI(z|x)] (Vani & Birodkar 2016, eq. 9).

    The paper derives -L_MI as a lower bound on the mutual information of z and the text that the decoder writes from
    it. That holds of a q_MI that sees the text alone; here, as in the paper, it reads the decoder's states with an
    encoder of its own, and the states know z from other places as well: -L_MI may exceed the mutual information. The
    term's gradient reaches q_MI and, through the states, the decoder; never z, the encoder, or the choice of sampled
    words.

    `mi_loss` is L_MI of one draw a sentence, nats; `conditional_perplexity` is the paper's, of -log p(x|z) without the
    KL (but with this framework's count of tokens).

    Args:
        mutual_information: The term.
        kwargs: The rest of the `SentenceVAE`, the backbone and the optimiser.
    """

    terms = ("reconstruction", "kl", "negative_elbo", "objective", "mi_loss")
    perplexities: ClassVar[Mapping[str, str]] = {
        "perplexity": "negative_elbo",
        "conditional_perplexity": "reconstruction",
    }

    def __init__(self, mutual_information: MutualInformationConfig = MutualInformationConfig(), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mutual_information = configured(MutualInformationConfig, mutual_information)
        self.weights["mi_weight"] = self.mutual_information.weight
        self.state_encoder = Encoder(self.encoder_config, self.decoder_config.hidden_size)
        self.state_posterior = PosteriorHeads(self.posterior_config, self.state_encoder.summary_size)
        for part in (self.state_encoder, self.state_posterior):
            initialize(part, None, self.initialization)

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """The VAE's terms and L_MI."""
        posterior = self.encode(batch)
        z_LBZ = self.sample_latents(batch, posterior)
        elbo = self.elbo(batch, posterior, z_LBZ)
        mi_loss = self.mi_loss(*self._text(batch, z_LBZ[0]))
        weight = self.weights["mi_weight"]
        if self.mutual_information.times_kl_weight:
            weight *= self.weights["kl_weight"]
        return ObjectiveTerms(elbo.loss + weight * mi_loss, {**elbo.terms, "mi_loss": mi_loss}, elbo.ends)

    def mi_loss(self, z_BZ: Tensor, inputs_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """(B,) L_MI: log p(z) - log q_MI(z|states) of latents and of the decoder's states on texts, nats."""
        posterior: Gaussian = self.state_posterior(
            self.state_encoder(self.backbone.decoder(inputs_BT, z_BZ), lengths_B)
        )
        return standard_normal_log_prob(z_BZ) - posterior.log_prob(z_BZ)

    def _text(self, batch: TokenBatch, posterior_BZ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, the decoder's inputs for a text of theirs, and its lengths, all beyond the reach of gradients."""
        if self.mutual_information.text == "true":
            batch = self.decoder_batch(batch)
            return posterior_BZ.detach(), batch.inputs, batch.lengths
        random = self.random(batch)
        z_BZ = random.normal("mutual information", self.latent_size)
        words_BT = sample(self, z_BZ, random).clone()  # what was made in inference mode cannot be trained on
        inputs_BT = torch.cat((torch.full_like(words_BT[:, :1], BOS), words_BT[:, :-1]), dim=1)
        return z_BZ, inputs_BT, (words_BT != PAD).sum(1)
