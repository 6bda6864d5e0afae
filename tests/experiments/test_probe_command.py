"""`textae probe` on sentences and on pairs, and what it is not to be given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callbacks.linear_probe import pair_features, probe
from lightning_modules.checkpoint import load_model
from lightning_modules.decoding.encoding import encode_text

Command = Callable[..., Any]


@pytest.fixture
def files(sentences: tuple[str, ...], tmp_path: Path) -> Path:
    """Eight sentences, labelled by whether they are about soup; their pairs, labelled by whether one begins both."""
    (tmp_path / "sentences.txt").write_text("\n".join(sentences) + "\n")
    (tmp_path / "labels.txt").write_text("\n".join("soup" if "soup" in text else "other" for text in sentences) + "\n")
    pairs = [(first, second) for first in sentences for second in sentences]
    lines = [f"{int(first.split()[0] == second.split()[0])}\t{first}\t{second}" for first, second in pairs]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_sentences_and_labels(textae: Command, moved: Path, files: Path, sentences: tuple[str, ...]) -> None:
    given = ["--train", "sentences.txt", "labels.txt"]
    printed = textae("probe", "--run", moved, *given, "--test", *given[1:], "--folds=2", "--output=found.json").out
    found = json.loads((files / "found.json").read_text())
    model: Any = load_model(moved / "checkpoints" / "best.ckpt")
    features = encode_text(model, sentences).mean.numpy()
    labels = (files / "labels.txt").read_text().split()
    assert found["latents"] == vars(probe(features, labels, (features, labels), folds=2))
    assert found["bag_of_words"]["accuracy"] == 1 and found["majority"] == {"accuracy": 0.75}
    assert (found["train"], found["test"], found["classes"], found["unknown_words"]) == (8, 8, 2, 0.0)
    assert "bag of words" in printed and "0.75" in printed


def test_pairs_without_others(textae: Command, moved: Path, files: Path) -> None:
    textae("probe", "--run", moved, "--train", "pairs.tsv", "--folds=3", "--seed=4", "--output=found.json")
    found = json.loads((files / "found.json").read_text())
    rows = [line.split("\t") for line in (files / "pairs.tsv").read_text().splitlines()]
    model: Any = load_model(moved / "checkpoints" / "best.ckpt")
    first, second = (encode_text(model, [row[column] for row in rows]).mean.numpy() for column in (1, 2))
    assert found["latents"] == vars(probe(pair_features(first, second), [row[0] for row in rows], folds=3, seed=4))
    assert found["latents"]["accuracy"] > found["majority"]["accuracy"]
    assert found["train"] == 64 and found["test"] == "each of 3 folds"


def test_unknown_words_are_counted(textae: Command, moved: Path, files: Path) -> None:
    (files / "test.txt").write_text("the fish was cold\nsoup again\n")
    (files / "test.labels").write_text("other\nsoup\n")
    given = ["--train", "sentences.txt", "labels.txt", "--test", "test.txt", "test.labels"]
    assert "does not know 16.7% of the words" in textae("probe", "--run", moved, *given, "--folds=2").out


@pytest.mark.parametrize(
    ("written", "options", "said"),
    [
        ("1\tone two\n", ["--train=bad.tsv"], "bad.tsv, line 1, is no row of label<TAB>sentence<TAB>sentence"),
        ("1\ta\tb\n0\ta\t \n", ["--train=bad.tsv"], "bad.tsv, line 2, is no row of"),
        ("x\n" * 8, ["--train", "sentences.txt", "bad.tsv"], "every label is x"),
        ("x\ny\n", ["--train", "sentences.txt", "bad.tsv"], "sentences.txt has 8 lines, bad.tsv 2"),
        ("", ["--train", "a", "b", "c"], "3 files are given"),
        (
            "",
            ["--train", "sentences.txt", "labels.txt", "--test", "pairs.tsv", "--folds=2"],
            "--train and --test differ",
        ),
        (
            "",
            ["--train", "sentences.txt", "labels.txt"],
            "folds is 10, and no class has more than 5 sentences to cut within another",
        ),
        ("", [], "required: --train"),
    ],
)
def test_bad_input_is_one_line(
    textae: Command, moved: Path, files: Path, written: str, options: list[str], said: str
) -> None:
    (files / "bad.tsv").write_text(written)
    assert said in textae("probe", "--run", moved, *options, fails=True).error
