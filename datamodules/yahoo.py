"""Yahoo Answers."""

from __future__ import annotations

from typing import Any

from datamodules.sources import HubSource
from datamodules.text import SubsetConfig, TextDataModule

HUB = HubSource(
    repository="community-datasets/yahoo_answers_topics",
    configuration="yahoo_answers_topics",
    text=("question_title", "question_content", "best_answer"),
    label="topic",
    splits={"train": "train", "test": "test"},
)
SUBSET = SubsetConfig(train=100_000, valid=10_000, test=10_000, max_words=200)


class Yahoo(TextDataModule):
    """Question and best answer as one document, with one of ten topics.

    Args:
        hub: Where it lies.
        subset: As many documents as Yang et al. (2017) have, drawn by seed; their own sample is not on the hub. Of
            those drawn, the ones with more words than its `max_words` are left out.
        kwargs: See `TextDataModule`.
    """

    corpus = "yahoo"
    label_names = (
        "society",
        "science",
        "health",
        "education",
        "computers",
        "sports",
        "business",
        "entertainment",
        "family",
        "politics",
    )

    def __init__(self, hub: HubSource = HUB, subset: SubsetConfig = SUBSET, **kwargs: Any) -> None:
        super().__init__(hub=hub, subset=subset, **kwargs)
