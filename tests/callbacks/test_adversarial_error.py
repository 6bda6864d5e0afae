from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from models import VOCABULARY, WORDS

from callbacks.adversarial_error import adversarial_error, split
from callbacks.classifier_judge import ClassifierConfig
from datamodules.errors import UsageError
from datamodules.vocabulary import parse_vocabulary

CPU = torch.device("cpu")
WORD_LIST = parse_vocabulary(VOCABULARY)
QUICK: dict[str, Any] = {"epochs": 12, "lr": 1e-2, "hidden_size": 32, "embedding_size": 16}


def ascending(count: int, seed: int) -> list[list[str]]:
    """Three to six different words in alphabetical order."""
    drawn = random.Random(seed)
    return [sorted(drawn.sample(WORDS, drawn.randint(3, 6))) for _ in range(count)]


def errors(written: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Of both classifiers, against other sentences of the source."""
    texts = [[" ".join(words) for words in side] for side in (ascending(len(written), 0), written)]
    kinds: list[Any] = ["unigram", "lstm"]
    return {kind: adversarial_error(*texts, WORD_LIST, ClassifierConfig(kind, **QUICK), CPU, seed=0) for kind in kinds}


def test_what_cannot_be_told_apart_has_no_error_but_chance() -> None:
    for error, standard_error in errors(ascending(1500, 1)).values():
        assert standard_error == pytest.approx(0.5 / math.sqrt(300), rel=0.05)
        assert abs(error) < 3 * standard_error


def test_nonsense_has_the_largest_error() -> None:
    nonsense = [[*words[:-2], "w7", "w7"] for words in ascending(800, 1)]
    assert all(0.45 < error <= 0.5 for error, _ in errors(nonsense).values())


def test_the_lstm_also_sees_an_ending_of_the_right_words_in_the_wrong_order() -> None:
    swapped = [[*words[:-2], words[-1], words[-2]] for words in ascending(1500, 1)]
    found = errors(swapped)
    assert abs(found["unigram"][0]) < 3 * found["unigram"][1]
    assert found["lstm"][0] > 0.35


@pytest.mark.parametrize("count", [10, 19, 200, 1234])
def test_the_split_holds_every_sentence_once_and_both_kinds_alike(count: int) -> None:
    kinds = [f"true {number}" for number in range(count)], [f"written {number}" for number in range(count)]
    train, valid, test = split(*kinds, seed=3)
    assert len(valid.labels) == len(test.labels) == 2 * (count // 10)
    for part in (train, valid, test):
        assert sum(part.labels) * 2 == len(part.labels)
        assert [int(text.startswith("written")) for text in part.sentences] == list(part.labels)
    everything = [*train.sentences, *valid.sentences, *test.sentences]
    assert sorted(everything) == sorted([*kinds[0], *kinds[1]])
    # The places of a sentence in its kind say nothing of where it goes: kinds are often sorted by length.
    assert count < 200 or test.sentences[: count // 10] != tuple(kinds[0][: count // 10])


def test_the_split_follows_the_seed() -> None:
    kinds = [f"true {number}" for number in range(50)], [f"written {number}" for number in range(50)]
    assert split(*kinds, seed=1) == split(*kinds, seed=1) != split(*kinds, seed=2)


def test_too_few_sentences_are_refused() -> None:
    with pytest.raises(UsageError, match="there are 9"):
        split(["a"] * 9, ["b"] * 9, 0)
    with pytest.raises(UsageError, match="12 true sentences and 11 written"):
        split(["a"] * 12, ["b"] * 11, 0)
