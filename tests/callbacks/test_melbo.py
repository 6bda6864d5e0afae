from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from callbacks import Melbo, SentenceHistograms
from callbacks.melbo import against_sentences
from datamodules.errors import UsageError
from lightning_modules.decoding.text import text_batch
from lightning_modules.metrics.perplexity import PerplexityError, PerplexityMonteCarloError

Make = Callable[..., Any]


@pytest.mark.parametrize("size", [256, 7])
def test_the_bound_of_the_split(
    size: int, fresh: Make, corpus: Make, trainer: Make, test_sentences: list[str], tmp_path: Path
) -> None:
    data = corpus(eval_sentences=size)
    model = fresh(data.vocabulary_json, latent="sample")
    (found,) = trainer(Melbo(meet=200.0, trials=3)).test(model, data, verbose=False)
    batch = text_batch(model.vocabulary, test_sentences)
    with torch.no_grad():
        nats = model.eval().objective(batch).terms["reconstruction"].double().numpy()
    count, tokens = len(nats), int(batch.lengths.sum())
    bound = nats.mean() + math.log(count)
    assert found["test/melbo"] == pytest.approx(bound, rel=1e-5)
    assert found["test/melbo/error"] == pytest.approx(nats.std(ddof=1) / math.sqrt(count), rel=1e-4)
    assert found["test/melbo/sentences"] == count
    model.second_draw = True
    with torch.no_grad():
        again = model.objective(batch).terms["reconstruction"].double().numpy()
    model.second_draw = False
    drawn = np.sqrt(((nats - again) ** 2 / 2).sum()) / count
    assert found["test/melbo/monte_carlo_error"] == pytest.approx(drawn, rel=1e-3)
    assert found["test/perplexity_melbo"] == pytest.approx(math.exp(bound * count / tokens), rel=1e-4)
    # The other errors are those of any perplexity, of likelihoods that are each charged with the logarithm.
    charged = torch.tensor(nats) + math.log(count)
    over_sentences, of_draws = PerplexityError(), PerplexityMonteCarloError()
    over_sentences.update(charged, batch.lengths)
    of_draws.update(charged, torch.tensor(nats - again).abs() / math.sqrt(2), batch.lengths)
    assert found["test/perplexity_melbo/error"] == pytest.approx(float(over_sentences.compute()), rel=1e-4)
    assert found["test/perplexity_melbo/monte_carlo_error"] == pytest.approx(float(of_draws.compute()), rel=1e-3)
    # EOS's part is that of the token after the last word.
    with torch.no_grad():
        z = model.sample_latent(batch, model.encode(batch))
        tokens_nll = model.token_nll(batch, z).double()
    ends = tokens_nll[torch.arange(count), batch.lengths - 1].numpy()
    apart = float((nats - ends).mean()) + math.log(count)
    for convention, total, counted in (
        ("eos_in_neither", apart * count, tokens - count),
        ("eos_in_tokens", apart * count, tokens),
        ("bos_and_eos", bound * count, tokens + count),
    ):
        assert found[f"test/perplexity_melbo_{convention}"] == pytest.approx(math.exp(total / counted), rel=1e-4)
        errors = [found[f"test/perplexity_melbo_{convention}/{error}"] for error in ("error", "monte_carlo_error")]
        assert all(0 < error < 0.5 * found[f"test/perplexity_melbo_{convention}"] for error in errors)
    assert found["test/melbo_without_eos"] == pytest.approx(apart, rel=1e-5)
    over = (nats - ends).std(ddof=1) / math.sqrt(count)
    assert found["test/melbo_without_eos/error"] == pytest.approx(over, rel=1e-4)
    assert 0 < found["test/melbo_without_eos/monte_carlo_error"] < 2 * drawn
    # At that many sentences the bound is what was to be met.
    needed = 10 ** found["test/melbo_log10_sentences_to_meet"]
    assert nats.mean() + math.log(needed) == pytest.approx(200.0, rel=1e-4)
    assert (tmp_path / "plots" / "melbo.png").stat().st_size > 0


def test_a_likelihood_that_no_number_of_sentences_meets_is_said_to_be_one(
    fresh: Make, corpus: Make, trainer: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    data = corpus()
    model = fresh(data.vocabulary_json, latent="sample")
    (found,) = trainer(Melbo(meet=5.0, trials=3)).test(model, data, verbose=False)
    assert "test/melbo_log10_sentences_to_meet" not in found
    assert f"alone is {found['test/reconstruction']:.2f} nats, more than 5.00" in capsys.readouterr().err


def test_of_fewer_sentences_it_is_lower_by_the_logarithm() -> None:
    nats = np.random.default_rng(1).gamma(4.0, 5.0, size=2000)
    sizes = np.array([1, 10, 100, 2000])
    mean, spread = against_sentences(nats, sizes, 500)
    error = nats.std() / np.sqrt(sizes)
    np.testing.assert_allclose(mean, nats.mean() + np.log(sizes), atol=5 * error.max() / np.sqrt(500))
    # Drawn without replacement, of which the whole has no spread.
    np.testing.assert_allclose(spread, error * np.sqrt((2000 - sizes) / 1999), rtol=0.15, atol=1e-9)


def test_a_deterministic_model_has_none(fresh: Make, corpus: Make, trainer: Make) -> None:
    data = corpus()
    (found,) = trainer(Melbo()).test(fresh(data.vocabulary_json), data, verbose=False)
    assert not any("melbo" in name for name in found)


@pytest.mark.parametrize("wrong", [math.nan, 1e5])
def test_of_a_model_that_diverged_it_is_no_finite_number(
    wrong: float, fresh: Make, corpus: Make, trainer: Make, tmp_path: Path
) -> None:
    data = corpus()
    model = fresh(data.vocabulary_json, latent="sample")
    with torch.no_grad():
        model.backbone.decoder.output.weight.mul_(wrong)
    (found,) = trainer(Melbo(trials=2), SentenceHistograms()).test(model, data, verbose=False)
    assert not math.isfinite(found["test/perplexity_melbo"])
    assert (tmp_path / "plots" / "melbo.png").stat().st_size > 0


def test_no_trials_are_refused() -> None:
    with pytest.raises(UsageError, match="trials"):
        Melbo(trials=0)
