"""How spread out latent codes are. N codes, Z latent size."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from lightning_modules.backbone.layers import at_least_float32
from lightning_modules.metrics.fixed_precision import FixedPrecision

CHUNK = 1024


class NearestNeighborEntropy(FixedPrecision):
    """Entropy of the codes' distribution, from the distance of each to its k-th nearest neighbour.

    The estimator of Kraskov et al. (2004, eq. 20) with the maximum norm, as Livne et al. (2020, table 6) report it with
    k = 3. Its bias grows with Z, and is another one with another norm.

    Args:
        neighbors: k.
    """

    full_state_update = False
    codes: list[Tensor]

    def __init__(self, neighbors: int = 3) -> None:
        super().__init__()
        self.neighbors = neighbors
        self.add_state("codes", default=[], dist_reduce_fx="cat")

    def update(self, z_BZ: Tensor) -> None:
        """Adds codes."""
        self.codes.append(z_BZ)

    def compute(self) -> Tensor:
        """Nats; NaN of no more than k distinct codes, or of codes that are no numbers."""
        return nearest_neighbor_entropy(dim_zero_cat(self.codes), self.neighbors)


def nearest_neighbor_entropy(z_NZ: Tensor, neighbors: int = 3) -> Tensor:
    """The estimate of `NearestNeighborEntropy` from N codes, nats.

    Equal codes count as one: sentences that occur twice have the same posterior mean, at which the estimate would be
    minus infinity.
    """
    z = torch.unique(at_least_float32(z_NZ), dim=0)
    count, size = z.shape
    if count <= neighbors or not bool(z.isfinite().all()):
        return z_NZ.new_tensor(math.nan)
    distances_N = torch.cat([_distance(chunk, z, neighbors) for chunk in torch.split(z, CHUNK)])
    unit_ball = size * math.log(2)  # of the maximum norm: a cube
    counts = torch.digamma(torch.tensor([count, neighbors], dtype=torch.float64, device=z.device))
    return (counts[0] - counts[1] + unit_ball + size * distances_N.double().log().mean()).to(z_NZ.dtype)


def _distance(z_MZ: Tensor, z_NZ: Tensor, neighbors: int) -> Tensor:
    """(M,) distance in the maximum norm of each code to its k-th nearest among all, itself not counted."""
    distances_MN = torch.cdist(z_MZ, z_NZ, p=math.inf)
    # Not kthvalue, whose time grows with the square of N where codes are in order, as `unique` leaves them.
    return distances_MN.topk(neighbors + 1, dim=1, largest=False).values[:, -1]
