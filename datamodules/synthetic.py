"""The built-in corpus `reviews`: sentences of a grammar whose probabilities are known."""

from __future__ import annotations

from typing import Any, ClassVar

from datasets import Dataset
from tokenizers import Tokenizer

from datamodules.errors import require
from datamodules.grammar import ReviewGrammar
from datamodules.sources import SPLITS
from datamodules.text import SubsetConfig, TextDataModule
from datamodules.vocabulary import closed_vocabulary

SUBSET = SubsetConfig(train=30_000, valid=3_000, test=3_000)


class Reviews(TextDataModule):
    """Short review-like sentences, drawn independently for each split; the vocabulary is closed and nothing is cut.

    So the grammar's entropy is a floor that no model's true negative log-likelihood can lie below, and the grammar
    itself judges what a model writes. The label of a sentence is its sentiment and tense.

    Args:
        subset: How many sentences each split has.
        kwargs: See `TextDataModule`.
    """

    corpus = "reviews"
    built_in = True
    label_names = ("negative, present", "negative, past", "positive, present", "positive, past")
    attributes: ClassVar = {"sentiment": ("negative", "positive"), "tense": ("present", "past")}

    def __init__(self, subset: SubsetConfig = SUBSET, **kwargs: Any) -> None:
        super().__init__(subset=subset, **kwargs)
        require(
            self.subset.max_words is None,
            "data.subset.max_words: leave it out; the corpus reviews has 4 to 15 words a sentence and is never cut, so "
            "that its entropy is a floor",
        )
        self.grammar = ReviewGrammar()

    def make_vocabulary(self) -> Tokenizer:
        """Every word that the grammar can write."""
        return closed_vocabulary(self.grammar.words)

    def read_split(self, split: str) -> Dataset:
        """Draws the split from the grammar; the label is 2 * sentiment + tense."""
        count: int = getattr(self.subset, split) or getattr(SUBSET, split)
        sentences = self.grammar.sample(count, seed=3 * self.seed + SPLITS.index(split))
        labels = [self.grammar.labels(sentence) for sentence in sentences]
        return Dataset.from_dict(
            {"text": sentences, "label": [2 * label[0] + label[1] for label in labels if label is not None]}
        )
