"""Neighbourhood recall of 10,000 sentences, for which the protocol allows three minutes."""

from __future__ import annotations

import numpy as np
import torch

from callbacks.neighborhood import edit_neighbors, latent_recall
from experiments.bench.timing import Row, medians

ALLOWED = 180.0


def neighbors(sentences: int = 10_000, latent_size: int = 32) -> list[Row]:
    """One row, whose reference is the time that is allowed."""
    random = np.random.default_rng(0)
    lengths = random.integers(5, 16, size=sentences)
    text = [random.zipf(1.5, size=length).clip(max=10_000).tolist() for length in lengths]
    z_NZ = torch.randn(sentences, latent_size, generator=torch.Generator().manual_seed(0))

    def measure() -> None:
        latent_recall(z_NZ, edit_neighbors(text, 10), range(10, 101, 10))

    seconds = medians({"ours": measure}, 1)["ours"]
    what = f"neighbourhood recall of {sentences:,} sentences; the {ALLOWED:.0f} s that are allowed"
    return [Row(what, ALLOWED, seconds, 1.0)]
