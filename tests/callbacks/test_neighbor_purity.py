from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from models import small

from callbacks import NeighborPurity
from callbacks.neighbor_purity import knn_purity
from datamodules.errors import UsageError
from lightning_modules import LanguageModel

Make = Callable[..., Any]


def brute_force(points: npt.NDArray[np.float64], labels: list[int], k: int) -> float:
    shares = []
    for row, point in enumerate(points):
        others = [other for other in range(len(points)) if other != row]
        nearest = sorted(others, key=lambda other: float(np.linalg.norm(points[other] - point)))[:k]
        shares.append(sum(labels[other] == labels[row] for other in nearest) / k)
    return sum(shares) / len(shares)


@pytest.mark.parametrize(("count", "size", "k"), [(40, 2, 1), (60, 5, 10), (12, 3, 11), (150, 1, 3)])
def test_the_share_by_brute_force(count: int, size: int, k: int) -> None:
    random = np.random.default_rng(count)
    labels = random.integers(3, size=count)
    points = random.normal(size=(count, size)) + labels[:, None]
    share = knn_purity(torch.from_numpy(points), torch.from_numpy(labels), k)
    assert share == pytest.approx(brute_force(points, labels.tolist(), k), abs=1e-6)


def test_known_shares() -> None:
    points = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    assert knn_purity(points, torch.tensor([0, 0, 1, 1]), 1) == 1
    assert knn_purity(points, torch.tensor([0, 1, 0, 1]), 1) == 0
    assert knn_purity(points, torch.tensor([0, 0, 0, 1]), 1) == 0.5
    # A sentence is not its own neighbour, though another lies in the same place.
    assert knn_purity(torch.zeros(2, 3), torch.tensor([0, 1]), 1) == 0


def test_far_from_the_origin() -> None:
    random = np.random.default_rng(0)
    points = random.normal(size=(200, 4)).astype(np.float32)
    labels = random.integers(2, size=200)
    near = knn_purity(torch.from_numpy(points), torch.from_numpy(labels), 5)
    assert near == pytest.approx(brute_force(points.astype(np.float64), labels.tolist(), 5), abs=1e-6)
    moved = points + np.float32(64)
    assert knn_purity(torch.from_numpy(moved), torch.from_numpy(labels), 5) == pytest.approx(
        brute_force(moved.astype(np.float64), labels.tolist(), 5), abs=1e-6
    )


def test_of_a_model(model: Any, corpus: Make, trainer: Make, means: Make, test_sentences: list[str]) -> None:
    grammar = corpus().grammar
    labels = [2 * sentiment + tense for sentiment, tense in map(grammar.labels, test_sentences)]
    expected = brute_force(means(model, test_sentences), labels, 7)
    [figures] = trainer(NeighborPurity(neighbors=7)).test(model, datamodule=corpus(), verbose=False)
    assert figures["test/knn_purity"] == pytest.approx(expected, abs=1e-3)  # a tie in float32 moves one neighbour
    assert 0.25 < expected < 1


def test_what_it_cannot_measure(fresh: Make, folder: Make, trainer: Make) -> None:
    data = folder(["a b", "b a", "a"])
    with pytest.raises(UsageError, match="labels"):
        trainer(NeighborPurity(neighbors=1)).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    data = folder(["a b", "b a", "a"], labels=[0, 1, 1])
    with pytest.raises(UsageError, match=r"neighbors is 3.*3 sentences"):
        trainer(NeighborPurity(neighbors=3)).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    trainer(NeighborPurity(neighbors=2)).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    with pytest.raises(UsageError, match="0"):
        NeighborPurity(neighbors=0)
    words = small(LanguageModel, vocabulary=data.vocabulary_json)
    trainer(NeighborPurity(neighbors=3)).test(words, datamodule=data, verbose=False)  # has no latent
