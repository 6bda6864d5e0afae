from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.metrics.active_units import ActiveUnits
from lightning_modules.metrics.bleu import CorpusBleu
from lightning_modules.metrics.entropy import NearestNeighborEntropy
from lightning_modules.metrics.fixed_precision import FixedPrecision
from lightning_modules.metrics.mutual_information import MutualInformation
from lightning_modules.metrics.perplexity import Perplexity, PerplexityMonteCarloError
from lightning_modules.metrics.sentence_mean import SentenceMean

VALUES = 17 + torch.randn(3000, 4, generator=torch.Generator().manual_seed(0))
ROWS = torch.full((3000,), 9)
CASTS: list[Callable[[nn.Module], nn.Module]] = [
    lambda module: module.to(torch.bfloat16),
    lambda module: module.half(),
    lambda module: module.float(),
]


class Holder(nn.Module):
    """As a LightningModule holds its metrics."""

    def __init__(self, metric: FixedPrecision) -> None:
        super().__init__()
        self.metric = metric


def given(metric: FixedPrecision) -> None:
    for part, rows in zip(VALUES.split(700), ROWS.split(700), strict=True):
        if isinstance(metric, Perplexity):
            metric.update(part[:, 0], rows)
        elif isinstance(metric, PerplexityMonteCarloError):
            metric.update(part[:, 0], part[:, 1], rows)
        elif isinstance(metric, SentenceMean):
            metric.update(part[:, 0])
        elif isinstance(metric, CorpusBleu):
            metric.update(["a b c d e"] * len(part), ["a b c d e f"] * len(part))
        elif isinstance(metric, MutualInformation):
            metric.update(Gaussian(part, torch.zeros_like(part)), part + 0.5)
        else:
            metric.update(part)


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize(
    "make",
    [
        SentenceMean,
        Perplexity,
        PerplexityMonteCarloError,
        CorpusBleu,
        lambda: ActiveUnits(4),
        NearestNeighborEntropy,
        MutualInformation,
    ],
)
def test_a_cast_of_the_module_that_holds_it_changes_nothing(
    make: Callable[[], FixedPrecision], cast: Callable[[nn.Module], nn.Module]
) -> None:
    expected = make()
    given(expected)
    before, after = make(), make()
    cast(Holder(before))
    given(before)
    given(after)
    cast(Holder(after))
    for metric in (before, after):
        found: Tensor = metric.compute()
        assert found.dtype == expected.compute().dtype
        assert torch.equal(found, expected.compute())
        metric.reset()
        given(metric)
        assert torch.equal(metric.compute(), expected.compute())
