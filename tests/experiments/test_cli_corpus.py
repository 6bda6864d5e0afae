"""A corpus that a command cannot read, or a study that does not fit it: one message that names it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "train.txt").write_text(""), ("train.txt", "empty")),
        (lambda folder: (folder / "valid.txt").write_bytes(b"a\n\xff\xfe b\n"), ("valid.txt", "UTF-8", "line 2")),
        (lambda folder: (folder / "valid.txt").write_text("\n\n"), ("valid",)),
        (lambda folder: (folder / "train.txt").write_text("\n\n"), ("train.txt", "no words")),
        (lambda folder: (folder / "train.txt").write_bytes("a b\nc\n".encode("utf-16-le")), ("train.txt", "UTF-16")),
        (lambda folder: (folder / "train.txt").write_bytes("a b\nc\n".encode("utf-16")), ("train.txt", "UTF-8")),
        (lambda folder: (folder / "test.txt").unlink(), ("test.txt",)),
        (lambda folder: (folder / "train.labels").write_text("1\n0\n"), ("train.labels", "2", "3")),
        (lambda folder: (folder / "train.labels").write_text("1\ngood\n0\n"), ("train.labels", "good")),
        (lambda folder: [file.unlink() for file in folder.glob("*.txt")], ("good", "train.txt")),
        (lambda folder: folder.rename(folder.with_name("bad")), ("good",)),
    ],
    ids=[
        "empty",
        "not UTF-8",
        "blank",
        "blank train",
        "UTF-16",
        "UTF-16 with BOM",
        "no split",
        "labels too few",
        "labels no numbers",
        "no file",
        "no folder",
    ],
)
def test_a_folder_that_is_no_corpus(
    fit: Command, tmp_path: Path, damage: Callable[[Path], object], named: tuple[str, ...]
) -> None:
    damage(tmp_path / "good")
    error = fit()
    for name in named:
        assert name in error


def test_data_dir_that_is_no_root_of_corpora(textae: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    error = textae("fit", "--config=ae_yelp", fails=True).error
    assert "DATA_DIR" in error and str(tmp_path) in error and "folder yelp" in error


def test_a_study_that_does_not_fit_the_corpus_is_said_before_anything_is_written(
    trained: Any, textae: Command, tmp_path: Path
) -> None:
    corpus = ("--data=TextFolder", f"--data.init_args.data_dir={trained.data}", f"--runs={tmp_path / 'runs'}")
    assert "tense" in textae("fit", "--config=daae_reviews", *corpus, fails=True).error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "number, reason", [(13, "Permission denied"), (30, "Read-only file system"), (28, "No space left")]
)
def test_a_place_that_cannot_be_written_is_named(
    number: int, reason: str, textae: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/ro/cache")

    monkeypatch.setattr("datamodules.dataset.FileLock", refused)
    monkeypatch.setattr("datamodules.text.encode", refused)
    error = textae("data", "--config=daae_reviews", fails=True).error
    assert "/ro/cache" in error and reason in error and "HF_HOME" in error
    assert len(error.strip().splitlines()) == 1
