"""The union of the corpora of Livne et al. (2020)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from datamodules.ptb import PTB
from datamodules.text import SubsetConfig, TextDataModule
from datamodules.wikitext import WikiText103
from datamodules.yahoo import Yahoo
from datamodules.yelp import YelpReviews

SUBSET = SubsetConfig(max_words=200)


class Everything(TextDataModule):
    """PTB, Yahoo, Yelp15 and WikiText-103 together, each with its own subset, hub source or folder.

    Args:
        data_dir: A root that holds one folder a corpus: `ptb/`, `yahoo/`, `yelp15/`, `wikitext103/`; `$DATA_DIR` where
            it is null, and without that the hub.
        subset: Limits on the union.
        kwargs: See `TextDataModule`.
    """

    corpus = "everything"

    def __init__(self, data_dir: str | None = None, subset: SubsetConfig = SUBSET, **kwargs: Any) -> None:
        root = data_dir or os.environ.get("DATA_DIR")
        super().__init__(data_dir=root, subset=subset, **kwargs)
        self.corpora = [
            kind(data_dir=str(Path(root) / kind.corpus) if root else None, seed=self.seed)
            for kind in (PTB, Yahoo, YelpReviews, WikiText103)
        ]

    @property
    def splits_words(self) -> bool:
        """Of some of the corpora."""
        return any(corpus.splits_words for corpus in self.corpora)

    def _source(self, split: str) -> str:
        return f"the {split} split of {', '.join(corpus.corpus for corpus in self.corpora)} together"

    def read_split(self, split: str) -> Dataset:
        """The four corpora, one after the other; their labels mean different things and are left out."""
        parts = [corpus.read_split(split).select_columns("text") for corpus in self.corpora]
        return self.draw(concatenate_datasets(parts), split)
