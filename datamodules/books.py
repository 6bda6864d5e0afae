"""BookCorpus."""

from __future__ import annotations

from typing import Any

from datamodules.sources import HubSource
from datamodules.text import SubsetConfig, TextDataModule

HUB = HubSource(
    repository="bookcorpus/bookcorpus",
    configuration="plain_text",
    revision="refs/convert/parquet",
    splits={"train": "train"},
    tweet_tokenize=False,
)
SUBSET = SubsetConfig(valid=10_000, test=10_000, max_words=60)


class Books(TextDataModule):
    """Tokenised, lower-cased sentences of novels; the hub has one split, from which two are cut by seed.

    Args:
        hub: Where it lies.
        subset: How much is cut for validation and test, and how much is used.
        kwargs: See `TextDataModule`.
    """

    corpus = "books"

    def __init__(self, hub: HubSource = HUB, subset: SubsetConfig = SUBSET, **kwargs: Any) -> None:
        super().__init__(hub=hub, subset=subset, **kwargs)
