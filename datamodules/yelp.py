"""Yelp: short sentences with sentiment (Shen et al. 2017), and whole reviews."""

from __future__ import annotations

from typing import Any

from datamodules.sources import HubSource
from datamodules.text import SubsetConfig, TextDataModule

YELP_HUB = HubSource(
    repository="guangyil/yelp_short",
    label="label",
    splits={"train": "train", "test": "test"},
    tweet_tokenize=False,
)
YELP_SUBSET = SubsetConfig(valid=10_000)
YELP15_HUB = HubSource(
    repository="Yelp/yelp_review_full",
    configuration="yelp_review_full",
    label="label",
    splits={"train": "train", "test": "test"},
)
YELP15_SUBSET = SubsetConfig(train=100_000, valid=10_000, test=10_000, max_words=200)


class Yelp(TextDataModule):
    """Short, tokenised, lower-cased sentences, each negative or positive.

    Args:
        hub: Where it lies.
        subset: The hub has no validation split: this many sentences are cut from the training split.
        kwargs: See `TextDataModule`.
    """

    corpus = "yelp"
    label_names = ("negative", "positive")

    def __init__(self, hub: HubSource = YELP_HUB, subset: SubsetConfig = YELP_SUBSET, **kwargs: Any) -> None:
        super().__init__(hub=hub, subset=subset, **kwargs)


class YelpReviews(TextDataModule):
    """Whole reviews with 1 to 5 stars: the Yelp15 of Yang et al. (2017), whose own sample is not on the hub.

    Args:
        hub: Where it lies.
        subset: As many reviews as the papers have, drawn by seed.
        kwargs: See `TextDataModule`.
    """

    corpus = "yelp15"
    label_names = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")

    def __init__(self, hub: HubSource = YELP15_HUB, subset: SubsetConfig = YELP15_SUBSET, **kwargs: Any) -> None:
        super().__init__(hub=hub, subset=subset, **kwargs)
