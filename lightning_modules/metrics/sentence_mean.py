"""The mean of a quantity over sentences, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_modules.metrics.fixed_precision import FixedPrecision


class SentenceMean(FixedPrecision):
    """The mean over sentences, whatever the batches: every sentence counts once.

    Args:
        shape: Of a sentence's value; a number where it is empty.
    """

    full_state_update = False
    count: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        # In float64: the sum over a split of float32 values loses digits.
        self.add_state("count", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("total", "squares"):
            self.add_state(name, default=torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, value_B: Tensor) -> None:
        """Adds a batch's sentences, (B, *shape)."""
        self.count += len(value_B)
        self.total += value_B.double().sum(0)
        self.squares += value_B.double().square().sum(0)

    def compute(self) -> Tensor:
        """The mean."""
        return self.total / self.count


class SentenceError(SentenceMean):
    """The standard error of the mean over sentences: how much another test set of this size would move it."""

    def compute(self) -> Tensor:
        """The standard deviation over sentences (n - 1) divided by the root of their number; NaN of one sentence."""
        variance = (self.squares - self.total.square() / self.count) / (self.count - 1)
        return (variance.clamp(min=0) / self.count).sqrt()


class MonteCarloError(SentenceMean):
    """The error that the draws of each sentence bring into the mean over sentences."""

    def compute(self) -> Tensor:
        """From the sentences' own Monte Carlo errors, which are independent."""
        return self.squares.sqrt() / self.count


def grouped(figures: Mapping[str, Metric]) -> MetricCollection:
    """Metrics by name that differ in what they compute of the same state, which is kept and updated once."""
    return MetricCollection(dict(figures), compute_groups=[list(figures)])
