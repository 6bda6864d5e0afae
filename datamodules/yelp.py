"""Yelp: short sentences with sentiment (Shen et al. 2017), and whole reviews."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from datasets import Dataset

from datamodules.errors import require
from datamodules.sources import HubSource, tweet_tokenize
from datamodules.text import SubsetConfig, TextDataModule

YELP_HUB = HubSource(
    repository="fancyzhx/yelp_polarity",
    configuration="plain_text",
    label="label",
    splits={"train": "train", "test": "test"},
    tweet_tokenize=False,  # sentences are cut from tokenised reviews, see `clean`
)
YELP_SUBSET = SubsetConfig(train=444_000, valid=10_000, test=10_000)
YELP15_HUB = HubSource(
    repository="Yelp/yelp_review_full",
    configuration="yelp_review_full",
    label="label",
    splits={"train": "train", "test": "test"},
)
YELP15_SUBSET = SubsetConfig(train=100_000, valid=10_000, test=10_000, max_words=200)
# A run of words up to and with the punctuation that ends it, in tokenised text.
SENTENCE = re.compile(r"\S.*?(?:(?: [.!?])+(?= |$)|$)")
MOST_SENTENCES, MOST_WORDS = 10, 15


class Yelp(TextDataModule):
    """Short, tokenised, lower-cased sentences, each negative or positive.

    The sentences that Shen et al. (2017) released are not on the hub as text. From the hub they are made again by that
    paper's recipe: the sentences of at most 15 words of reviews of at most 10 sentences, each with its review's
    sentiment. Figures of the released corpus need its files, in a folder.

    Args:
        hub: Where the reviews lie.
        subset: How many sentences are used, about as many as were released; those of validation are cut from the
            training split.
        reviews: Reviews of a hub split whose sentences are taken, at most, drawn by seed.
        kwargs: See `TextDataModule`.
    """

    corpus = "yelp"
    label_names = ("negative", "positive")
    attributes: ClassVar = {"sentiment": label_names}

    def __init__(
        self, hub: HubSource = YELP_HUB, subset: SubsetConfig = YELP_SUBSET, reviews: int = 200_000, **kwargs: Any
    ) -> None:
        super().__init__(hub=hub, subset=subset, **kwargs)
        require(reviews > 0, f"reviews is {reviews}: give a positive number")
        self.reviews = reviews

    @property
    def splits_words(self) -> bool:
        """As `clean` does."""
        return self.data_dir is None

    def clean(self, dataset: Dataset) -> Dataset:
        """Cuts reviews into their sentences."""
        drawn = dataset.shuffle(seed=self.seed).select(range(min(self.reviews, len(dataset))))
        return tweet_tokenize(drawn, desc=f"{self.corpus}: words").map(
            _cut_sentences, batched=True, remove_columns=drawn.column_names, desc=f"{self.corpus}: sentences"
        )


class YelpReviews(TextDataModule):
    """Whole reviews with 1 to 5 stars: the Yelp15 of Yang et al. (2017), whose own sample is not on the hub.

    Args:
        hub: Where it lies.
        subset: As many reviews as the papers have, drawn by seed; of these, the ones with more words than its
            `max_words` are left out.
        kwargs: See `TextDataModule`.
    """

    corpus = "yelp15"
    label_names = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")

    def __init__(self, hub: HubSource = YELP15_HUB, subset: SubsetConfig = YELP15_SUBSET, **kwargs: Any) -> None:
        super().__init__(hub=hub, subset=subset, **kwargs)


def _cut_sentences(rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    cut: dict[str, list[Any]] = {"text": [], "label": []}
    for text, label in zip(rows["text"], rows["label"], strict=True):
        sentences = [sentence.strip() for sentence in SENTENCE.findall(text)]
        if len(sentences) <= MOST_SENTENCES:
            short = [sentence for sentence in sentences if len(sentence.split()) <= MOST_WORDS]
            cut["text"] += short
            cut["label"] += [label] * len(short)
    return cut
