"""Attribute transfer where models judge what labels say, with latents that are known, and its BLEU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from attributes import COLD, HOT, QUICK, grid, labelled_folder, lines

import callbacks.attribute_transfer as study
from callbacks import AttributeTransfer
from callbacks.attribute_files import AttributeFiles

Make = Callable[..., Any]
VECTOR = 1.6


@pytest.fixture
def known_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents of 1 where a sentence says `hot` and -1 where it says `cold`, beside the number of the rest of it."""

    def means(model: Any, sentences: Sequence[str]) -> torch.Tensor:
        known = [(1.0, HOT.index(s)) if s in HOT else (-1.0, COLD.index(s)) for s in sentences]
        return torch.tensor(known)

    def moved(model: Any, z: torch.Tensor, vector: torch.Tensor, scale: float) -> list[str]:
        return [(HOT if heat > 0 else COLD)[int(rest)] for heat, rest in (z + scale * vector).tolist()]

    monkeypatch.setattr(study, "sentence_means", means)
    monkeypatch.setattr(study, "attribute_vector", lambda model, cold, hot: torch.tensor([VECTOR, 0.0]))
    monkeypatch.setattr(study, "moved", moved)


@pytest.mark.usefixtures("known_latents")
def test_models_judge_what_labels_say(fresh: Make, folder: Make, trainer: Make, bleu: Make, tmp_path: Path) -> None:
    """A vector of 1.6 leads from -1 to 0.6 and back: scale 1 changes every sentence, and scale 0.5 none."""
    data = labelled_folder(folder)
    testing = trainer(AttributeTransfer("label", scales=(1.0, 0.5), **QUICK))
    [figures] = testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    found = grid(tmp_path, "label")
    for direction, inputs, outputs in (("0 -> 1", COLD, HOT), ("1 -> 0", HOT, COLD)):
        copy, none, changed = (found[direction, scale] for scale in ("copy", "0.5", "1"))
        assert copy == none
        assert (copy["accuracy"], copy["input_bleu"]) == (0, pytest.approx(1))
        assert changed["accuracy"] == 1
        assert 0 < changed["input_bleu"] == pytest.approx(bleu(outputs, inputs), abs=1e-6)
        assert 1 < changed["perplexity"] < 30
    assert found["0 -> 1", "1"]["perplexity"] == pytest.approx(found["1 -> 0", "copy"]["perplexity"])
    logged = {name.removeprefix("test/label_"): value for name, value in figures.items() if "label" in name}
    logged = {name: value for name, value in logged.items() if "/" not in name}
    assert logged == pytest.approx(
        {
            **found["0 -> 1", "1"],
            "copy_accuracy": 0,
            "copy_perplexity": found["0 -> 1", "copy"]["perplexity"],
            "reverse_accuracy": 1,
            "reverse_copy_accuracy": 0,
            "classifier_accuracy": 1,
        }
    )


@pytest.mark.usefixtures("known_latents")
def test_references_are_those_of_the_changed_lines(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, bleu: Make
) -> None:
    data = labelled_folder(folder)
    inputs = ([COLD[0], "zebra", COLD[5]], [HOT[2]])
    true = (["the soup was hot indeed .", "nothing", HOT[5]], ["this was a cold soup"])
    pairs = [
        (lines(tmp_path / f"{name}.0", pair[0]), lines(tmp_path / f"{name}.1", pair[1]))
        for name, pair in (("vector", (COLD, HOT)), ("changed", inputs), ("true", true))
    ]
    testing = trainer(AttributeTransfer("label", AttributeFiles(*pairs), **QUICK))
    with pytest.warns(UserWarning, match=r"changed.0: 1 of 3 sentences have no known word"):
        testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    found = grid(tmp_path, "label")
    assert found["0 -> 1", "1"]["bleu"] == pytest.approx(bleu([HOT[0], HOT[5]], [true[0][0], true[0][2]]), abs=1e-6)
    assert found["0 -> 1", "copy"]["bleu"] == pytest.approx(
        bleu([COLD[0], COLD[5]], [true[0][0], true[0][2]]), abs=1e-6
    )
