from __future__ import annotations

import itertools
import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from callbacks import NeighborhoodRecall
from callbacks.neighborhood import edit_neighbors, latent_recall
from callbacks.quantities import QUANTITIES
from datamodules.errors import UsageError
from lightning_modules import LanguageModel

Make = Callable[..., Any]
Array = npt.NDArray[np.float64]


def levenshtein(one: Sequence[object], other: Sequence[object]) -> int:
    """Wagner & Fischer 1974."""
    above = list(range(len(other) + 1))
    for row, word in enumerate(one, start=1):
        line = [row]
        for column, theirs in enumerate(other, start=1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (word != theirs)))
        above = line
    return above[-1]


def nearest_in_text(sentences: Sequence[Sequence[object]], count: int) -> list[list[int]]:
    def key(row: int, other: int) -> tuple[Fraction, int]:
        mine, theirs = sentences[row], sentences[other]
        return Fraction(levenshtein(mine, theirs), max(len(mine), len(theirs))), other

    rows = range(len(sentences))
    return [sorted((other for other in rows if other != row), key=lambda o: key(row, o))[:count] for row in rows]


def recall(points: Array, near: Sequence[Sequence[int]], k: int) -> float:
    """By sorting; points that are equally far stay in the order of their rows."""
    found = 0
    for row, point in enumerate(points):
        others = [other for other in range(len(points)) if other != row]
        nearest = sorted(others, key=lambda other: float(np.linalg.norm(points[other] - point)))[:k]
        found += len(set(nearest) & set(near[row]))
    return found / sum(map(len, near))


