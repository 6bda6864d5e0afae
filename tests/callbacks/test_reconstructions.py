from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nltk.translate.bleu_score import corpus_bleu

from callbacks import Predictions, Reconstructions
from datamodules.bucketing import BatchRows
from datamodules.errors import UsageError
from lightning_modules.randomness import SentenceRandom

Make = Callable[..., Any]


@pytest.fixture
def decoded(model: Any, means: Make, decode: Make, test_sentences: list[str]) -> list[str]:
    """Each test sentence's reconstruction, made alone."""
    written: list[str] = decode(model, means(model, test_sentences))
    return written


@pytest.mark.parametrize("eval_sentences", [7, 256])
def test_figures_by_definition(
    model: Any,
    corpus: Make,
    trainer: Make,
    bleu: Make,
    decoded: list[str],
    test_sentences: list[str],
    eval_sentences: int,
) -> None:
    expected = bleu(decoded, test_sentences)
    exact = sum(mine == true for mine, true in zip(decoded, test_sentences, strict=True)) / len(decoded)
    assert 0 < expected < 1 and 0 < exact < 1  # else nothing is tested
    if min(len(mine.split()) for mine in decoded) >= 4:  # shorter ones count as one 4-gram in NLTK
        assert corpus_bleu([[true.split()] for true in test_sentences], [mine.split() for mine in decoded]) == (
            pytest.approx(expected, abs=1e-12)
        )
    [figures] = trainer(Reconstructions()).test(model, datamodule=corpus(eval_sentences), verbose=False)
    assert figures["test/reconstruction_bleu"] == pytest.approx(expected, abs=1e-6)
    assert figures["test/reconstruction_exact"] == pytest.approx(exact, abs=1e-6)


def test_a_second_test_starts_anew(model: Any, fresh: Make, corpus: Make, trainer: Make) -> None:
    testing, data = trainer(Reconstructions()), corpus()
    first = testing.test(model, datamodule=data, verbose=False)
    other = testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    assert testing.test(model, datamodule=data, verbose=False) == first
    assert other[0]["test/reconstruction_bleu"] < first[0]["test/reconstruction_bleu"]
    assert other[0]["test/reconstruction_exact"] == 0


@pytest.mark.parametrize("shown", [5, 1000])
def test_what_is_shown(
    model: Any,
    corpus: Make,
    trainer: Make,
    decoded: list[str],
    test_sentences: list[str],
    tmp_path: Path,
    shown: int,
) -> None:
    trainer(Reconstructions(shown)).test(model, datamodule=corpus(), verbose=False)
    blocks = (tmp_path / "samples" / "reconstructions.txt").read_text().strip().split("\n\n")
    pairs = [tuple(line.split("  ", 1)[1].strip() for line in block.splitlines()) for block in blocks]
    assert len(pairs) == min(shown, len(test_sentences))
    truth = list(zip(test_sentences, decoded, strict=True))
    assert set(pairs) <= set(truth)
    if shown > len(truth):
        assert pairs == truth


def test_of_a_posterior_density_samples_and_perturbations_are_shown(
    model: Any, corpus: Make, trainer: Make, decode: Make, test_sentences: list[str], tmp_path: Path
) -> None:
    data, stochastic = corpus(), copy.deepcopy(model)
    stochastic.stochastic = True
    trainer(Reconstructions(1000, perturbation=4.0)).test(stochastic, datamodule=data, verbose=False)
    blocks = (tmp_path / "samples" / "reconstructions.txt").read_text().strip().split("\n\n")
    rows = [dict(map(str.strip, line.split("  ", 1)) for line in block.splitlines()) for block in blocks]
    assert [list(row) for row in rows] == [["sentence", "mean", "sample", "perturbed"]] * len(test_sentences)
    batch = data.split("test")[BatchRows(np.arange(len(test_sentences)), 1.0)]
    with torch.no_grad():
        posterior = stochastic.eval().encode(batch)
    random = SentenceRandom(batch.index, stochastic.seed, -1)
    for name, factor, stream in (("sample", 1, "posterior"), ("perturbed", 4, "perturbation")):
        z = posterior.mean + factor * posterior.std * random.normal(stream, 6)
        assert [row[name] for row in rows] == decode(stochastic, z.numpy())
    assert len({tuple(row[name] for row in rows) for name in ("mean", "sample", "perturbed")}) == 3
    with pytest.raises(UsageError, match="perturbation is 0"):
        Reconstructions(perturbation=0)


def test_validation_shows_sentences_of_its_split(model: Any, corpus: Make, trainer: Make, tmp_path: Path) -> None:
    trainer(Reconstructions(1000)).validate(model, datamodule=corpus(), verbose=False)
    shown = (tmp_path / "samples" / "reconstructions.txt").read_text()
    lines = [line.removeprefix("sentence").strip() for line in shown.splitlines() if line.startswith("sentence")]
    assert lines == list(corpus().read_split("valid")["text"])


def test_predictions_keep_the_order_of_the_split(
    model: Any, corpus: Make, trainer: Make, decoded: list[str], tmp_path: Path
) -> None:
    predicting = trainer(Predictions())
    for _ in range(2):  # and a second time writes the same
        predicting.predict(model, datamodule=corpus(7), return_predictions=False)
        assert (tmp_path / "samples" / "predictions.txt").read_text().splitlines() == decoded
