"""SentenceMIM: mutual information machine learning of text. B sentences, Z latent size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from datamodules.batch import TokenBatch
from lightning_modules.backbone.posterior import standard_normal_log_prob
from lightning_modules.base import TextAutoencoder
from lightning_modules.text_model import ObjectiveTerms


class SentenceMIM(TextAutoencoder):
    """Minimises the A-MIM loss -log p(x|z) - (log q(z|x) + log p(z)) / 2, z ~ q(z|x) (Livne et al. 2020, algorithm 1).

    Where the VAE pulls each posterior towards the prior, this rewards narrow posteriors around latents that are
    probable under it: the information in z is high without annealing. The aggregate posterior then differs from N(0,
    I), which the negative ELBO, also reported, pays for.
    """

    monitor = "val/mim_loss"
    terms = ("reconstruction", "kl", "negative_elbo", "mim_loss")
    perplexities: ClassVar[Mapping[str, str]] = {"perplexity": "negative_elbo"}

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """The loss of one sample of z a sentence, and the ELBO's parts."""
        posterior = self.encode(batch)
        z_BZ = self.sample_latent(batch, posterior)
        reconstruction = self.reconstruction(batch, z_BZ)
        loss = reconstruction - 0.5 * (posterior.log_prob(z_BZ) + standard_normal_log_prob(z_BZ))
        kl = posterior.kl_from_standard_normal().sum(1)
        terms = {
            "reconstruction": reconstruction,
            "kl": kl,
            "negative_elbo": reconstruction + kl,
            "mim_loss": loss,
        }
        return ObjectiveTerms(loss, terms)
