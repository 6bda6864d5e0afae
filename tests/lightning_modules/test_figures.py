from __future__ import annotations

import math

import pytest
import torch
from exact import batch_of, every_sentence, expectation, likelihoods, posterior_of, tiny
from models import loader, sentences, small, trainer

from datamodules.bucketing import BatchingConfig
from lightning_modules import LanguageModel, SentenceVAE
from lightning_modules.metrics.figures import Figures
from lightning_modules.metrics.perplexity import PerplexityMonteCarloError

ALL = every_sentence()


@pytest.mark.parametrize("samples", [1, 4])
def test_the_monte_carlo_error_is_the_spread_of_the_latents_draws(samples: int) -> None:
    """By quadrature: the variance over q(z|x) of log p(x|z), over the samples, and the root over the sentences."""
    model = tiny(SentenceVAE, eval_samples=samples, factor=3.0)
    log_likelihood, q = likelihoods(model, ALL), posterior_of(model, ALL)
    variance = expectation(q, log_likelihood.square()) - expectation(q, log_likelihood).square()
    copies = 600
    expected = math.sqrt(copies * float(variance.sum()) / samples) / (copies * len(ALL))
    data = loader(ALL * copies, BatchingConfig(eval_sentences=700), training=False)
    (found,) = trainer(precision="64-true").test(model, data, verbose=False)
    assert found["test/reconstruction/monte_carlo_error"] == pytest.approx(expected, rel=0.1)
    assert found["test/kl/monte_carlo_error"] == 0
    tokens = sum(len(sentence) + 1 for sentence in ALL) * copies
    carried = found["test/perplexity"] * expected * copies * len(ALL) / tokens
    assert found["test/perplexity/monte_carlo_error"] == pytest.approx(carried, rel=0.1)


def test_a_second_draw_is_another_one_and_leaves_the_first_alone() -> None:
    model = small(SentenceVAE).eval()
    batch = batch_of(sentences(12))
    first = model.objective(batch).terms["reconstruction"]
    model.second_draw = True
    second = model.objective(batch).terms["reconstruction"]
    model.second_draw = False
    assert float((first - second).detach().abs().min()) > 0
    torch.testing.assert_close(model.objective(batch).terms["reconstruction"], first, rtol=0, atol=0)


def test_an_exact_figure_has_no_monte_carlo_error() -> None:
    data = loader(sentences(12), BatchingConfig(), training=False)
    (found,) = trainer().test(small(LanguageModel), data, verbose=False)
    assert set(found) == {"test/nll", "test/nll/error", "test/perplexity", "test/perplexity/error"}


def test_a_validation_measures_no_errors() -> None:
    data = loader(sentences(12), BatchingConfig(), training=False)
    (found,) = trainer().validate(small(SentenceVAE), data, verbose=False)
    assert not any("error" in name for name in found)


def test_each_name_holds_its_terms_own_figure() -> None:
    figures = Figures(("a", "b"), {"p": "b"}, errors=True, sampled=True)
    terms = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([2.0, 8.0])}
    again = {"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([2.0, 8.0])}
    figures.update(terms, torch.tensor([2, 3]), again)
    found = {name: float(metric.compute()) for name, metric in figures.items()}
    assert found == pytest.approx(
        {
            "a": 2.0,
            "a/error": 1.0,
            "a/monte_carlo_error": math.sqrt(4 / 2) / 2,
            "b": 5.0,
            "b/error": 3.0,
            "b/monte_carlo_error": 0.0,
            "p": math.exp(10 / 5),
            # The residuals 2 - 2 * 2 and 8 - 2 * 3, over 5 tokens.
            "p/error": math.exp(2) * math.sqrt(8 * 2) / 5,
            "p/monte_carlo_error": 0.0,
        }
    )


def test_the_perplexitys_monte_carlo_error_is_that_of_its_total() -> None:
    metric = PerplexityMonteCarloError()
    metric.update(torch.tensor([4.0, 6.0]), torch.tensor([0.3, 0.4]), torch.tensor([2, 3]))
    assert float(metric.compute()) == pytest.approx(math.exp(2) * 0.5 / 5)


def test_batches_do_not_matter() -> None:
    model, known = small(SentenceVAE), sentences(11)
    found = [
        trainer().test(model, loader(known, BatchingConfig(eval_sentences=size), training=False), verbose=False)[0]
        for size in (11, 3)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-5)
