"""The sentence variational autoencoder, and the beta-VAE. B sentences, L samples of z, Z latent size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import require, require_not_negative
from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.base import TextAutoencoder
from lightning_modules.text_model import ObjectiveTerms


class SentenceVAE(TextAutoencoder):
    """Minimises the negative ELBO, -E_q[log p(x|z)] + KL(q(z|x) || N(0, I)) (Bowman et al. 2016).

    The expectation is the mean over L samples (Kruengkrai 2019, eq. 3), the KL closed form. A KL weight other than 1,
    constant, makes it the beta-VAE; with a schedule of `callbacks.annealing` it is annealed. What evaluation reports
    has weight 1 whatever the weight in training.

    Args:
        samples: L, draws of z for each sentence in training.
        eval_samples: Draws in evaluation; L where it is null.
        kl_weight: Weight of the KL; the final one where a schedule drives `kl_weight`.
        free_bits: Nats of each latent dimension of a sentence that the KL is not charged for (Kingma et al. 2016, there
            on the mean of a batch).
        kwargs: The backbone and the optimiser; see `TextAutoencoder`.
    """

    monitor = "val/objective"
    terms: ClassVar[tuple[str, ...]] = ("reconstruction", "kl", "negative_elbo", "objective")
    perplexities: ClassVar[Mapping[str, str]] = {"perplexity": "negative_elbo"}

    def __init__(
        self,
        samples: int = 1,
        eval_samples: int | None = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require(samples > 0, f"samples is {samples}: give 1 or more")
        require(eval_samples is None or eval_samples > 0, f"eval_samples is {eval_samples}: give 1 or more")
        require_not_negative("kl_weight", kl_weight)
        require_not_negative("free_bits", free_bits)
        self.samples = samples
        self.eval_samples = samples if eval_samples is None else eval_samples
        self.free_bits = free_bits
        self.kl_weight = kl_weight
        self.weights["kl_weight"] = kl_weight

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """The ELBO's two parts, and the negative ELBO itself at KL weight 1."""
        posterior = self.encode(batch)
        return self.elbo(batch, posterior, self.sample_latents(batch, posterior))

    def elbo(self, batch: TokenBatch, posterior: Gaussian, z_LBZ: Tensor) -> ObjectiveTerms:
        """The objective with these draws of z."""
        reconstruction, ends = self.sampled_reconstruction(batch, z_LBZ)
        kl_BZ = posterior.kl_from_standard_normal()
        kl, charged = kl_BZ.sum(1), self.charged(kl_BZ)
        loss = reconstruction + self.weights["kl_weight"] * charged
        terms = {
            "reconstruction": reconstruction,
            "kl": kl,
            "negative_elbo": reconstruction + kl,
            "objective": reconstruction + self.kl_weight * charged,
        }
        return ObjectiveTerms(loss, terms, ends)

    def charged(self, kl_BZ: Tensor) -> Tensor:
        """(B,) the KL that the loss charges: that of each dimension, but no less than the free bits."""
        return kl_BZ.clamp(min=self.free_bits).sum(1) if self.free_bits > 0 else kl_BZ.sum(1)

    def sample_latents(self, batch: TokenBatch, posterior: Gaussian) -> Tensor:
        """(L, B, Z), drawn from the posterior: `samples` of each sentence, in evaluation `eval_samples`."""
        count = self.samples if self.training else self.eval_samples
        return torch.stack([self.sample_latent(batch, posterior, sample) for sample in range(count)])

    def sampled_reconstruction(self, batch: TokenBatch, z_LBZ: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) the mean over samples of -log p(x|z), nats, and EOS's part of it."""
        nll, ends = self.sentence_nll(batch.tiled(len(z_LBZ)), z_LBZ.flatten(0, 1))
        return nll.view(z_LBZ.shape[:2]).mean(0), ends.view(z_LBZ.shape[:2]).mean(0)
