"""Batches of sentences of about the same length, the same on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from datamodules.batch import TokenBatch
from datamodules.errors import require

Rows = npt.NDArray[np.int64]
Number = TypeVar("Number", bound=np.integer[Any])
PART = 500_000  # rows that are sorted at a time
AHEAD = 16  # batches that are read at a time


@dataclass(frozen=True)
class BatchingConfig:
    """How sentences are put into batches; sizes are of the global batch, over all ranks.

    Attributes:
        sentences: Sentences in a training batch, at most.
        tokens: Tokens in a training batch, padding and EOS counted, at most; combines with `sentences`.
        eval_sentences: Sentences in a batch of validation, test and prediction.
        bucket_width: Sentences whose lengths differ by less than this share a bucket: 1 pads least, more mixes better.
    """

    sentences: int = 32
    tokens: int | None = None
    eval_sentences: int = 256
    bucket_width: int = 1

    def __post_init__(self) -> None:
        for name in ("sentences", "tokens", "eval_sentences", "bucket_width"):
            value = getattr(self, name)
            require(value is None or value > 0, f"batching.{name} is {value}: give a positive number")


class BatchRows(NamedTuple):
    """One rank's part of a batch: which rows of the split, and the part's weight (`TokenBatch.share`)."""

    rows: Rows
    share: float


class BucketSampler(DistributedSampler[BatchRows]):
    """Yields each batch's rows; a pure function of the lengths, the seed and the epoch.

    Every epoch orders the sentences by length, ties at random, cuts the order into batches and shuffles the batches. N
    ranks split these same batches between them: a training batch with fewer sentences than ranks gives the ranks that
    are left out a row of weight 0, so that all take as many steps; evaluation leaves them out instead, so that no
    sentence is lost or repeated.

    It is the `sampler` of a DataLoader with `batch_size=None`: Lightning then calls `set_epoch`, and every "index" that
    the dataset sees is a whole batch. As a `DistributedSampler`, it is left alone by Lightning, which would otherwise
    split between the ranks once more.
    """

    def __init__(
        self,
        lengths: npt.NDArray[np.int32],
        config: BatchingConfig,
        *,
        training: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        # Of its dataset, DistributedSampler asks the length alone.
        super().__init__(cast(Dataset[Any], lengths), num_replicas=world_size, rank=rank, shuffle=training, seed=seed)
        self.lengths = lengths
        self.config = config
        self.training = training
        self.world_size = world_size
        self.done: tuple[int, int] | None = None

    def __len__(self) -> int:
        sizes = np.diff(self._ends(), prepend=0)
        return len(sizes) if self.training else int((sizes > self.rank).sum())

    def start_at(self, epoch: int, batches: int) -> None:
        """Leaves out, the next time that this epoch is gone through, so many of its batches."""
        self.done = (epoch, batches)

    def __iter__(self) -> Iterator[BatchRows]:
        epoch, batches = self.done or (self.epoch, 0)
        self.done = None
        for rows in self.global_batches(batches if epoch == self.epoch else 0):
            mine = rows[self.rank :: self.world_size]
            if len(mine):
                yield BatchRows(mine, len(mine) * self.world_size / len(rows))
            elif self.training:
                yield BatchRows(rows[:1], 0.0)

    def global_batches(self, first: int = 0) -> Iterator[Rows]:
        """The rows of every batch of this epoch, over all ranks, but for so many of the first ones."""
        ends, order = self._ends(), self._order()
        places = np.arange(len(ends))
        if self.training:
            places = np.random.default_rng((self.seed, self.epoch, 1)).permutation(len(ends))
        for place in places[first:]:
            yield order[ends[place - 1] if place else 0 : ends[place]].astype(np.int64)

    def _order(self) -> npt.NDArray[np.integer[Any]]:
        count = len(self.lengths)
        rows = np.arange(count, dtype=np.min_scalar_type(-max(count, 1)))
        if self.training:
            np.random.default_rng((self.seed, self.epoch, 0)).shuffle(rows)
        return by_bucket(rows, self.lengths // self.config.bucket_width)

    def _ends(self) -> Rows:
        """Where the sorted order is cut: depends on the lengths alone, so it is the same in every epoch."""
        count = len(self.lengths)
        most = self.config.sentences if self.training else self.config.eval_sentences
        if not self.training or self.config.tokens is None:
            # Equal parts rather than full ones and a small rest: each sentence's gradient weighs about the same.
            parts = max(1, -(-count // most))
            return np.rint(np.arange(1, parts + 1) * count / parts).astype(np.int64)
        # The longest sentence that a bucket admits, and its EOS: what every sentence of it may be padded to.
        padded = np.sort(self.lengths // self.config.bucket_width + 1)
        padded *= self.config.bucket_width
        ends = [0] if count == 0 else []
        start = 0
        while start < count:
            end = min(start + most, count)
            fits = padded[start:end] * np.arange(1, end - start + 1) <= self.config.tokens
            start += max(1, int(fits.sum()))
            ends.append(start)
        return np.array(ends, dtype=np.int64)


def by_bucket(rows: npt.NDArray[Number], buckets: npt.NDArray[np.int32]) -> npt.NDArray[Number]:
    """The rows in the order of their buckets, those of one bucket as they stood.

    A counting sort, a part at a time: beside its result it keeps next to nothing, where NumPy's stable sort keeps
    several numbers of 8 bytes for each row.
    """
    kinds = int(buckets.max(initial=0)) + 1
    parts = range(0, len(rows), PART)
    counts = sum((np.bincount(buckets[part : part + PART], minlength=kinds) for part in parts), np.zeros(kinds, int))
    places = np.cumsum(counts) - counts
    ordered = np.empty_like(rows)
    for part in parts:
        some = rows[part : part + PART]
        own = buckets[some]
        stable = np.argsort(own, kind="stable")
        counts = np.bincount(own, minlength=kinds)
        ordered[np.arange(len(some)) + np.repeat(places - np.cumsum(counts) + counts, counts)] = some[stable]
        places += counts
    return ordered


class ResumableLoader(DataLoader[TokenBatch]):
    """A DataLoader of a training's `BucketSampler`, of which a checkpoint inside an epoch knows how far it was.

    Lightning saves and restores its state (the interface of a stateful loader).
    """

    batches = 0
    """Of this epoch that were taken; those that were only read ahead do not count."""

    def __iter__(self) -> Iterator[TokenBatch]:  # type: ignore[override]  # one of its own, which counts
        sampler = self._sampler
        self.batches = sampler.done[1] if sampler.done is not None and sampler.done[0] == sampler.epoch else 0
        batches = super().__iter__()
        # Behind a step's products the processor has forgotten how to read a batch, which takes several times as long
        # for the first one of a few. Workers read ahead by themselves, and a GPU works on while one batch is read.
        some = AHEAD if self.num_workers == 0 and not self.pin_memory else 1
        while ahead := list(islice(batches, some)):
            for batch in ahead:
                self.batches += 1
                yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were taken."""
        return {"epoch": self._sampler.epoch, "batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on behind the batches that were taken."""
        self._sampler.set_epoch(state["epoch"])
        self._sampler.start_at(state["epoch"], state["batches"])

    @property
    def _sampler(self) -> BucketSampler:
        assert isinstance(self.sampler, BucketSampler)
        return self.sampler
