from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.metrics import entropy as module
from lightning_modules.metrics.entropy import NearestNeighborEntropy, nearest_neighbor_entropy


def normal(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("neighbors", [1, 3, 10])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_of_a_gaussian_it_is_the_closed_form(size: int, neighbors: int) -> None:
    mix = torch.tensor([[1.0, 0, 0, 0, 0], [0.3, 0.5, 0, 0, 0], [0, 1, 2, 0, 0], [0.5, 0, 0, 1, 0], [0, 0, 1, 0, 0.7]])
    mix = mix[:size, :size].double()
    expected = 0.5 * size * math.log(2 * math.pi * math.e) + float(mix.det().abs().log())
    estimates = [float(nearest_neighbor_entropy(normal(4000, size, seed) @ mix.T, neighbors)) for seed in range(3)]
    assert np.mean(estimates) == pytest.approx(expected, abs=0.1 if size < 5 else 0.3)


def test_of_a_uniform_distribution_it_is_the_logarithm_of_the_volume() -> None:
    box = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([4.0, 0.5])
    assert float(nearest_neighbor_entropy(box)) == pytest.approx(math.log(2.0), abs=0.05)


def test_it_is_the_estimators_definition() -> None:
    z = normal(60, 3).numpy()
    distances = [
        sorted(np.abs(a - b).max() for j, b in enumerate(z) if j != i)[3] for i, a in enumerate(z)
    ]  # the fourth
    harmonic = sum(1 / n for n in range(4, 60))  # digamma(60) - digamma(4)
    expected = harmonic + 3 * math.log(2) + 3 * np.mean(np.log(distances))
    assert float(nearest_neighbor_entropy(torch.from_numpy(z), 4)) == pytest.approx(expected, rel=1e-9)


def test_scaling_adds_its_logarithm_and_a_move_nothing() -> None:
    z = normal(500, 4)
    before = float(nearest_neighbor_entropy(z))
    assert float(nearest_neighbor_entropy(z * 1e-4)) == pytest.approx(before + 4 * math.log(1e-4), abs=1e-6)
    assert float(nearest_neighbor_entropy(z + 1e4)) == pytest.approx(before, abs=1e-6)


def test_equal_codes_count_once_and_too_few_give_no_number() -> None:
    z = normal(200, 2)
    assert float(nearest_neighbor_entropy(torch.cat((z, z[:50])))) == pytest.approx(float(nearest_neighbor_entropy(z)))
    assert math.isnan(float(nearest_neighbor_entropy(z[:3].repeat(9, 1), 3)))
    assert math.isfinite(float(nearest_neighbor_entropy(z[:4], 3)))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_of_codes_that_are_no_numbers_it_is_none(wrong: float) -> None:
    z = normal(50, 3)
    z[7, 1] = wrong
    assert math.isnan(float(nearest_neighbor_entropy(z)))


def test_batches_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    z = normal(150, 3)
    expected = float(nearest_neighbor_entropy(z, 2))
    monkeypatch.setattr(module, "CHUNK", 7)
    metric = NearestNeighborEntropy(2)
    for part in z[torch.randperm(150, generator=torch.Generator().manual_seed(1))].split([1, 80, 69]):
        metric.update(part)
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-12)
