"""Which sentences of a corpus are kept: up to a length, and a number of them that the seed draws."""

from __future__ import annotations

from typing import Any

import pytest
from corpora import SENTENCES, SPLITS, loaders, sentences_of, vocabulary_words

from datamodules import TextFolder
from datamodules.errors import UsageError
from datamodules.text import SubsetConfig


@pytest.mark.parametrize("overflow", ["drop", "truncate"])
def test_max_words(folder: str, overflow: Any) -> None:
    module = TextFolder(data_dir=folder, subset=SubsetConfig(max_words=4, overflow=overflow))
    for split in SPLITS:
        if overflow == "drop":
            expected = [line for line in SENTENCES[split] if len(line.split()) <= 4]
        else:
            expected = [" ".join(line.split()[:4]) for line in SENTENCES[split]]
        assert sentences_of(module, split) == expected
        assert max(len(line.split()) for line in expected) == 4
        labels = module.split(split).encoded["label"]
        of_whole = [
            len(line.split()) % 2 for line in SENTENCES[split] if overflow == "truncate" or len(line.split()) < 5
        ]
        assert list(labels) == of_whole


def test_subset_is_drawn_by_seed(folder: str) -> None:
    def drawn(seed: int) -> dict[str, list[str]]:
        module = TextFolder(data_dir=folder, subset=SubsetConfig(train=20, valid=10, test=99), seed=seed)
        for split, loader in loaders(module).items():
            if split == "valid":  # its labels went along
                for batch in loader:
                    assert batch.labels is not None
                    assert batch.labels.tolist() == [(length - 1) % 2 for length in batch.lengths.tolist()]
        return {split: list(module.read_split(split)["text"]) for split in SPLITS}

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert one == again
    for split, size in (("train", 20), ("valid", 10)):
        for lines in (one[split], other[split]):
            assert len(lines) == len(set(lines)) == size
            assert set(lines) < set(SENTENCES[split])
        assert set(one[split]) != set(other[split])
    assert one["test"] == other["test"] == SENTENCES["test"]  # asked for more than there are


def test_vocabulary_is_of_the_subset(folder: str) -> None:
    module = TextFolder(data_dir=folder, subset=SubsetConfig(train=5))
    words = {word for text in module.read_split("train")["text"] for word in text.split()}
    assert set(vocabulary_words(module.vocabulary)[5:]) == words
    assert len(words) < 60


@pytest.mark.parametrize("name", [*SPLITS, "max_words"])
def test_subset_out_of_range_is_a_usage_error(name: str) -> None:
    setting: dict[str, Any] = {name: 0}
    with pytest.raises(UsageError, match=f"subset.{name} is 0"):
        SubsetConfig(**setting)