@pytest.mark.parametrize("first_id", [5, 0xD7F0, 0xFFF0])  # around what is no character, and beyond two bytes
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_neighbours_in_text_by_brute_force(block: int, first_id: int) -> None:
    random = np.random.default_rng(first_id)
    # Few words and some sentences twice: most distances occur several times, also as different fractions (1/3, 2/6).
    sentences = [(first_id + random.integers(24, size=random.integers(1, 9)) // 6 * 8).tolist() for _ in range(50)]
    sentences += sentences[:10]
    assert edit_neighbors(sentences, 10, block).tolist() == nearest_in_text(sentences, 10)


def test_known_neighbours_in_text() -> None:
    sentences = [[7, 8, 9, 7], [9], [7, 8, 9], [8, 9, 7], [7, 8, 9, 7, 8, 9, 7, 8]]
    # From the first: 3/4, 1/4, 1/4, 4/8. From the second: 3/4, 2/3, 2/3, 7/8.
    assert edit_neighbors(sentences, 4)[:2].tolist() == [[2, 3, 4, 1], [2, 3, 0, 4]]


def test_the_memory_does_not_grow_with_the_square_of_the_sentences() -> None:
    random = np.random.default_rng(0)
    sentences = random.integers(100, size=(1500, 5)).tolist()
    tracemalloc.start()
    try:
        edit_neighbors(sentences, 10, block=8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1500**2  # bytes: a quarter of the distances in float32


@pytest.mark.parametrize("block", [1, 16, 1000])
@pytest.mark.parametrize("move", [0, 64])
def test_recall_by_brute_force(block: int, move: int) -> None:
    random = np.random.default_rng(3)
    points = random.normal(size=(90, 4)).astype(np.float32) + np.float32(move)  # far from the origin, too
    near = [random.permutation([o for o in range(90) if o != row])[:6].tolist() for row in range(90)]
    found = latent_recall(torch.from_numpy(points), torch.tensor(near), (1, 10, 50, 89), block)
    expected = [recall(points.astype(np.float64), near, k) for k in (1, 10, 50, 89)]
    assert found == pytest.approx(expected, abs=1e-9)
    assert expected[0] < expected[1] < expected[2] < expected[3] == 1


def test_latents_that_are_equally_far_share_places() -> None:
    points = torch.tensor([[0.0], [1.0], [1.0], [-1.0], [5.0]])
    near = torch.tensor([[2, 3], [0, 3], [1, 0], [2, 4], [1, 0]])
    # By definition: the mean over all orders in which rows may come.
    for k in (1, 2):
        shares = []
        for order in map(list, itertools.permutations(range(5))):
            place = {row: new for new, row in enumerate(order)}
            shares.append(recall(points[order].numpy(), [[place[o] for o in near[row].tolist()] for row in order], k))
        assert len(set(shares)) > 1
        assert latent_recall(points, near, (k,)) == pytest.approx([sum(shares) / len(shares)], abs=1e-7)


def test_a_model_that_encodes_all_sentences_alike_is_at_chance() -> None:
    near = torch.tensor([[(row + step) % 41 for step in (1, 2, 3)] for row in range(41)])
    assert latent_recall(torch.ones(41, 3), near, (10, 20, 40)) == pytest.approx([0.25, 0.5, 1])


def test_latents_that_are_no_numbers() -> None:
    points = torch.randn(9, 2)
    points[4, 1] = math.nan
    assert all(map(math.isnan, latent_recall(points, torch.zeros(9, 1, dtype=torch.int64), (1, 2))))


@pytest.mark.parametrize("sentences", [40, 10_000])
def test_of_a_model(
    model: Any,
    corpus: Make,
    trainer: Make,
    means: Make,
    test_sentences: list[str],
    tmp_path: Path,
    sentences: int,
) -> None:
    rows = np.arange(len(test_sentences))
    if sentences < len(rows):
        rows = np.sort(np.random.default_rng(0).choice(len(rows), size=sentences, replace=False))
    shuffled = [test_sentences[row] for row in np.random.default_rng(0).permutation(rows)]
    near = nearest_in_text([sentence.split() for sentence in shuffled], 5)
    latents = means(model, shuffled)
    testing = trainer(NeighborhoodRecall(sentences, neighbors=5, latent_neighbors=(20, 3, 10)))
    [figures] = testing.test(model, datamodule=corpus(), verbose=False)
    logged = {
        int(name.rsplit("_", 1)[1]): value
        for name, value in figures.items()
        if name[-1].isdigit() and "neighborhood" in name
    }
    assert list(logged) == [3, 10, 20]
    for k, value in logged.items():
        assert value == pytest.approx(recall(latents, near, k), abs=1e-6)
        assert k / len(shuffled) < value < 1
    assert (tmp_path / "plots" / "neighborhood_recall.png").read_bytes().startswith(b"\x89PNG")
    for eval_sentences in (7, 256):  # and a second time the same
        assert testing.test(model, datamodule=corpus(eval_sentences), verbose=False)[0].items() >= {
            (name, value) for name, value in figures.items() if "neighborhood" in name
        }


def test_of_short_sentences(fresh: Make, folder: Make, trainer: Make, means: Make) -> None:
    sentences = [" ".join(words) for count in (1, 2, 3) for words in itertools.product("abc", repeat=count)]
    data = folder(sentences)
    model = fresh(data.vocabulary_json).eval()
    shuffled = [sentences[row] for row in np.random.default_rng(0).permutation(len(sentences))]
    expected = recall(means(model, shuffled), nearest_in_text([sentence.split() for sentence in shuffled], 7), 9)
    [figures] = trainer(NeighborhoodRecall(neighbors=7, latent_neighbors=(9,))).test(
        model, datamodule=data, verbose=False
    )
    assert figures["test/neighborhood_recall_9"] == pytest.approx(expected, abs=1e-6)


def test_figures_have_meanings() -> None:
    assert {f"neighborhood_recall_{k}" for k in NeighborhoodRecall().latent_neighbors} <= QUANTITIES.keys()


def test_of_a_small_split_the_ks_that_fit(model: Any, corpus: Make, trainer: Make) -> None:
    """Of 90 sentences each has 89 others."""
    [figures] = trainer(NeighborhoodRecall(latent_neighbors=(10, 80, 90, 100))).test(
        model, datamodule=corpus(), verbose=False
    )
    measured = {name for name in figures if name.startswith("test/neighborhood") and name[-1].isdigit()}
    assert measured == {"test/neighborhood_recall_10", "test/neighborhood_recall_80"}
    for options in ({"latent_neighbors": (90, 100)}, {"neighbors": 90}):
        with pytest.raises(UsageError, match="90 neighbours of 90 test sentences"):
            trainer(NeighborhoodRecall(**options)).test(model, datamodule=corpus(), verbose=False)


def test_nothing_is_done_for_a_language_model(corpus: Make, trainer: Make, tmp_path: Path) -> None:
    data = corpus()
    model = LanguageModel(vocabulary=data.vocabulary_json)
    [figures] = trainer(NeighborhoodRecall()).test(model, datamodule=data, verbose=False)
    assert not any("neighborhood" in name for name in figures)
    assert not (tmp_path / "plots").exists()


@pytest.mark.parametrize(
    "options", [{"sentences": 1}, {"neighbors": 0}, {"latent_neighbors": ()}, {"latent_neighbors": (10, 0)}]
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        NeighborhoodRecall(**options)


def test_without_the_library_only_this_callback_is_missing() -> None:
    code = (
        "import sys; sys.modules['rapidfuzz'] = None\n"
        "import callbacks; from datamodules.errors import UsageError\n"
        "callbacks.NeighborPurity()\n"
        "try: callbacks.NeighborhoodRecall()\n"
        "except UsageError as error: print(error)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == 'NeighborhoodRecall needs the library rapidfuzz: pip install "textae[studies]"'
