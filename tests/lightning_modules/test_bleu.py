"""BLEU against torchmetrics, its error against the bootstrap."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torchmetrics.functional.text import bleu_score

from datamodules.errors import UsageError
from lightning_modules.metrics import bleu as module
from lightning_modules.metrics.bleu import CorpusBleu, CorpusBleuError, bleu


def pairs(count: int, longest: int = 12) -> tuple[list[str], list[str]]:
    """Sentences, and what became of them: words changed, the end cut off."""
    rng = random.Random(0)
    true = [rng.choices("abcdefgh", k=rng.randint(1, 12)) for _ in range(count)]
    written = [
        " ".join(word if rng.random() < 0.8 else rng.choice("abc") for word in words[: rng.randint(0, longest)])
        for words in true
    ]
    return written, [" ".join(words) for words in true]


def measured(metric: CorpusBleu, written: list[str], true: list[str], batch: int = 7) -> float:
    for start in range(0, len(true), batch):
        metric.update(written[start : start + batch], true[start : start + batch])
    return float(metric.compute())


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_value_is_torchmetrics(order: int) -> None:
    written, true = pairs(300)
    for mine in (written, true, [f"{sentence} b a" for sentence in true], ["x"] * 300, [""] * 300):
        expected = float(bleu_score(mine, [[sentence] for sentence in true], n_gram=order))
        assert measured(CorpusBleu(order), mine, true) == pytest.approx(expected, abs=1e-6)
    assert bleu(written, true) == measured(CorpusBleu(), written, true, batch=1000)


@pytest.mark.parametrize("longer", [False, True])
@pytest.mark.parametrize("order", [2, 4])
def test_the_error_is_the_bootstraps(order: int, longer: bool) -> None:
    written, true = pairs(400)
    if longer:  # no penalty of brevity
        written = [f"{mine} {sentence} x" for mine, sentence in zip(written, true, strict=True)]
    rng = np.random.default_rng(0)
    counts, again = module._counts(written, true), []
    for _ in range(1000):
        drawn = counts[rng.integers(len(true), size=len(true))].sum(0)
        again.append(float(module._score(drawn, order)))
    assert measured(CorpusBleuError(order), written, true) == pytest.approx(float(np.std(again)), rel=0.15)


def test_bleu_of_sentences_asks_no_other_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rank alone judges changed sentences: it would wait for the others for ever."""
    monkeypatch.setattr(module, "CorpusBleu", None)
    assert bleu(["a b c d"], ["a b c d"]) == 1


def test_what_has_no_error() -> None:
    assert np.isnan(measured(CorpusBleuError(), ["a b c d e"], ["a b c d e"]))
    random = np.random.default_rng(0)
    for _ in range(40):  # however it rounds
        mine, theirs = (" ".join(random.choice(["a", "b"], size=random.integers(5, 20))) for _ in range(2))
        assert np.isnan(measured(CorpusBleuError(), [mine], [theirs]))
    assert np.isnan(measured(CorpusBleuError(), ["x", "y"], ["a", "b"]))
    assert measured(CorpusBleuError(), ["a b c d", "a b c d e"], ["a b c d", "a b c d e"]) == pytest.approx(0, abs=1e-9)


def test_batches_do_not_matter_and_nothing_is_no_sentence() -> None:
    written, true = pairs(50)
    metric = CorpusBleuError()
    metric.update([], [])
    assert measured(metric, written, true) == pytest.approx(measured(CorpusBleuError(), written, true, 50), rel=1e-12)
    assert metric.sums.dtype == torch.float64


def test_an_order_is_1_to_4() -> None:
    with pytest.raises(UsageError, match="order of BLEU is 5"):
        CorpusBleu(5)
