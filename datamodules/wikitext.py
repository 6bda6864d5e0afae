"""WikiText-2 and WikiText-103 (Merity et al. 2016)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from datamodules.sources import HubSource
from datamodules.text import SubsetConfig, TextDataModule

WIKITEXT2_HUB = HubSource(repository="Salesforce/wikitext", configuration="wikitext-2-v1", tweet_tokenize=False)
# Livne et al. (2020) take 10,000 paragraphs for validation, of which the repository's own split has 1,841.
WIKITEXT103_HUB = HubSource(
    repository="Salesforce/wikitext",
    configuration="wikitext-103-v1",
    splits={"train": "train", "test": "test"},
    tweet_tokenize=False,
)
WIKITEXT2_SUBSET = SubsetConfig(max_words=200)
WIKITEXT103_SUBSET = SubsetConfig(train=200_000, valid=10_000, max_words=200)
HEADING = re.compile(r"^\s*(= )+.*( =)+\s*$")


class WikiText2(TextDataModule):
    """Paragraphs, tokenised, with the literal `<unk>`; headings and blank lines of the hub's copy are dropped.

    Args:
        hub: Where it lies.
        subset: How much is used.
        kwargs: See `TextDataModule`.
    """

    corpus = "wikitext2"

    def __init__(self, hub: HubSource = WIKITEXT2_HUB, subset: SubsetConfig = WIKITEXT2_SUBSET, **kwargs: Any) -> None:
        super().__init__(hub=hub, subset=subset, **kwargs)

    def clean(self, dataset: Dataset) -> Dataset:
        """Drops headings and blank lines."""
        return dataset.filter(_are_paragraphs, input_columns="text", batched=True, desc=f"{self.corpus}: headings")


class WikiText103(WikiText2):
    """The larger one, as Livne et al. (2020) sample it: validation, too, is cut from the hub's training split.

    Its paragraphs of more words than `subset.max_words` are left out after the cut.

    Args:
        hub: Where it lies.
        subset: How much is used.
        kwargs: See `TextDataModule`.
    """

    corpus = "wikitext103"

    def __init__(
        self, hub: HubSource = WIKITEXT103_HUB, subset: SubsetConfig = WIKITEXT103_SUBSET, **kwargs: Any
    ) -> None:
        super().__init__(hub=hub, subset=subset, **kwargs)


def _are_paragraphs(texts: Sequence[str]) -> list[bool]:
    return [bool(text.strip()) and not HEADING.match(text) for text in texts]
