"""Every corpus with a hub source, from the columns of its repository to encoded sentences with labels."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest
from corpora import SPLITS, message_of
from datasets import ClassLabel
from hub import HubStandIn
from hub_corpora import (
    CASES,
    EVERY_CORPUS,
    FULL_ID,
    PARTS,
    POLARITY_ID,
    PTB_ID,
    STARS,
    STRING,
    TOPICS,
    make,
    publish,
    publish_ptb,
    read,
    read_raw,
    table,
)

import datamodules
from datamodules import PTB, Everything, TextDataModule, Yahoo, Yelp, YelpReviews
from datamodules.errors import UsageError
from datamodules.text import SubsetConfig


def test_every_corpus_with_a_hub_source_is_covered() -> None:
    for module in pkgutil.iter_modules(datamodules.__path__):
        importlib.import_module(f"datamodules.{module.name}")
    found: set[type[TextDataModule]] = set()
    waiting = [TextDataModule]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("datamodules.") and kind is not TextDataModule:
            module = kind()
            if module.hub.repository or getattr(module, "corpora", None):
                found.add(kind)
    assert found == set(EVERY_CORPUS)
    assert {type(part) for part in Everything().corpora} == set(PARTS)


@pytest.mark.parametrize("kind", CASES)
def test_splits_of_the_hub_become_sentences_with_labels(kind: type[TextDataModule], hub: HubStandIn) -> None:
    case = CASES[kind]
    case.publish(hub)
    content = read(make(kind))
    known = {word for text, _ in content["train"] for word in text.split()} | {"<unk>"}
    for split, sentences in case.sentences.items():
        if split == "train" and case.cut:
            continue  # see the test of cuts
        expected = [(" ".join(w if w in known else "<unk>" for w in text.split()), label) for text, label in sentences]
        # Yelp's reviews are drawn by seed, so its sentences come in another order.
        assert (sorted(content[split]) if kind is Yelp else content[split]) == (
            sorted(expected) if kind is Yelp else expected
        )
    assert set(content) == set(SPLITS)


def test_everything_is_the_union_of_its_parts(hub: HubStandIn) -> None:
    publish(hub, Everything)
    module = make(Everything)
    content = read_raw(module)
    parts = [read_raw(make(kind)) for kind in PARTS]
    for split in SPLITS:
        assert content[split] == [text for part in parts for text in part[split]]
        assert "label" not in module.split(split).encoded.column_names
    # PTB 3, Yahoo 20 - 6, Yelp15 10 - 3, WikiText-103 13 - 4, one of the 13 too long
    assert len(content["train"]) == 3 + 14 + 7 + 9
    assert len(module.split("train")) == sum(len(text.split()) <= 200 for text in content["train"])


@pytest.mark.parametrize("reviews", [1, 3])
def test_yelp_takes_sentences_of_so_many_reviews(hub: HubStandIn, reviews: int) -> None:
    features = {"text": STRING, "label": ClassLabel(names=["1", "2"])}
    rows = {"text": [f"Review {k} begins. Review {k} ends." for k in range(20)], "label": [k % 2 for k in range(20)]}
    hub.add(POLARITY_ID, dict.fromkeys(("train", "test"), table(rows, **features)), "plain_text")
    subset = SubsetConfig(valid=1)
    content = read_raw(Yelp(reviews=reviews, subset=subset))
    for texts in (content["test"], content["train"] + content["valid"]):
        numbers = [text.split()[1] for text in texts]
        assert len(texts) == 2 * reviews
        assert len(set(numbers)) == reviews
    assert {text.split()[1] for text in content["test"]} != {
        text.split()[1] for text in read_raw(Yelp(reviews=reviews, subset=subset, seed=1))["test"]
    }


def test_yelp_reviews_out_of_range_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="reviews is 0"):
        Yelp(reviews=0)


def test_label_names_are_those_of_the_hub() -> None:
    """In the hub's order: a swapped pair would turn a sentiment or topic study around."""
    assert [name.lower().split()[0] for name in TOPICS] == list(Yahoo.label_names)
    assert [name[0] for name in STARS] == [name[0] for name in YelpReviews.label_names]
    assert Yelp.label_names == ("negative", "positive")  # the hub calls its classes 1 and 2, in this order


def test_missing_column_is_named_with_those_that_there_are(hub: HubStandIn) -> None:
    publish_ptb(hub, column="line")
    message = message_of(PTB())
    for part in (PTB_ID, "no column sentence", "it has line", "hub.text"):
        assert part in message


def test_missing_label_column_is_named(hub: HubStandIn) -> None:
    rows = table({"text": ["a", "b"]}, text=STRING)
    hub.add(FULL_ID, {"train": rows, "test": rows}, "yelp_review_full")
    message = message_of(make(YelpReviews))
    for part in (FULL_ID, "no column label", "it has text", "hub.label"):
        assert part in message


@pytest.mark.parametrize("kind", [PTB, Yahoo, Yelp, YelpReviews, Everything])
def test_who_splits_the_words(kind: type[TextDataModule], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_DIR", raising=False)
    assert kind().splits_words == (kind is not PTB)  # whose words are on the hub as they are in the files
    for part in ("ptb", "yahoo", "yelp15", "wikitext103"):
        (tmp_path / part).mkdir()
    assert not kind(data_dir=str(tmp_path)).splits_words
