"""Attributes in files of sentences: who sees which of them, and files that will not do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attributes import COLD, HOT, QUICK, labelled_folder, lines

import callbacks.attribute_judges as judges
import callbacks.attribute_transfer as study
from callbacks import AttributeTransfer
from callbacks.attribute_files import AttributeFiles
from datamodules.errors import UsageError

Make = Callable[..., Any]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the vector and the judges are made of, and what is changed."""
    sentences: dict[str, list[str]] = {}

    def watch(module: Any, name: str, of: Callable[..., list[str]]) -> None:
        true = getattr(module, name)

        def watched(*args: Any) -> Any:
            sentences.setdefault(name, []).extend(of(*args))
            return true(*args)

        monkeypatch.setattr(module, name, watched)

    watch(study, "attribute_vector", lambda model, one, two: [*one, *two])
    watch(study, "sentence_means", lambda model, inputs: list(inputs))
    watch(judges, "train_classifier", lambda train, valid, *rest: [*train.sentences, *valid.sentences])
    return sentences


def test_of_files_alone_the_changed_sentences_are_held_out(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, seen: dict[str, list[str]]
) -> None:
    data = folder([*COLD, *HOT])  # without labels
    files = AttributeFiles((lines(tmp_path / "a.cold", COLD * 2), lines(tmp_path / "a.hot", [*HOT, "cold zebra"])))
    testing = trainer(AttributeTransfer("heat", files, **QUICK))
    testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    changed, vector, judge = (seen[name] for name in ("sentence_means", "attribute_vector", "train_classifier"))
    assert Counter([*changed, *judge]) == Counter([*COLD, *HOT, "cold <unk>"])  # each once, though it came twice
    assert len(changed) == 7 and len(vector) == 23  # of 33: a fifth and, but for a tenth, the others
    assert set(vector) < set(judge)
    record = json.loads((tmp_path / "samples" / "heat_transfer.json").read_text())
    assert record["values"] == ["a.cold", "a.hot"]
    assert [sum(counts) for counts in record["sentences"].values()] == [23, 7]
    again = trainer(AttributeTransfer("heat", files, **QUICK))
    again.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    assert seen["sentence_means"] == changed[:7] * 2


def test_of_a_labelled_corpus_only_the_vector_is_made_of_files(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, seen: dict[str, list[str]]
) -> None:
    data = labelled_folder(folder)
    files = AttributeFiles((lines(tmp_path / "cold", COLD[:3]), lines(tmp_path / "hot", HOT[:2])))
    testing = trainer(AttributeTransfer("label", files, **QUICK))
    testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    assert seen["attribute_vector"] == [*COLD[:3], *HOT[:2]]
    assert set(seen["sentence_means"]) == {*COLD[3:], *HOT[2:]}
    assert set(seen["train_classifier"]) == {*COLD, *HOT}


@pytest.mark.parametrize("attribute", ["label", "heat"])
def test_given_sentences_are_held_out(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, seen: dict[str, list[str]], attribute: str
) -> None:
    data = labelled_folder(folder)
    pairs = [
        (lines(tmp_path / f"{name}.0", cold), lines(tmp_path / f"{name}.1", hot))
        for name, cold, hot in (("vector", COLD, HOT), ("changed", COLD[:2], HOT[5:6]))
    ]
    testing = trainer(AttributeTransfer(attribute, AttributeFiles(*pairs), **QUICK))
    testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    changed = {*COLD[:2], HOT[5]}
    assert set(seen["sentence_means"]) == changed
    assert not changed & set(seen["attribute_vector"]) and len(seen["attribute_vector"]) > 20
    # Of files alone the judge, too, sees the other sentences only; the labelled corpus has its own training split.
    assert set(seen["train_classifier"]) == {*COLD, *HOT} - (changed if attribute == "heat" else set())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no.txt cannot be read"),
        (b"", "no.txt is empty"),
        (b"a b\n\nb\n", "no.txt, line 2, is empty"),
        (b"caf\xe9 a\n", "not UTF-8"),
        (b"zebra\nxylophone zebra\n", "no sentence with a word that the model knows"),
    ],
    ids=["missing", "empty", "a blank line", "latin-1", "unknown words"],
)
def test_files_that_are_no_sentences(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, content: bytes | None, message: str
) -> None:
    data = folder(["a b", "b"])
    if content is not None:
        (tmp_path / "no.txt").write_bytes(content)
    files = AttributeFiles((lines(tmp_path / "a", ["a b"]), str(tmp_path / "no.txt")))
    with pytest.raises(UsageError, match=message):
        trainer(AttributeTransfer("heat", files)).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)


def test_files_of_too_few_sentences(fresh: Make, folder: Make, trainer: Make, tmp_path: Path) -> None:
    data = folder(["a b", "b"])
    files = AttributeFiles((lines(tmp_path / "a", ["a b"]), lines(tmp_path / "b", ["b"])))
    with pytest.raises(UsageError, match=r"no sentence that is \w is left to"):
        trainer(AttributeTransfer("heat", files)).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)


def test_references_without_their_sentences() -> None:
    with pytest.raises(UsageError, match="line by line"):
        AttributeFiles(("a", "b"), references=("c", "d"))


def test_references_that_are_not_as_many(fresh: Make, folder: Make, trainer: Make, tmp_path: Path) -> None:
    data = folder(["a b", "b"])
    two, one = lines(tmp_path / "two", ["a", "b"]), lines(tmp_path / "one", ["a"])
    with pytest.raises(UsageError, match=r"one has 1 lines, .*two has 2"):
        callback = AttributeTransfer("heat", AttributeFiles((two, two), (two, two), (two, one)))
        trainer(callback).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
