"""What is made of raw text and kept on disk: the vocabulary, and encoded sentences that are read a batch at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import numpy.typing as npt
from datasets import Dataset, Features, List, Value
from filelock import FileLock
from tokenizers import Tokenizer
from torch.utils.data import Dataset as TorchDataset

from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchRows
from datamodules.vocabulary import VocabularyConfig, build_vocabulary, read_vocabulary

Overflow = Literal["drop", "truncate"]


def cached_vocabulary(train: Dataset, config: VocabularyConfig) -> Tokenizer:
    """The vocabulary of a training split: built once, then read by every later run and rank (see `one_at_a_time`).

    Raises:
        UsageError: No word is left.
    """
    file = _cache() / f"{_key(train._fingerprint, config, 2)}.vocabulary.json"
    if not file.exists():
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(build_vocabulary(_texts(train), config).to_str(), encoding="utf-8")
        unfinished.replace(file)
    return read_vocabulary(file)


def one_at_a_time(*what: object) -> FileLock:
    """A lock of all processes that share the cache, for work of which the first one leaves the others the result."""
    return FileLock(_cache() / f"{_key(*what)}.lock")


def _cache() -> Path:
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "textae"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(*what: object) -> str:
    return hashlib.sha256("|".join(map(str, what)).encode()).hexdigest()[:16]


def encode(dataset: Dataset, vocabulary: Tokenizer, max_words: int | None, overflow: Overflow, desc: str) -> Dataset:
    """Turns `text` into word `ids` and their `length`, memory-mapped and cached; `label` is kept.

    Blank lines are left out, and so are sentences of more than `max_words` words, unless they are to be truncated.
    """
    vocabulary_json = vocabulary.to_str()
    features = {"ids": List(Value("int32")), "length": Value("int32")}
    if "label" in dataset.column_names:
        features["label"] = Value("int64")
    # The library would hash the function's closure, and with it a tokenizer; the content is what matters.
    return dataset.map(
        _encode_rows,
        batched=True,
        fn_kwargs={"vocabulary": vocabulary, "max_words": max_words, "overflow": overflow},
        remove_columns=dataset.column_names,
        features=Features(features),
        new_fingerprint=_key(dataset._fingerprint, vocabulary_json, max_words, overflow, 1),
        desc=desc,
    )


def _encode_rows(
    rows: Mapping[str, list[Any]], vocabulary: Tokenizer, max_words: int | None, overflow: Overflow
) -> dict[str, list[Any]]:
    encoded = [encoding.ids for encoding in vocabulary.encode_batch_fast(list(rows["text"]))]
    if overflow == "truncate":
        encoded = [ids[:max_words] for ids in encoded]
    kept = [row for row, ids in enumerate(encoded) if ids and (max_words is None or len(ids) <= max_words)]
    columns: dict[str, list[Any]] = {"ids": [encoded[row] for row in kept]}
    columns["length"] = [len(ids) for ids in columns["ids"]]
    if "label" in rows:
        columns["label"] = [rows["label"][row] for row in kept]
    return columns


class SentenceDataset(TorchDataset[TokenBatch]):
    """A split of encoded sentences; an "index" is one rank's part of a batch, which is read in one go.

    Words are slices of the memory-mapped buffers: the library's rows take several times as long (see `make bench`).
    """

    def __init__(self, encoded: Dataset) -> None:
        self.encoded = encoded.with_format("numpy")
        parts = encoded.data.column("ids").chunks
        # The words of each part one behind the other, and where its rows begin among them.
        self._parts: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = [
            (part.flatten().to_numpy(), part.offsets.to_numpy()) for part in parts
        ]
        self._first_rows = np.cumsum([0, *(len(part) for part in parts)])
        self.lengths: npt.NDArray[np.int32] = encoded.data.column("length").to_numpy()
        self.labels: npt.NDArray[np.int64] | None = None
        if "label" in encoded.column_names:
            self.labels = encoded.data.column("label").to_numpy()

    def __reduce__(self) -> tuple[type[SentenceDataset], tuple[Dataset]]:
        """A process that reads batches gets the names of the files, and maps them itself."""
        return SentenceDataset, (self.encoded,)

    def __len__(self) -> int:
        """Sentences in the split."""
        return len(self.lengths)

    def __getitem__(self, batch: BatchRows) -> TokenBatch:
        rows = np.asarray(batch.rows)
        parts = np.searchsorted(self._first_rows, rows, side="right") - 1
        places = rows - self._first_rows[parts]
        sentences = []
        for part, row in zip(parts.tolist(), places.tolist(), strict=True):
            words, offsets = self._parts[part]
            sentences.append(words[offsets[row] - offsets[0] : offsets[row + 1] - offsets[0]])
        return TokenBatch.from_ids(
            sentences,
            index=rows,
            labels=None if self.labels is None else self.labels[rows],
            share=batch.share,
        )


def _texts(dataset: Dataset) -> Iterator[str]:
    for rows in dataset.select_columns("text").iter(batch_size=10_000):
        yield from rows["text"]
