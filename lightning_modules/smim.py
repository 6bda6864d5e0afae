"""SentenceMIM: mutual information machine learning of text. B sentences, Z latent size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import require_not_negative
from lightning_modules.backbone.posterior import standard_normal_log_prob
from lightning_modules.base import TextAutoencoder
from lightning_modules.randomness import SentenceRandom
from lightning_modules.text_model import ObjectiveTerms


class SentenceMIM(TextAutoencoder):
    """Minimises the A-MIM loss -log p(x|z) - (log q(z|x) + log p(z)) / 2, z ~ q(z|x) (Livne et al. 2020, algorithm 1).

    Where the VAE pulls each posterior towards the prior, this rewards narrow posteriors around latents that are
    probable under it: the information in z is high without annealing. The aggregate posterior then differs from N(0,
    I), which the negative ELBO, also reported, pays for.

    Args:
        prior_scale: Standard deviation of the latents from which new sentences are written (the paper: 0.1).
        kwargs: The backbone and the optimiser; see `TextAutoencoder`. Without a `posterior.min_log_variance` the loss
            has no lower bound (their code: -10).
    """

    monitor = "val/mim_loss"
    terms = ("reconstruction", "kl", "negative_elbo", "mim_loss")
    perplexities: ClassVar[Mapping[str, str]] = {"perplexity": "negative_elbo"}

    def __init__(self, prior_scale: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require_not_negative("prior_scale", prior_scale)
        self.prior_scale = prior_scale

    def prior_latents(self, random: SentenceRandom) -> Tensor:
        """(B, Z) draws from N(0, prior_scale^2 I)."""
        return self.prior_scale * super().prior_latents(random)

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """The loss of one sample of z a sentence, and the ELBO's parts."""
        posterior = self.encode(batch)
        z_BZ = self.sample_latent(batch, posterior)
        reconstruction, ends = self.sentence_nll(batch, z_BZ)
        loss = reconstruction - 0.5 * (posterior.log_prob(z_BZ) + standard_normal_log_prob(z_BZ))
        kl = posterior.kl_from_standard_normal().sum(1)
        terms = {
            "reconstruction": reconstruction,
            "kl": kl,
            "negative_elbo": reconstruction + kl,
            "mim_loss": loss,
        }
        return ObjectiveTerms(loss, terms, ends)
