"""Studies of an attribute that the settings, the corpus or the model do not allow: each is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from models import small

from callbacks import AttributeTransfer
from datamodules.errors import UsageError
from lightning_modules import LanguageModel

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attribute": "tense"}, r"corpus folder has no attribute tense \(it has: none"),
        ({"attribute": "two words"}, "two words"),
        ({"scales": ()}, "scales"),
        ({"sentences": 0}, "sentences is 0"),
        ({"judge_sentences": -1}, "judge_sentences is -1"),
    ],
)
def test_what_is_wrong_is_named(
    fresh: Make, folder: Make, trainer: Make, arguments: dict[str, Any], message: str
) -> None:
    data = folder(["a b", "b"])
    with pytest.raises(UsageError, match=message):
        trainer(AttributeTransfer(**arguments)).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([1, 1, 1], r"one class of label only \(1\)"), ([0, 1, 2], "labels 0 to 2"), ([-1, 0, 1], "labels -1 to 1")],
)
def test_labels_that_are_not_of_two_classes(
    fresh: Make, folder: Make, trainer: Make, labels: list[int], message: str
) -> None:
    data = folder(["a b", "b", "c"], labels)
    with pytest.raises(UsageError, match=message):
        trainer(AttributeTransfer("label")).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)


def test_the_corpus_reviews_has_two_attributes(model: Any, corpus: Make, trainer: Make) -> None:
    with pytest.raises(UsageError, match=r"no attribute colour \(it has: sentiment, tense\)"):
        trainer(AttributeTransfer("colour")).test(model, datamodule=corpus(), verbose=False)


def test_one_study_of_an_attribute(model: Any, corpus: Make, trainer: Make) -> None:
    with pytest.raises(UsageError, match="2 AttributeTransfer with the attribute tense"):
        trainer(AttributeTransfer(), AttributeTransfer()).test(model, datamodule=corpus(), verbose=False)


def test_a_language_model_has_no_latent(folder: Make, trainer: Make) -> None:
    data = folder(["a b", "b"])
    model = small(LanguageModel, vocabulary=data.vocabulary_json)
    with pytest.raises(UsageError, match="needs a latent, and a LanguageModel has none"):
        trainer(AttributeTransfer("label")).test(model, datamodule=data, verbose=False)
