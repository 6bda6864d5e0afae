"""Corpus BLEU (Papineni et al. 2002), and how sure it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.errors import require
from lightning_modules.metrics.fixed_precision import FixedPrecision

ORDERS = 4


class CorpusBleu(FixedPrecision):
    """Corpus BLEU with one reference a sentence, not smoothed, 0 to 1.

    The number is torchmetrics' `BLEUScore`; what that does not keep, and `CorpusBleuError` needs, are the sums over
    sentences of products of counts.

    Args:
        order: Of the longest n-grams, 1 to 4.
    """

    full_state_update = False
    sentences: Tensor
    sums: Tensor
    products: Tensor

    def __init__(self, order: int = ORDERS) -> None:
        super().__init__()
        require(1 <= order <= ORDERS, f"the order of BLEU is {order}: give 1 to {ORDERS}")
        self.order = order
        counts = 2 * ORDERS + 2
        for name, shape in (("sentences", ()), ("sums", (counts,)), ("products", (counts, counts))):
            self.add_state(name, default=torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, written: Sequence[str], true: Sequence[str]) -> None:
        """Adds whitespace-tokenised sentences and what they should be."""
        counts_BC = _counts(written, true).to(self.sums.device)
        self.sentences += len(counts_BC)
        self.sums += counts_BC.sum(0)
        self.products += counts_BC.T @ counts_BC

    def compute(self) -> Tensor:
        """The precisions' geometric mean, times the penalty of brevity; 0 where an order has no match."""
        return _score(self.sums, self.order)


class CorpusBleuError(CorpusBleu):
    """Its standard error over sentences."""

    def compute(self) -> Tensor:
        """By the delta method, of the sums of counts; NaN of one sentence, or where BLEU is 0."""
        matched, grams, length, true_length = _parts(self.sums, self.order)
        slopes = torch.zeros_like(self.sums)  # of the logarithm
        slopes[: self.order] = 1 / (self.order * matched)
        slopes[ORDERS : ORDERS + self.order] = -1 / (self.order * grams)
        if bool(length < true_length):
            slopes[-2:] = torch.stack((true_length / length.square(), -1 / length))
        # The slopes times the sums are 0, so that the products need no centring.
        variance = slopes @ self.products @ slopes * self.sentences / (self.sentences - 1)
        value = _score(self.sums, self.order)
        # Of one sentence rounding may leave a little above 0 / 0.
        known = (value > 0) & (self.sentences > 1)
        return torch.where(known, value * variance.clamp(min=0).sqrt(), torch.nan)


def bleu(written: Sequence[str], true: Sequence[str]) -> float:
    """Corpus BLEU-4 of whitespace-tokenised sentences, 0 to 1; of this rank alone, where a metric's is of all ranks."""
    return float(_score(_counts(written, true).sum(0), ORDERS))


def _score(sums_C: Tensor, order: int) -> Tensor:
    matched, grams, length, true_length = _parts(sums_C, order)
    if bool((matched == 0).any()):
        return torch.zeros_like(length)
    return ((matched / grams).log().mean() + (1 - true_length / length).clamp(max=0)).exp()


def _parts(sums_C: Tensor, order: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Matches and n-grams of each order, both lengths."""
    return sums_C[:order], sums_C[ORDERS : ORDERS + order], sums_C[-2], sums_C[-1]


def _counts(written: Sequence[str], true: Sequence[str]) -> Tensor:
    """(B, 2 * ORDERS + 2) of each pair of sentences."""
    rows = [_count(mine.split(), theirs.split()) for mine, theirs in zip(written, true, strict=True)]
    return torch.tensor(rows, dtype=torch.float64).view(len(rows), 2 * ORDERS + 2)


def _count(mine: list[str], theirs: list[str]) -> list[int]:
    """Of each order, matches and n-grams; both lengths."""
    matched, grams = [], []
    for order in range(ORDERS):
        found, allowed = (
            Counter(zip(*(words[start:] for start in range(order + 1)), strict=False)) for words in (mine, theirs)
        )
        matched.append((found & allowed).total())
        grams.append(found.total())
    return [*matched, *grams, len(mine), len(theirs)]
