"""The Penn Treebank, as every paper here uses it."""

from __future__ import annotations

from typing import Any

from datamodules.sources import HubSource
from datamodules.text import TextDataModule

HUB = HubSource(
    repository="ptb-text-only/ptb_text_only",
    configuration="penn_treebank",
    revision="refs/convert/parquet",
    text=("sentence",),
    tweet_tokenize=False,
)


class PTB(TextDataModule):
    """Mikolov's split, 42,068 / 3,370 / 3,761 sentences with the literal words `<unk>` and `N`.

    Args:
        hub: Where it lies; the text is tokenised already.
        kwargs: See `TextDataModule`.
    """

    corpus = "ptb"

    def __init__(self, hub: HubSource = HUB, **kwargs: Any) -> None:
        super().__init__(hub=hub, **kwargs)
