"""Tests of the bucket sampler: what an epoch holds, on one rank and shared between several."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from datamodules import bucketing
from datamodules.bucketing import BatchingConfig, BatchRows, BucketSampler, by_bucket
from datamodules.errors import UsageError

Lengths = npt.NDArray[np.int32]


class Case(NamedTuple):
    lengths: Lengths
    config: BatchingConfig
    seed: int
    epoch: int


def cases(number: int = 60) -> Iterator[Case]:
    """Corpora of 1 to 80 sentences and settings of every kind; many batches are smaller than three ranks."""
    for seed in range(number):
        draw = np.random.default_rng(seed)
        yield Case(
            lengths=draw.integers(0, 30, size=draw.integers(1, 81)).astype(np.int32),
            config=BatchingConfig(
                sentences=int(draw.choice([1, 2, 3, 5, 8, 1000])),
                tokens=None if draw.random() < 0.4 else int(draw.choice([5, 40, 100])),
                eval_sentences=int(draw.choice([1, 2, 7, 1000])),
                bucket_width=int(draw.choice([1, 1, 3, 10])),
            ),
            seed=int(draw.integers(100)),
            epoch=int(draw.integers(5)),
        )


def sampler(case: Case, training: bool, rank: int = 0, world_size: int = 1) -> BucketSampler:
    made = BucketSampler(case.lengths, case.config, training=training, seed=case.seed, rank=rank, world_size=world_size)
    made.set_epoch(case.epoch)
    return made


def by_rank(case: Case, training: bool, world_size: int) -> list[list[BatchRows]]:
    return [list(sampler(case, training, rank, world_size)) for rank in range(world_size)]


def composition(batches: list[BatchRows]) -> set[frozenset[int]]:
    return {frozenset(batch.rows.tolist()) for batch in batches}


@pytest.mark.parametrize("training", [False, True])
def test_one_rank_has_every_sentence_once_at_full_weight(training: bool) -> None:
    for case in cases():
        batches = list(sampler(case, training))
        rows = [row for batch in batches for row in batch.rows.tolist()]
        assert sorted(rows) == list(range(len(case.lengths)))
        assert all(batch.share == 1 and len(batch.rows) > 0 for batch in batches)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_training_batches_of_one_rank(world_size: int) -> None:
    left_out = 0
    for case in cases():
        alone = list(sampler(case, training=True))
        ranks = by_rank(case, training=True, world_size=world_size)
        assert {len(batches) for batches in ranks} == {len(alone)}
        for whole, *parts in zip(alone, *ranks, strict=True):
            counted = [row for part in parts if part.share > 0 for row in part.rows.tolist()]
            assert sorted(counted) == sorted(whole.rows.tolist())
            sizes = [len(part.rows) if part.share > 0 else 0 for part in parts]
            assert max(sizes) - min(sizes) <= 1
            for part in parts:
                # A rank that is left out still has something to run on, and no more than it must.
                assert part.share > 0 or len(part.rows) == 1
                left_out += part.share == 0
    assert left_out > 50  # the cases do hold batches smaller than the world


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_evaluation_batches_of_one_rank(world_size: int) -> None:
    left_out = 0
    for case in cases():
        alone = list(sampler(case, training=False))
        batch_of = {row: number for number, batch in enumerate(alone) for row in batch.rows.tolist()}
        ranks = by_rank(case, training=False, world_size=world_size)
        rows = [row for batches in ranks for batch in batches for row in batch.rows.tolist()]
        assert sorted(rows) == list(range(len(case.lengths)))  # no sentence is lost, none is repeated
        for batches in ranks:
            assert all(len(batch.rows) > 0 for batch in batches)
            numbers = [{batch_of[row] for row in batch.rows.tolist()} for batch in batches]
            assert all(len(number) == 1 for number in numbers)  # each is part of one batch of one rank,
            assert all(max(one) < max(next_) for one, next_ in pairwise(numbers))  # in the same order
            left_out += len(alone) - len(batches)
    assert left_out > 50


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_weighted_mean_over_ranks_is_the_mean_over_sentences(world_size: int, training: bool) -> None:
    for case in cases():
        values = np.random.default_rng(case.seed).normal(size=len(case.lengths))
        alone = list(sampler(case, training))
        ranks = by_rank(case, training, world_size)
        for number, whole in enumerate(alone):
            inside = set(whole.rows.tolist())
            if training:
                parts = [batches[number] for batches in ranks]
            else:  # where a rank that is left out adds nothing to the sum
                parts = [batch for batches in ranks for batch in batches if inside.issuperset(batch.rows.tolist())]
            average = sum(part.share * values[part.rows].mean() for part in parts) / world_size
            assert average == pytest.approx(values[whole.rows].mean(), abs=1e-12)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_len_is_what_iteration_gives_in_every_epoch(world_size: int, training: bool) -> None:
    for case in cases():
        for rank in range(world_size):
            one = sampler(case, training, rank, world_size)
            for epoch in range(3):
                one.set_epoch(epoch)
                assert len(list(one)) == len(one)


def test_training_steps_are_the_same_in_every_epoch() -> None:
    for case in cases():
        one = sampler(case, training=True)
        steps = set()
        for epoch in range(4):
            one.set_epoch(epoch)
            steps.add(len(one))
        assert len(steps) == 1


@pytest.mark.parametrize("training", [False, True])
def test_same_seed_and_epoch_give_the_same_batches(training: bool) -> None:
    for case in cases(20):
        first, again = (list(sampler(case, training)) for _ in range(2))
        assert [batch.rows.tolist() for batch in first] == [batch.rows.tolist() for batch in again]


@pytest.mark.parametrize("change", ["epoch", "seed"])
def test_epoch_and_seed_change_order_and_composition_of_training(change: str) -> None:
    case = Case(np.repeat(np.arange(4, dtype=np.int32), 50), BatchingConfig(sentences=8), seed=3, epoch=1)
    one, other = (list(sampler(c, training=True)) for c in (case, case._replace(**{change: 2})))
    assert composition(one) != composition(other)
    steps = [[int(case.lengths[batch.rows[0]]) for batch in batches] for batches in (one, other)]
    assert steps[0] != steps[1]  # the order of the batches, which shows in their lengths
    assert steps[0] != sorted(steps[0])
    assert sorted(steps[0]) == sorted(steps[1])


def test_evaluation_is_the_same_in_every_epoch_and_for_every_seed() -> None:
    for case in cases(20):
        one, other = (
            list(sampler(c, training=False)) for c in (case, case._replace(seed=case.seed + 1, epoch=case.epoch + 1))
        )
        assert [batch.rows.tolist() for batch in one] == [batch.rows.tolist() for batch in other]


def test_token_budget_bounds_the_padded_size() -> None:
    full = 0
    for case in cases(200):
        if case.config.tokens is None:
            continue
        for batch in sampler(case, training=True):
            sentences = len(batch.rows)
            padded = sentences * (int(case.lengths[batch.rows].max()) + 1)  # and EOS
            assert sentences <= case.config.sentences
            # A sentence that alone exceeds the budget is not dropped: it makes a batch by itself.
            assert padded <= case.config.tokens or sentences == 1
            full += sentences > 1 and padded > 0.8 * case.config.tokens
    assert full > 100  # the budget is used, too


def test_token_budget_by_hand() -> None:
    # With EOS 2, 2, 2, 4, 4 and 11 tokens: three of 2 fill 6, the fourth would be padded to 4; two of 4 exceed 6.
    lengths = np.array([3, 1, 10, 1, 3, 1], dtype=np.int32)
    config = BatchingConfig(sentences=100, tokens=6)
    batches = BucketSampler(lengths, config, training=True)
    assert composition(list(batches)) == {frozenset({1, 3, 5}), frozenset({0}), frozenset({4}), frozenset({2})}


@pytest.mark.parametrize("training", [False, True])
def test_without_a_token_budget_batches_are_of_equal_size(training: bool) -> None:
    for case in cases():
        if training and case.config.tokens is not None:
            continue
        most = case.config.sentences if training else case.config.eval_sentences
        sizes = [len(batch.rows) for batch in sampler(case, training)]
        assert len(sizes) == math.ceil(len(case.lengths) / most)  # as few as can be
        assert max(sizes) <= most
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("training", [False, True])
def test_batches_do_not_interleave_in_length(training: bool) -> None:
    """Between any two batches one holds nothing longer, up to the bucket, than anything in the other."""
    for case in cases():
        buckets = case.lengths // case.config.bucket_width
        ranges = [(buckets[batch.rows].min(), buckets[batch.rows].max()) for batch in sampler(case, training)]
        assert all(one[1] <= other[0] for one, other in pairwise(sorted(ranges)))


def test_bucket_width_lets_lengths_mix() -> None:
    lengths = np.arange(40, dtype=np.int32) % 20

    def spread(width: int) -> int:
        config = BatchingConfig(sentences=2, bucket_width=width)
        batches = list(BucketSampler(lengths, config, training=True))
        return max(int(lengths[batch.rows].max() - lengths[batch.rows].min()) for batch in batches)

    assert spread(1) == 0  # there are two sentences of each length
    assert 1 < spread(5) < 5  # ten of each bucket, drawn from it in pairs
    assert spread(100) > 10  # one bucket: batches are drawn whatever the lengths


@pytest.mark.parametrize("name", ["sentences", "tokens", "eval_sentences", "bucket_width"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_out_of_range_are_usage_errors(name: str, value: int) -> None:
    setting: dict[str, Any] = {name: value}
    with pytest.raises(UsageError, match=f"batching.{name} is {value}"):
        BatchingConfig(**setting)


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_rows_by_bucket_are_numpys_stable_sort(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucketing, "PART", part)
    draw = np.random.default_rng(part)
    for count in (0, 1, 6, 7, 8, 500):
        rows = draw.permutation(count).astype(np.int16)
        buckets = draw.integers(0, 12, size=count).astype(np.int32)
        np.testing.assert_array_equal(by_bucket(rows, buckets), rows[np.argsort(buckets[rows], kind="stable")])


@pytest.mark.parametrize("training", [False, True])
def test_an_epoch_of_a_large_corpus_takes_few_bytes_a_sentence(training: bool) -> None:
    count = 2_000_000
    lengths = np.random.default_rng(0).integers(1, 40, size=count, dtype=np.int32)
    tracemalloc.start()
    try:
        assert len(next(iter(BucketSampler(lengths, BatchingConfig(), training=training))).rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Rows in and out of order and their buckets, 4 bytes each, and a part that is sorted.
    assert peak < 12 * count + 60 * bucketing.PART
