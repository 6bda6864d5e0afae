"""Latents of regions to which the prior gives a low probability. B sentences, Z latent size."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.errors import require
from lightning_modules.randomness import SentenceRandom


def stretched(z_BZ: Tensor, factor: float, seed: int = 0) -> Tensor:
    """Draws of the prior under a random linear map that stretches no direction more than `factor` times.

    The map's elements are uniform in [-c, c], as Bowman et al. (2016, Table 6) have them: "approximately
    volume-preserving", it "stretches some eigenspaces by up to a factor of 4". They choose c = 0.1 to that end; what it
    does depends on Z (the largest singular value is about 2 c sqrt(Z / 3): 4 at Z = 1200), so here c is what makes the
    largest singular value `factor`, whatever Z. Singular values then spread down to about 0, and at 4 the root mean
    square of a dimension is about 2.

    Args:
        z_BZ: (..., Z).
        factor: The largest singular value.
        seed: Of the map.

    Raises:
        UsageError: The factor is not positive.
    """
    require(factor > 0, f"stretch is {factor}: give a positive factor")
    size = z_BZ.shape[-1]
    rows = SentenceRandom(torch.arange(size, device=z_BZ.device), seed, -1)
    map_ZZ = 2 * rows.uniform("stretch", size) - 1
    return z_BZ @ (map_ZZ * factor / torch.linalg.matrix_norm(map_ZZ, 2)).T.to(z_BZ.dtype)
