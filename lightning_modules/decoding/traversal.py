"""Moving one latent dimension at a time. D dimensions, S steps, Z latent size, B sentences."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.errors import require
from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.decode import DecodingConfig, decode
from lightning_modules.randomness import SentenceRandom


def traverse(
    model: TextAutoencoder,
    center_Z: Tensor,
    dimensions: list[int],
    offsets: list[float],
    decoding: DecodingConfig = DecodingConfig(),
    seed: int = 0,
) -> list[list[str]]:
    """D lists of S sentences, decoded from `traversals`; words that are drawn all have the same random numbers."""
    z_DSZ = traversals(center_Z, dimensions, offsets)
    alike = torch.zeros(len(dimensions) * len(offsets), dtype=torch.int64, device=center_Z.device)
    written = decode(model, z_DSZ.flatten(0, 1), decoding, SentenceRandom(alike, seed, -1))
    return [written[start : start + len(offsets)] for start in range(0, len(written), len(offsets))]


def traversals(center_Z: Tensor, dimensions: list[int], offsets: list[float]) -> Tensor:
    """(D, S, Z) latents that differ from the center in one dimension each, by the offsets."""
    z_DSZ = center_Z.repeat(len(dimensions), len(offsets), 1)
    for place, dimension in enumerate(dimensions):
        z_DSZ[place, :, dimension] += torch.tensor(offsets, dtype=center_Z.dtype, device=center_Z.device)
    return z_DSZ


def traversal_offsets(reach: float, steps: int) -> list[float]:
    """Equal steps from -reach to +reach, in standard deviations of the prior, which are 1.

    Raises:
        UsageError: Fewer than two steps, or a reach that is not positive.
    """
    require(steps >= 2, f"steps is {steps}: give 2 or more, for the ends count")
    require(reach > 0, f"reach is {reach}: give a positive number of the prior's standard deviations")
    return [reach * (2 * step - steps + 1) / (steps - 1) for step in range(steps)]
