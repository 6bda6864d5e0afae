from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules import randomness
from lightning_modules.randomness import SentenceRandom


def draws(count: int, seed: int = 0, epoch: int = -1) -> SentenceRandom:
    return SentenceRandom(torch.arange(count), seed, epoch)


def kolmogorov_smirnov(cumulative: Tensor) -> float:
    """sqrt(n) times the largest distance of a sample, given as its distribution function, from the uniform one."""
    ordered = cumulative.flatten().double().sort().values
    count = len(ordered)
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    distance = torch.maximum((ordered - steps[:-1]).abs(), (steps[1:] - ordered).abs()).max()
    return math.sqrt(count) * float(distance)


def dependence(first: Tensor, second: Tensor, cells: int = 8) -> float:
    """Standard scores of the chi-square of pairs of uniform numbers on a grid: large where they are dependent."""
    cell = (first * cells).long() * cells + (second * cells).long()
    counts = torch.bincount(cell.flatten(), minlength=cells * cells).double()
    expected = counts.sum() / cells**2
    freedom = cells**2 - 1
    return (float(((counts - expected) ** 2 / expected).sum()) - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("sentences, numbers", [(1, 40_000), (40_000, 1), (200, 200)])
def test_uniform_numbers_are_uniform(sentences: int, numbers: int) -> None:
    unit = draws(sentences).uniform("noise", numbers)
    count = unit.numel()
    assert unit.shape == (sentences, numbers)
    assert abs(float(unit.mean()) - 1 / 2) < 4 * math.sqrt(1 / 12 / count)
    assert abs(float(unit.var()) - 1 / 12) < 4 * math.sqrt(1 / 180 / count)
    assert kolmogorov_smirnov(unit) < 2
    assert len(unit.unique()) > 0.99 * count  # of 2^23 values or more, hardly any comes twice


@pytest.mark.parametrize("sentences, numbers", [(1, 40_000), (40_000, 1), (200, 200)])
def test_normal_numbers_are_standard_normal(sentences: int, numbers: int) -> None:
    normal = draws(sentences).normal("noise", numbers)
    count = normal.numel()
    assert normal.shape == (sentences, numbers)
    assert abs(float(normal.mean())) < 4 / math.sqrt(count)
    assert abs(float(normal.var()) - 1) < 4 * math.sqrt(2 / count)
    assert abs(float(normal.pow(4).mean()) - 3) < 4 * math.sqrt(96 / count)
    assert kolmogorov_smirnov((1 + torch.erf(normal.double() / math.sqrt(2))) / 2) < 2


@pytest.mark.parametrize("few", [0, 2**16])
@pytest.mark.parametrize(
    "bits", [lambda value, spare: value & 0, lambda value, spare: ~(value & 0)], ids=["zeros", "ones"]
)
def test_no_uniform_number_is_0_or_1_and_no_normal_one_infinite(
    monkeypatch: pytest.MonkeyPatch, bits: Callable[[Any, Any], Any], few: int
) -> None:
    monkeypatch.setattr(randomness, "_hash", bits)
    monkeypatch.setattr(randomness, "FEW", few)
    unit = draws(1).uniform("noise", 1)
    assert 0 < float(unit) < 1
    assert bool(draws(1).normal("noise", 1).isfinite())


@pytest.mark.parametrize("shape", [(), (0,), (7,), (0, 4), (1, 4), (3, 5), (2, 3, 4)])
def test_few_numbers_are_those_of_many(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    few = draws(11, seed=5, epoch=2).uniform("noise", *shape, sample=1)
    monkeypatch.setattr(randomness, "FEW", 0)
    assert torch.equal(draws(11, seed=5, epoch=2).uniform("noise", *shape, sample=1), few)


def splitmix64(value: int) -> int:
    """The finaliser of Steele et al. (2014), in Python's own integers."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


@pytest.mark.parametrize("few", [0, 2**16])
def test_numbers_are_those_of_the_published_hash(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomness, "FEW", few)
    key = 0
    for part in (7, zlib.crc32(b"noise"), 3, 2):
        key = splitmix64(key ^ splitmix64(part))
    unit = SentenceRandom(torch.tensor([0, 5, 2**31 - 1]), 7, 3).uniform("noise", 2, 3, sample=2, first=1)
    for sentence, row, column in product(range(3), range(2), range(3)):
        counter = ((0, 5, 2**31 - 1)[sentence] << 32) + ((row + 1) << 16) + column
        bits = splitmix64(splitmix64(counter) ^ key) >> 40 & (2**23 - 1)
        assert float(unit[sentence, row, column]) == (bits + 0.5) / 2**23


@pytest.mark.parametrize("few", [0, 2**16])
@pytest.mark.parametrize("probability", [0.0, 2.0**-25, 0.3, 0.5, 1 - 2.0**-24, 1.0])
def test_bernoulli_is_whether_uniform_is_below(probability: float, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomness, "FEW", few)
    unit, drawn = draws(200).uniform("noise", 3, 90), draws(200).bernoulli("noise", probability, 3, 90)
    assert drawn.dtype == torch.bool and torch.equal(drawn, unit < probability)


@pytest.mark.parametrize("sentence", range(50))
def test_bernoulli_of_a_number_itself_is_false(sentence: int) -> None:
    own = SentenceRandom(torch.tensor([sentence]), 0, 0)
    unit = float(own.uniform("noise", 1))
    near = (unit - 2.0**-24, unit, unit + 2.0**-24)
    assert [bool(own.bernoulli("noise", value, 1)) for value in near] == [False, False, True]


def one_row(stream: str = "noise", seed: int = 0, epoch: int = 0, sample: int = 0) -> Tensor:
    return draws(1, seed, epoch).uniform(stream, 40_000, sample=sample)


def one_column(stream: str = "noise", epoch: int = 0, sample: int = 0) -> Tensor:
    return draws(40_000, epoch=epoch).uniform(stream, 1, sample=sample)


def square() -> Tensor:
    return draws(200).uniform("noise", 200)


def above_and_below_the_diagonal() -> tuple[Tensor, Tensor]:
    above = torch.ones(200, 200, dtype=torch.bool).triu(1)
    return square()[above], square().T[above]


PAIRS: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "streams": lambda: (one_row("drop"), one_row("blank")),
    "samples": lambda: (one_row(), one_row(sample=1)),
    "seeds": lambda: (one_row(), one_row(seed=1)),
    "epochs": lambda: (one_row(), one_row(epoch=1)),
    "training and evaluation": lambda: (one_row(), one_row(epoch=-1)),
    "elements": lambda: (square()[:, 1:], square()[:, :-1]),
    "sentences": lambda: (square()[1:], square()[:-1]),
    "sentences and elements": above_and_below_the_diagonal,
    "streams over sentences": lambda: (one_column("drop"), one_column("blank")),
    "samples over sentences": lambda: (one_column(sample=1), one_column(sample=2)),
    "epochs over sentences": lambda: (one_column(epoch=1), one_column(epoch=2)),
}


@pytest.mark.parametrize("between", PAIRS)
def test_draws_are_independent_between(between: str) -> None:
    first, second = PAIRS[between]()
    correlation = float(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1])
    assert abs(correlation) < 4 / math.sqrt(first.numel())
    assert dependence(first, second) < 4


def test_no_two_of_seed_epoch_and_sample_share_their_numbers() -> None:
    keys = list(product(range(4), range(-1, 3), range(4)))
    rows = [tuple(draws(1, seed, epoch).uniform("x", 4, sample=n).flatten().tolist()) for seed, epoch, n in keys]
    assert len(set(rows)) == len(keys)


def test_a_seed_may_be_as_large_as_seed_everything_allows() -> None:
    unit = SentenceRandom(torch.arange(200), 2**32 - 1, 2**20).uniform("noise", 200)
    assert kolmogorov_smirnov(unit) < 2


def test_a_sentence_far_back_in_a_split_draws_uniformly_too() -> None:
    unit = SentenceRandom(torch.arange(2**31 - 200, 2**31), 0, 0).uniform("noise", 200)
    assert kolmogorov_smirnov(unit) < 2


@pytest.mark.parametrize("shapes", [((3,), (5,)), ((2, 3), (4, 3)), ((2, 3), (2, 5))])
def test_a_longer_shape_begins_with_the_numbers_of_a_shorter_one(shapes: tuple[tuple[int, ...], ...]) -> None:
    short, long = (draws(4).normal("noise", *shape) for shape in shapes)
    beginning = tuple(slice(size) for size in short.shape)
    assert torch.equal(long[beginning], short)


def test_a_sentence_draws_the_same_in_any_order_and_company() -> None:
    together = draws(50).normal("noise", 7, sample=3)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(SentenceRandom(order, 0, -1).normal("noise", 7, sample=3), together[order])
    for row in (0, 17, 49):
        alone = SentenceRandom(torch.tensor([row]), 0, -1).normal("noise", 7, sample=3)
        assert torch.equal(alone, together[row : row + 1])


def test_draws_neither_read_nor_move_the_global_generator() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = draws(5).normal("noise", 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(draws(5).normal("noise", 3), first)


def test_shapes_of_one_and_more_axes() -> None:
    assert draws(3).uniform("noise").shape == (3,)
    assert draws(3).uniform("noise", 2, 4).shape == (3, 2, 4)
    assert draws(3).uniform("noise", 2, 4).dtype == torch.float32
