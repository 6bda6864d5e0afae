"""The plain autoencoder."""

from __future__ import annotations

from typing import Any, Literal

from datamodules.batch import TokenBatch
from lightning_modules.base import TextAutoencoder
from lightning_modules.text_model import ObjectiveTerms


class Autoencoder(TextAutoencoder):
    """Minimises -log p(x|z) alone.

    Args:
        latent: z is the posterior's `mean` (the deterministic autoencoder of Livne et al. 2020), or a `sample` of it
            with a learned, unregularised variance (what the code of Shen et al. 2020 calls an autoencoder).
        kwargs: The backbone and the optimiser; see `TextAutoencoder`.
    """

    def __init__(self, latent: Literal["mean", "sample"] = "mean", **kwargs: Any) -> None:
        self.draws_latents = latent == "sample"  # of which the base's figures depend
        super().__init__(**kwargs)
        self.latent = latent
        self.stochastic = latent == "sample"
        if latent == "mean":
            self.backbone.posterior.scale.requires_grad_(False)  # unused, which DDP refuses

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """The reconstruction term."""
        posterior = self.encode(batch)
        z_BZ = posterior.mean if self.latent == "mean" else self.sample_latent(batch, posterior)
        reconstruction, ends = self.sentence_nll(batch, z_BZ)
        return ObjectiveTerms(reconstruction, {"reconstruction": reconstruction}, ends)
