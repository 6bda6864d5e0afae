"""`textae data`: fetches and prepares a corpus ahead of a job, and describes it."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from datamodules.sources import SPLITS
from datamodules.text import TextDataModule
from datamodules.vocabulary import UNK


def describe(corpus: TextDataModule) -> None:
    """Prepares every split and prints its lines, words, unknown rate and lengths."""
    corpus.prepare_data()
    source = corpus.data_dir or corpus.hub.repository or "built in"
    table = Table(
        title=f"{corpus.corpus} ({source}): vocabulary of {corpus.vocabulary.get_vocab_size():,} with 5 specials"
    )
    for column in ("split", "lines", "words", "unknown", "words a line", "shortest", "median", "longest"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split in SPLITS:
        data = corpus.split(split)
        words = int(data.lengths.sum(dtype=np.int64))
        unknown = sum(int((ids == UNK).sum()) for rows in data.encoded.iter(10_000) for ids in rows["ids"])
        table.add_row(
            split,
            f"{len(data):,}",
            f"{words:,}",
            f"{unknown / words:.2%}",
            f"{words / len(data):.2f}",
            *(f"{np.quantile(data.lengths, place, method='nearest')}" for place in (0, 0.5, 1)),
        )
    Console(markup=False).print(table)
