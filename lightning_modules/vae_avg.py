"""VAE-AVG: a decoder whose states are the average over several samples of z. B sentences, L samples, Z latent size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from lightning_modules.backbone.decoder import State
from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.randomness import SentenceRandom
from lightning_modules.svae import SentenceVAE
from lightning_modules.text_model import ObjectiveTerms


class AveragingVAE(SentenceVAE):
    """Runs the decoder once for each of L samples and averages its states at each step, before one softmax.

    (Kruengkrai 2019, eq. 7 and 8.) With L = 1 it is the `SentenceVAE`.

    The paper adds the KL once (`nll_kl_once`). But the decoder is told L independent latents, each of which costs its
    own KL: only the L-fold KL gives a bound on log p(x) under the prior N(0, I) (`negative_elbo`). Both are reported.
    Training and `monitor` follow the paper.

    A sentence is encoded as the mean of its posterior, which is read back as L equal latents; new sentences are written
    from L draws of the prior.

    Args:
        samples: L in training; in evaluation and generation, too, unless `eval_samples` says otherwise.
        kwargs: The rest of the `SentenceVAE`, the backbone and the optimiser.
    """

    terms = ("reconstruction", "kl", "nll_kl_once", "negative_elbo", "objective")
    perplexities: ClassVar[Mapping[str, str]] = {
        "perplexity_kl_once": "nll_kl_once",
        "perplexity": "negative_elbo",
    }

    def __init__(self, samples: int = 5, **kwargs: Any) -> None:
        super().__init__(samples=samples, **kwargs)
        self.latents_per_sentence = self.eval_samples

    def elbo(self, batch: TokenBatch, posterior: Gaussian, z_LBZ: Tensor) -> ObjectiveTerms:
        """As the `SentenceVAE`, with the KL counted once, and L times."""
        objective = super().elbo(batch, posterior, z_LBZ)
        terms = objective.terms
        bound = terms["reconstruction"] + len(z_LBZ) * terms["kl"]
        return replace(objective, terms={**terms, "nll_kl_once": terms["negative_elbo"], "negative_elbo": bound})

    def sampled_reconstruction(self, batch: TokenBatch, z_LBZ: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) -log p(x|z_1, ..., z_L) of the averaged states, nats, and EOS's part of it."""
        return self.sentence_nll(batch, z_LBZ.transpose(0, 1))

    def token_nll(self, batch: TokenBatch, z_BZ: Tensor) -> Tensor:
        """As of any family, (B, T), of the average over z (B, L, Z), or of one z (B, Z): the average of equal ones."""
        if z_BZ.dim() == 2:
            return super().token_nll(batch, z_BZ)
        batch = self.decoder_batch(batch)
        inputs = batch.inputs.repeat_interleave(z_BZ.shape[1], 0)
        states = self.backbone.decoder(inputs, z_BZ.flatten(0, 1))
        return self.backbone.token_nll(batch, states.view(*z_BZ.shape[:2], *states.shape[1:]).mean(1))

    def step(self, words_B: Tensor, z_BZ: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Writes one word from the average over z (B, L, Z), or from one z (B, Z): the average of equal ones."""
        if z_BZ.dim() == 2:
            return super().step(words_B, z_BZ, state)
        decoder = self.backbone.decoder
        hidden, state = decoder.step(words_B.repeat_interleave(z_BZ.shape[1]), z_BZ.flatten(0, 1), state)
        return decoder.logits(hidden.view(*z_BZ.shape[:2], -1).mean(1)), state

    def prior_latents(self, random: SentenceRandom) -> Tensor:
        """(B, L, Z) draws from the prior: a sentence is written from L of them."""
        draws = [
            random.normal("prior samples", self.latent_size, sample=sample)
            for sample in range(self.latents_per_sentence)
        ]
        return torch.stack(draws, dim=1)
