from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_modules.metrics.perplexity import Perplexity, PerplexityError
from lightning_modules.metrics.sentence_mean import SentenceError, SentenceMean

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.gamma(2.0, 10.0, size=400)
TOKENS = RANDOM.integers(2, 30, size=400)


@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 300], list(range(7, 400, 7))])
def test_mean_and_standard_error_are_the_samples(cuts: list[int]) -> None:
    mean, error = SentenceMean(), SentenceError()
    for part in np.split(VALUES, cuts):
        for metric in (mean, error):
            metric.update(torch.from_numpy(part))
    assert float(mean.compute()) == pytest.approx(VALUES.mean())
    assert float(error.compute()) == pytest.approx(VALUES.std(ddof=1) / np.sqrt(len(VALUES)))


def test_values_of_several_numbers_have_a_mean_each() -> None:
    values = RANDOM.normal(size=(50, 3))
    mean, error = SentenceMean(3), SentenceError(3)
    for part in np.split(values, [1, 20]):
        mean.update(torch.from_numpy(part))
        error.update(torch.from_numpy(part))
    np.testing.assert_allclose(mean.compute(), values.mean(axis=0))
    np.testing.assert_allclose(error.compute(), values.std(axis=0, ddof=1) / np.sqrt(50))


def test_far_from_zero_and_over_many_batches_no_digits_are_lost() -> None:
    mean, error = SentenceMean(), SentenceError()
    values = torch.from_numpy(1000 + RANDOM.normal(size=20_000)).float()
    for part in values.split(10):
        mean.update(part)
        error.update(part)
    exact = values.double()
    assert float(mean.compute()) == pytest.approx(float(exact.mean()), rel=1e-12)
    assert float(error.compute()) == pytest.approx(float(exact.std()) / len(exact) ** 0.5, rel=1e-6)


def test_of_one_sentence_the_error_is_not_a_number() -> None:
    error = SentenceError()
    error.update(torch.tensor([3.0]))
    assert bool(error.compute().isnan())


@pytest.mark.parametrize("words", range(1, 60))
def test_of_one_sentence_the_perplexitys_error_is_not_a_number(words: int) -> None:
    """However its nats round."""
    error = PerplexityError()
    error.update(torch.tensor([words * 2.0 / 3], dtype=torch.float64), torch.tensor([words]))
    assert bool(error.compute().isnan())


def test_the_perplexitys_error_is_the_bootstraps() -> None:
    nll = 3.0 * TOKENS + RANDOM.normal(0, 8, size=400)
    error, perplexity = PerplexityError(), Perplexity()
    for part in np.array_split(np.arange(400), 9):
        for metric in (error, perplexity):
            metric.update(torch.from_numpy(nll[part]), torch.from_numpy(TOKENS[part]))
    assert float(perplexity.compute()) == pytest.approx(np.exp(nll.sum() / TOKENS.sum()))
    draws = RANDOM.integers(400, size=(4000, 400))
    bootstrap = np.exp(nll[draws].sum(1) / TOKENS[draws].sum(1))
    assert float(error.compute()) == pytest.approx(bootstrap.std(), rel=0.1)
