"""Paths through the latent space. B pairs of ends, S steps, Z latent size."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from datamodules.errors import require
from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.decode import DecodingConfig, decode
from lightning_modules.randomness import SentenceRandom

PathShape = Literal["linear", "spherical"]


def interpolate(
    model: TextAutoencoder,
    first_BZ: Tensor,
    last_BZ: Tensor,
    steps: int,
    path: PathShape = "linear",
    decoding: DecodingConfig = DecodingConfig(),
    seed: int = 0,
) -> list[list[str]]:
    """Sentences on paths between latents; where words are drawn, with the same random numbers all along a path.

    Args:
        model: A model with a latent.
        first_BZ: One end of each path.
        last_BZ: The other.
        steps: Points on the path, both ends counted.
        path: Its shape, see `latent_paths`.
        decoding: How sentences are written.
        seed: Of drawn words.

    Returns:
        B lists of `steps` sentences.

    Raises:
        UsageError: Fewer than two steps.
    """
    z_SBZ = latent_paths(first_BZ, last_BZ, steps, path)
    index_B = torch.arange(len(first_BZ), device=first_BZ.device)
    written = decode(model, z_SBZ.flatten(0, 1), decoding, SentenceRandom(index_B.repeat(steps), seed, -1))
    return [written[pair :: len(first_BZ)] for pair in range(len(first_BZ))]


def latent_paths(first_BZ: Tensor, last_BZ: Tensor, steps: int, path: PathShape = "linear") -> Tensor:
    """(S, B, Z) latents at t = 0 to 1 in equal steps.

    Args:
        first_BZ: One end of each path; of several latents of a sentence (B, L, Z), each goes its own.
        last_BZ: The other.
        steps: S.
        path: `linear`, (1 - t) z_first + t z_last (the homotopy of Bowman et al. 2016), or `spherical`, which keeps the
            norm where both ends have the same, as draws of the prior nearly have (White 2016):
            (sin((1 - t) a) z_first + sin(t a) z_last) / sin(a), a the angle between them. It is linear where no arc is
            the shortest: between opposite ends, or where one is 0.

    Raises:
        UsageError: Fewer than two steps.
    """
    require(steps >= 2, f"steps is {steps}: give 2 or more, for the ends count")
    along = torch.lerp if path == "linear" else _spherical
    return torch.stack([along(first_BZ, last_BZ, t) for t in places(steps)])


def places(steps: int) -> list[float]:
    """The t of each step."""
    return [step / (steps - 1) for step in range(steps)]


def _spherical(first_BZ: Tensor, last_BZ: Tensor, t: float) -> Tensor:
    first_BZ, last_BZ = first_BZ.double(), last_BZ.double()
    begin_BZ, end_BZ = normalize(first_BZ, dim=-1), normalize(last_BZ, dim=-1)
    # Exact for small angles, too, where the arc cosine is not.
    angle_B1 = 2 * torch.atan2(_norm(begin_BZ - end_BZ), _norm(begin_BZ + end_BZ))
    sine_B1 = angle_B1.sin()
    arc_BZ = (((1 - t) * angle_B1).sin() * first_BZ + (t * angle_B1).sin() * last_BZ) / sine_B1
    straight_B1 = (sine_B1 < 1e-6) | (_norm(first_BZ) * _norm(last_BZ) == 0)
    return torch.where(straight_B1, torch.lerp(first_BZ, last_BZ, t), arc_BZ).float()


def _norm(z_BZ: Tensor) -> Tensor:
    return z_BZ.norm(dim=-1, keepdim=True)
