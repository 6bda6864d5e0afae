from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from models import VOCABULARY, WORDS

from callbacks.classifier_judge import ClassifierConfig, Labelled, accuracy, train_classifier
from datamodules.errors import UsageError
from datamodules.vocabulary import parse_vocabulary

Make = Callable[..., Any]
CPU = torch.device("cpu")
WORD_LIST = parse_vocabulary(VOCABULARY)
KINDS: list[Any] = ["unigram", "lstm"]


def drawn(count: int, seed: int, label: Callable[[list[str]], int]) -> Labelled:
    rng = random.Random(seed)
    rows = [rng.choices(WORDS[:6], k=rng.randint(2, 6)) for _ in range(count)]
    return Labelled([" ".join(row) for row in rows], [label(row) for row in rows])


def has_a_word(row: list[str]) -> int:
    return int("w3" in row)


def begins(row: list[str]) -> int:
    return int(row[0] in WORDS[:3])


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_a_word_tells_is_learnt(kind: Any) -> None:
    config = ClassifierConfig(kind, epochs=15, lr=2e-2)
    judge = train_classifier(drawn(1500, 0, has_a_word), drawn(200, 1, has_a_word), WORD_LIST, config, CPU, seed=0)
    assert accuracy(judge, drawn(500, 2, has_a_word)) > 0.97


def test_only_the_lstm_knows_the_order_of_words() -> None:
    scores = {}
    for kind in KINDS:
        config = ClassifierConfig(kind, epochs=15, lr=1e-2)
        judge = train_classifier(drawn(2000, 0, begins), drawn(200, 1, begins), WORD_LIST, config, CPU, seed=0)
        scores[kind] = accuracy(judge, drawn(1000, 2, begins))
    assert scores["lstm"] > 0.95 > 0.9 > scores["unigram"]


def test_on_noise_it_stops_early_with_the_weights_that_were_best() -> None:
    """Labels that nothing tells: the best validation loss is about ln 2, which training on for long would leave."""
    coin = np.random.default_rng(0).integers(2, size=600).tolist()
    rows = drawn(600, 0, has_a_word).sentences
    train, valid = Labelled(rows[:400], coin[:400]), Labelled(rows[400:], coin[400:])
    config = ClassifierConfig("lstm", epochs=200, patience=2, dropout=0.0, lr=1e-2)
    judge = train_classifier(train, valid, WORD_LIST, config, CPU, seed=0)
    assert 0.35 < accuracy(judge, valid) < 0.65 and accuracy(judge, train) < 0.75  # by heart it would be 1


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_companions_do_not_matter(kind: Any) -> None:
    data = drawn(300, 0, has_a_word)
    judge = train_classifier(data, data, WORD_LIST, ClassifierConfig(kind, epochs=2), CPU, seed=0)
    long = " ".join(["w3"] * 40)
    together = judge.classify([*data.sentences[:50], long])
    assert together == [judge.classify([sentence])[0] for sentence in [*data.sentences[:50], long]]


def test_training_repeats_and_leaves_the_random_numbers_alone() -> None:
    data = drawn(200, 0, has_a_word)
    before = torch.get_rng_state()
    with torch.inference_mode():  # as in a test
        judges = [
            train_classifier(data, data, WORD_LIST, ClassifierConfig(epochs=2), CPU, seed=3).state_dict()
            for _ in range(2)
        ]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(judges[0][name], judges[1][name]) for name in judges[0])


def test_sentences_of_one_class_are_refused() -> None:
    data = Labelled(["w1 w2", "w3"], [1, 1])
    with pytest.raises(UsageError, match="two classes"):
        train_classifier(data, data, WORD_LIST, ClassifierConfig(), CPU, seed=0)
    with pytest.raises(UsageError, match="2 sentences and 1 labels"):
        Labelled(["w1", "w2"], [0])


@pytest.mark.parametrize("name", ["embedding_size", "hidden_size", "epochs", "patience", "sentences", "lr"])
def test_settings_that_make_no_sense(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        ClassifierConfig(**{name: 0})
