"""Paths through the latent space. B pairs of sentences, Z latent size."""

from __future__ import annotations

import torch

from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.search import evaluating, greedy
from lightning_modules.decoding.text import to_text


def interpolate(model: TextAutoencoder, first: TokenBatch, last: TokenBatch, steps: int) -> list[list[str]]:
    """Greedy decodes of z = (1 - t) z_first + t z_last between the posterior means of B pairs.

    Returns:
        B lists of `steps` sentences, t from 0 to 1.

    Raises:
        UsageError: Fewer than two steps.
    """
    require(steps >= 2, f"steps is {steps}: give 2 or more, for the ends count")
    with evaluating(model):
        z_first_BZ, z_last_BZ = model.encode(first).mean, model.encode(last).mean
        paths = [to_text(model, greedy(model, torch.lerp(z_first_BZ, z_last_BZ, t))) for t in _places(steps)]
    return [list(sentences) for sentences in zip(*paths, strict=True)]


def _places(steps: int) -> list[float]:
    return [step / (steps - 1) for step in range(steps)]
