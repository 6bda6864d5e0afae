"""The sentences of a study of an attribute: of which the vector is made, which it moves, and which train judges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pytorch_lightning import Trainer
from tokenizers import Tokenizer

from callbacks.attached import corpus_of
from callbacks.attribute_files import CHANGED, VALID, AttributeFiles, Pair, parts_of, without
from callbacks.classifier_judge import Labelled
from callbacks.latents import batches_of, draw_rows
from datamodules import Reviews, TextDataModule
from datamodules.errors import UsageError, require
from lightning_modules import TextModel
from lightning_modules.decoding.text import batch_text


@dataclass(frozen=True)
class AttributeData:
    """What a study of an attribute needs; of each pair, one side has the first value, and one the second.

    Attributes:
        values: What the two values are called.
        vector: Sentences whose latents make the vector.
        changed: Those that are changed: of the test split, or held out; none is also in a file that made the vector.
        references: What they are to become, if that is known.
        train: Those that train a classifier; none where the grammar judges.
        valid: Those by which its training is stopped.
    """

    values: tuple[str, str]
    vector: Pair
    changed: Pair
    references: Pair | None = None
    train: Labelled | None = None
    valid: Labelled | None = None


def check_attribute(corpus: TextDataModule, attribute: str, files: AttributeFiles | None) -> None:
    """Finds what is wrong before anything is trained or tested.

    Raises:
        UsageError: Neither the corpus' labels nor files hold the attribute, a split has one value only, or a file
            cannot be read, has an empty line, or no known word.
    """
    if has_labels(corpus, attribute):
        for split in ("train", "valid", "test"):
            _values(corpus, split, attribute)
    elif files is None:
        there = (
            ", ".join(corpus.attributes) if corpus.split("train").labels is not None else "none, for it has no labels"
        )
        raise UsageError(
            f"AttributeTransfer: the corpus {corpus.corpus} has no attribute {attribute} (it has: {there}): choose "
            "another, give files.vector, or take it out of trainer.callbacks"
        )
    if files is not None:
        files.read(corpus.vocabulary)
        files.read_changed(corpus.vocabulary)


def attribute_data(
    trainer: Trainer, model: TextModel, attribute: str, files: AttributeFiles | None, vector: int, judges: int
) -> AttributeData:
    """The sentences of a study, after `check_attribute`.

    Args:
        trainer: Whose corpus it is.
        model: Whose vocabulary it is.
        attribute: Its name. Where the corpus' labels hold it, they say what is changed and train the classifier, also
            if the vector is made of files.
        files: Sentences that are not the corpus'.
        vector: Sentences of the training split of which the vector is made, at most, where there are no files.
        judges: Sentences of the training split that train the classifier, at most.

    Raises:
        UsageError: A part has sentences of one value only.
    """
    if has_labels(corpus_of(trainer), attribute):
        data = _of_labels(trainer, model, attribute, files, vector, judges)
    else:
        assert files is not None, "check_attribute asks for them"
        data = _of_files(files, model.vocabulary)
    for use, pair in (("make the vector of", data.vector), ("change", data.changed)):
        for side, value in zip(pair, data.values, strict=True):
            enough = len(side) > 0
            require(enough, f"AttributeTransfer: no sentence that is {value} is left to {use}: give more of them")
    return data


def has_labels(corpus: TextDataModule, attribute: str) -> bool:
    """Whether the corpus' labels hold the attribute."""
    return attribute in corpus.attributes and corpus.split("train").labels is not None


def _of_labels(
    trainer: Trainer, model: TextModel, attribute: str, files: AttributeFiles | None, vector: int, judges: int
) -> AttributeData:
    """What the corpus' labels say; of files is the vector, if they are given, and what is changed, if they say that."""

    def drawn(split: str, count: int) -> Pair:
        return _of_corpus(trainer, model, split, attribute, count)

    corpus, words = corpus_of(trainer), model.vocabulary
    changed, references = drawn("test", len(corpus.split("test"))), None
    if files is None:
        made_of = drawn("train", vector)
        if isinstance(corpus, Reviews) and attribute == "tense":
            references = _own_forms(corpus, changed)
    elif (given := files.read_changed(words)) is not None:
        changed, references = given
        made_of = without(files.read(words), changed)
    else:
        made_of = files.read(words)
        changed = without(changed, made_of)
    exact = isinstance(corpus, Reviews)
    train, valid = (None if exact else labelled(drawn(split, judges)) for split in ("train", "valid"))
    return AttributeData(corpus.attributes[attribute], made_of, changed, references, train, valid)


def _of_files(files: AttributeFiles, vocabulary: Tokenizer) -> AttributeData:
    """Of files alone: no sentence that is changed is in the vector's part, or the classifier's, which are the same."""
    first, second = (Path(file).name for file in files.vector)
    given = files.read_changed(vocabulary)
    if given is None:
        changed, valid, rest = parts_of(files.read(vocabulary), (CHANGED, VALID))
        given = changed, None
    else:
        valid, rest = parts_of(without(files.read(vocabulary), given[0]), (VALID,))
    return AttributeData((first, second), rest, *given, train=labelled(rest), valid=labelled(valid))


def _of_corpus(trainer: Trainer, model: TextModel, split: str, attribute: str, count: int) -> Pair:
    """Up to `count` sentences drawn from a split, by their values, as the model sees them."""
    rows = draw_rows(trainer, split, count)
    values = _values(corpus_of(trainer), split, attribute)[rows]
    sides = (batches_of(trainer, model, split, rows[values == value]) for value in (0, 1))
    first, second = ([text for batch in side for text in batch_text(model.vocabulary, batch)] for side in sides)
    return first, second


def _values(corpus: TextDataModule, split: str, attribute: str) -> npt.NDArray[np.int64]:
    """The attribute's value of every sentence of a split."""
    labels, names = corpus.split(split).labels, list(corpus.attributes)
    where = f"AttributeTransfer: the {split} split of {corpus.corpus}"
    require(labels is not None, f"{where} has no labels, as its training split has: add {split}.labels")
    assert labels is not None
    least, most = labels.min(), labels.max()
    binary = 0 <= least and most < 2 ** len(names)
    require(binary, f"{where} has labels {least} to {most}, and an attribute has two values: give labels 0 and 1")
    values = labels >> (len(names) - 1 - names.index(attribute)) & 1
    present = [corpus.attributes[attribute][value] for value in np.unique(values)]
    require(
        len(present) == 2, f"{where} has one class of {attribute} only ({present[0]}): give sentences of both classes"
    )
    return values


def _own_forms(corpus: Reviews, pair: Pair) -> Pair:
    """Each sentence in its other tense."""
    first, second = ([corpus.grammar.with_tense(s, 1 - tense) for s in side] for tense, side in enumerate(pair))
    return first, second


def labelled(pair: Pair) -> Labelled:
    """The sentences of both sides, labelled 0 and 1."""
    return Labelled([*pair[0], *pair[1]], [0] * len(pair[0]) + [1] * len(pair[1]))
