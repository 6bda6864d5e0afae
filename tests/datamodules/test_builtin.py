"""Tests of the two corpora that the project makes itself, against their grammar and their binomial."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from corpora import vocabulary_words

from datamodules import BinaryClusters, Reviews
from datamodules.errors import UsageError
from datamodules.grammar import ReviewGrammar
from datamodules.text import SubsetConfig
from datamodules.vocabulary import UNK, VocabularyConfig

SPLITS = ("train", "valid", "test")
Bits = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def reviews() -> Reviews:
    return Reviews()


@pytest.fixture(scope="module")
def sentences(reviews: Reviews) -> dict[str, list[str]]:
    return {split: list(reviews.read_split(split)["text"]) for split in SPLITS}


def test_reviews_sizes(reviews: Reviews, sentences: dict[str, list[str]]) -> None:
    assert {split: len(lines) for split, lines in sentences.items()} == {"train": 30_000, "valid": 3_000, "test": 3_000}
    # Nothing is cut on the way to batches.
    assert {split: len(reviews.split(split)) for split in SPLITS} == {"train": 30_000, "valid": 3_000, "test": 3_000}
    asked = Reviews(subset=SubsetConfig(train=50, test=7))
    assert [len(asked.split(split)) for split in SPLITS] == [50, 3_000, 7]


def test_reviews_is_never_cut() -> None:
    with pytest.raises(UsageError, match="max_words"):
        Reviews(subset=SubsetConfig(max_words=20))


def test_reviews_labels_are_the_grammars(reviews: Reviews) -> None:
    grammar = ReviewGrammar()
    rows = reviews.read_split("valid")
    # From the names, so that names and numbers are checked together.
    sentiments, tenses = {"negative": 0, "positive": 1}, {"present": 0, "past": 1}
    for text, label in zip(rows["text"], rows["label"], strict=True):
        sentiment, tense = reviews.label_names[label].split(", ")
        assert grammar.labels(text) == (sentiments[sentiment], tenses[tense])
    assert set(rows["label"]) == {0, 1, 2, 3}
    assert list(reviews.split("valid").encoded["label"]) == list(rows["label"])


def test_reviews_vocabulary_is_closed(reviews: Reviews, sentences: dict[str, list[str]]) -> None:
    words = vocabulary_words(reviews.vocabulary)
    assert sorted(words[5:]) == sorted(ReviewGrammar().words)
    for split, lines in sentences.items():
        ids = reviews.split(split).encoded["ids"][:]
        assert [" ".join(words[token] for token in row) for row in ids] == lines
        assert not any(UNK in row for row in ids)


@pytest.mark.parametrize("split", SPLITS)
def test_reviews_entropy_is_what_the_sentences_cost(sentences: dict[str, list[str]], split: str) -> None:
    grammar = ReviewGrammar()
    costs = np.array([-grammar.log_probability(sentence) for sentence in sentences[split]])
    assert abs(costs.mean() - grammar.entropy) < 4 * costs.std(ddof=1) / math.sqrt(len(costs))


def test_reviews_splits_are_drawn_independently(sentences: dict[str, list[str]]) -> None:
    train = set(sentences["train"])
    for split in ("valid", "test"):
        assert sum(sentence in train for sentence in sentences[split]) <= 0.1 * len(sentences[split])
    assert sum(one == other for one, other in zip(sentences["valid"], sentences["test"], strict=True)) < 30


def test_reviews_seeds_give_different_sentences() -> None:
    subset = SubsetConfig(train=200, valid=200, test=200)
    drawn = {
        (seed, split): Reviews(subset=subset, seed=seed).read_split(split)["text"][:]
        for seed in range(4)
        for split in SPLITS
    }
    assert drawn[2, "test"] == Reviews(subset=subset, seed=2).read_split("test")["text"][:]
    # No split of any seed is another's, in whole or shifted.
    sets = [set(lines) for lines in drawn.values()]
    assert all(len(one & other) < 20 for k, one in enumerate(sets) for other in sets[:k])


def bits(module: BinaryClusters) -> tuple[Bits, Bits]:
    """Sequences and labels after encoding."""
    encoded = module.split("train").encoded
    words = vocabulary_words(module.vocabulary)
    return np.array([[int(words[token]) for token in ids] for ids in encoded["ids"][:]]), np.array(encoded["label"])


def centres_of(sequences: Bits, labels: Bits) -> Bits:
    """The majority of each cluster, which at 100 sequences and 10% flips is the centre but for a chance of 1e-22."""
    return np.array([sequences[labels == label].mean(axis=0) > 0.5 for label in range(labels.max() + 1)]).astype(
        np.int64
    )


def test_clusters_have_the_default_sizes_and_labels() -> None:
    sequences, labels = bits(BinaryClusters())
    assert sequences.shape == (500, 50)
    assert set(sequences.flat) == {0, 1}
    assert labels.tolist() == [k // 100 for k in range(500)]
    module = BinaryClusters(clusters=3, size=4, bits=7)
    sequences, labels = bits(module)
    assert sequences.shape == (12, 7)
    assert np.bincount(labels).tolist() == [4, 4, 4]
    assert len(module.label_names) == 3
    assert vocabulary_words(module.vocabulary)[5:] == ["0", "1"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("flip", [0.0, 0.1, 0.3])
def test_bits_flip_at_the_stated_rate(seed: int, flip: float) -> None:
    sequences, labels = bits(BinaryClusters(flip=flip, seed=seed))
    centres = centres_of(sequences, labels)
    flipped = sequences != centres[labels]
    bound = 5 * math.sqrt(flip * (1 - flip) / flipped.size)
    assert abs(flipped.mean() - flip) <= bound
    # At every place, and in every cluster, not only on average.
    for share, number in ((flipped.mean(axis=0), 500), *((flipped[labels == k].mean(), 5_000) for k in range(5))):
        assert np.all(np.abs(share - flip) <= 5 * math.sqrt(flip * (1 - flip) / number) + 1e-12)


def test_labels_name_the_nearest_centre() -> None:
    sequences, labels = bits(BinaryClusters())
    centres = centres_of(sequences, labels)
    distances = (sequences[:, None] != centres).sum(axis=2)
    # Centres are about 25 bits apart and sequences 5 from their own.
    assert (distances.argmin(axis=1) == labels).mean() > 0.99
    apart = [(one != other).sum() for k, one in enumerate(centres) for other in centres[:k]]
    assert min(apart) > 8


def test_clusters_splits_are_the_same_and_seeds_differ() -> None:
    module, other = BinaryClusters(seed=0), BinaryClusters(seed=1)
    texts = [module.read_split(split)["text"][:] for split in SPLITS]
    assert texts[0] == texts[1] == texts[2]
    assert texts[0] == BinaryClusters(seed=0).read_split("train")["text"][:]
    one, two = (centres_of(*bits(clusters)) for clusters in (module, other))
    assert 0.3 < (one != two).mean() < 0.7  # other centres, not the same ones with other flips


@pytest.mark.parametrize(
    "setting", [{"clusters": 0}, {"size": 0}, {"bits": -1}, {"flip": -0.1}, {"flip": 0.51}, {"flip": float("nan")}]
)
def test_cluster_arguments_out_of_range_are_usage_errors(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(UsageError, match=name):
        BinaryClusters(**setting)


@pytest.mark.parametrize("kind", [Reviews, BinaryClusters])
def test_built_in_corpora_take_no_folder(
    kind: type[Reviews | BinaryClusters], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=rf"{kind.corpus} is built in: it takes no data_dir"):
        kind(data_dir=str(tmp_path))
    # The root of the other corpora does not concern them.
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert len(kind().read_split("valid")) > 0


@pytest.mark.parametrize("kind", [Reviews, BinaryClusters])
def test_built_in_corpora_have_all_of_their_words(kind: type[Reviews | BinaryClusters]) -> None:
    with pytest.raises(UsageError, match=rf"{kind.corpus} is built in, with all of its words"):
        kind(vocabulary=VocabularyConfig(size=100))
