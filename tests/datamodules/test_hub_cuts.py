"""Splits that the hub lacks are cut from the training split, and the sizes that this takes."""

from __future__ import annotations

from typing import Any

import pytest
from corpora import message_of
from hub import HubStandIn
from hub_corpora import BOOKS_ID, CASES, WITH_CUTS, make, publish_books, read_raw

from datamodules import Books, TextDataModule, WikiText103
from datamodules.text import SubsetConfig


@pytest.mark.parametrize("kind", WITH_CUTS)
def test_lacking_splits_are_cut_from_train_disjoint_and_complete(kind: type[TextDataModule], hub: HubStandIn) -> None:
    case = CASES[kind]
    case.publish(hub)
    whole = case.sentences["train"]
    cut_names = ["train", *case.cut]
    drawn = []
    for seed in (0, 1, 0):
        module = make(kind, seed)
        # The longest, of 61 and 201 words, are among the raw ones, and left out as they are encoded.
        texts = {split: texts for split, texts in read_raw(module).items() if split in cut_names}
        assert {split: len(texts[split]) for split in case.cut} == case.cut
        together = sorted(" ".join(text.split()) for split in cut_names for text in texts[split])
        assert [text for text in together if len(text.split()) < 61] == sorted(text for text, _ in whole)
        if kind not in (Books, WikiText103):
            labels = dict(whole)
            for split in cut_names:
                rows = module.read_split(split)
                assert list(rows["label"]) == [labels[text] for text in rows["text"]]
                assert list(module.split(split).encoded["label"]) == list(rows["label"])
        drawn.append(texts)
    assert drawn[0] == drawn[2]
    for split in cut_names:
        assert set(drawn[0][split]) != set(drawn[1][split])


@pytest.mark.parametrize("kind", WITH_CUTS)
def test_subset_bounds_the_training_split_beside_the_cuts(kind: type[TextDataModule], hub: HubStandIn) -> None:
    case = CASES[kind]
    case.publish(hub)
    texts = read_raw(make(kind, train=2))
    assert len(texts["train"]) == 2
    for split, size in case.cut.items():
        assert len(texts[split]) == size
        assert not set(texts[split]) & set(texts["train"])


def test_cuts_that_leave_nothing_to_train_on_are_a_usage_error(hub: HubStandIn) -> None:
    publish_books(hub)  # 31 rows
    message = message_of(Books(subset=SubsetConfig(valid=20, test=11)))
    assert BOOKS_ID in message
    assert "31 rows" in message
    texts = read_raw(Books(subset=SubsetConfig(valid=20, test=10)))
    assert {split: len(lines) for split, lines in texts.items()} == {"train": 1, "valid": 20, "test": 10}


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_cut_without_a_size_is_a_usage_error(hub: HubStandIn, split: str) -> None:
    publish_books(hub)
    sizes: dict[str, Any] = {"valid": 2, "test": 2, split: None}
    message = message_of(Books(subset=SubsetConfig(**sizes)))
    assert BOOKS_ID in message
    assert f"subset.{split}" in message
