"""How many latent dimensions a model uses."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.metrics.fixed_precision import FixedPrecision


class ActiveUnits(FixedPrecision):
    """Dimensions of z whose posterior mean varies over the sentences by more than a threshold (Burda et al. 2016).

    Args:
        latent_size: Z.
        threshold: Of the variance, with n - 1 in its denominator.
    """

    full_state_update = False
    count: Tensor
    sums: Tensor
    squares: Tensor

    def __init__(self, latent_size: int, threshold: float = 0.01) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("count", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("sums", default=torch.zeros(latent_size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squares", default=torch.zeros(latent_size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, mean_BZ: Tensor) -> None:
        """Adds sentences' posterior means."""
        self.count += len(mean_BZ)
        self.sums += mean_BZ.double().sum(0)
        self.squares += mean_BZ.double().square().sum(0)

    def compute(self) -> Tensor:
        """Their number."""
        return (self.variances() > self.threshold).sum()

    def variances(self) -> Tensor:
        """(Z,) of the posterior means."""
        return (self.squares - self.sums.square() / self.count) / (self.count - 1).clamp(min=1)
