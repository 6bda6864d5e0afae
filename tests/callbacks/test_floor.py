from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from models import small
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks import EntropyFloor, Summary
from callbacks.attached import corpus_of
from callbacks.floor import is_below
from callbacks.measured import _compare_with_floor
from callbacks.quantities import quantity_of
from datamodules import Reviews
from experiments.records import read_runs
from lightning_modules import SentenceVAE

Make = Callable[..., Any]


@pytest.mark.parametrize("size", [256, 7])
def test_the_floor_is_the_grammars_own_of_the_test_sentences(
    size: int, model: Any, corpus: Make, trainer: Make, test_sentences: list[str]
) -> None:
    data = corpus(eval_sentences=size)
    (found,) = trainer(EntropyFloor()).test(model, data, verbose=False)
    nats = np.array([-data.grammar.log_probability(sentence) for sentence in test_sentences])
    assert found["test/floor"] == pytest.approx(nats.mean(), rel=1e-5)
    assert found["test/floor/error"] == pytest.approx(nats.std(ddof=1) / math.sqrt(len(nats)), rel=1e-4)


def test_other_corpora_have_none(model: Any, folder: Make, trainer: Make, fresh: Make) -> None:
    data = folder(["a b", "b a a", "b"])
    (found,) = trainer(EntropyFloor()).test(fresh(data.vocabulary_json), data, verbose=False)
    assert "test/floor" not in found


@pytest.mark.parametrize(
    "gap, error, below",
    [
        (0.5, None, False),
        (-0.0139, None, False),  # 13.9 nats in all
        (-0.0141, None, True),
        (-0.0141, 0.001, False),
        (-0.0171, 0.001, True),  # 14 and three times 1 nat
    ],
)
def test_no_further_below_than_chance_allows(gap: float, error: float | None, below: bool) -> None:
    assert is_below(gap, 1000, error) is below


class Claims(Callback):
    """Figures of every kind, some of them impossible."""

    values: ClassVar[dict[str, float]] = {"nll": -1.0, "negative_elbo": 0.2, "nll_iw": -0.1, "nll_kl_once": -3.0}

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        corpus = corpus_of(trainer)
        assert isinstance(corpus, Reviews)
        sentences = corpus.read_split("test")["text"]
        floor = -float(np.mean([corpus.grammar.log_probability(sentence) for sentence in sentences]))
        for name, gap in self.values.items():
            pl_module.log(f"test/{name}", floor + gap)
        pl_module.log("test/nll_iw/monte_carlo_error", 0.1)
        pl_module.log("test/perplexity_iw", 0.1)


def test_a_figure_that_is_no_number_has_no_gap(
    model: Any, corpus: Make, trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Claims, "values", {"negative_elbo": math.nan, "nll_iw": math.inf, "nll": 1.0})
    trainer(EntropyFloor(), Claims(), Summary()).test(model, datamodule=corpus(), verbose=False)
    read = json.loads((tmp_path / "test_metrics.json").read_text())["metrics"]
    assert read["test/negative_elbo"]["value"] is None and read["test/nll_iw"]["value"] is None
    assert {name for name in ("nll", "negative_elbo", "nll_iw") if "gap" in read[f"test/{name}"]} == {"nll"}
    (tmp_path / "run").mkdir()
    (tmp_path / "test_metrics.json").rename(tmp_path / "run" / "test_metrics.json")
    [run] = read_runs([str(tmp_path / "run")])  # a comparison takes what there is
    assert "test/nll" in run.record["metrics"] and "test/negative_elbo" not in run.record["metrics"]


def test_the_summary_names_the_gap_and_what_no_likelihood_can_be(
    model: Any, corpus: Make, trainer: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(EntropyFloor(), Claims(), Summary()).test(model, datamodule=corpus(), verbose=False)
    record = json.loads((tmp_path / "test_metrics.json").read_text())["metrics"]
    for name, gap in Claims.values.items():
        assert record[f"test/{name}"]["gap"] == pytest.approx(gap, abs=1e-4)
    assert [name for name, figure in record.items() if figure.get("below_floor")] == ["test/nll", "test/nll_kl_once"]
    assert "gap" not in record["test/reconstruction"] and "gap" not in record["test/floor"]
    # A perplexity has the gap, in nats, of what it is made of.
    assert record["test/perplexity_iw"]["gap"] == record["test/nll_iw"]["gap"]
    assert "BELOW THE FLOOR, so no likelihood: nll, nll_kl_once\n" in capsys.readouterr().out


def test_nats_without_eos_and_perplexities_of_other_tokens_have_no_gap_to_it() -> None:
    """The floor counts EOS."""
    for name, convention in (
        ("negative_elbo", "eos_in_both"),
        ("negative_elbo_without_eos", "eos_in_neither"),
        ("nll_iw_without_eos", "eos_in_neither"),
        ("perplexity_eos_in_tokens", "eos_in_tokens"),
    ):
        assert quantity_of(name, {"perplexity": "negative_elbo"}).convention == convention
    figures: dict[str, Any] = {
        f"test/{name}": {"value": 3.0, "sentences": 10, "kind": "upper bound", "convention": convention}
        for name, convention in (
            ("negative_elbo", "eos_in_both"),
            ("perplexity", "eos_in_both"),
            ("negative_elbo_without_eos", "eos_in_neither"),
            ("perplexity_eos_in_neither", "eos_in_neither"),
        )
    } | {"test/floor": {"value": 2.0, "sentences": 10, "kind": "exact", "convention": "eos_in_both"}}
    _compare_with_floor(figures, small(SentenceVAE))
    assert {name for name, figure in figures.items() if "gap" in figure} == {"test/negative_elbo", "test/perplexity"}
