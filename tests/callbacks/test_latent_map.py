from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.figure import Figure

from callbacks import LatentMap

Make = Callable[..., Any]
SENTENCES = ["a b c", "b a", "c c a b", "a", "b b b", "c a"]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The pictures that are saved, as matplotlib has them."""
    saved: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **options: Any) -> None:
        saved.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def points(figure: Figure) -> npt.NDArray[np.float64]:
    return np.concatenate([np.asarray(part.get_offsets()) for part in figure.axes[0].collections])


def is_picture(file: Path) -> bool:
    content = file.read_bytes()
    return (
        content.startswith(b"\x89PNG\r\n\x1a\n") and content.rstrip(b"\x00")[-8:-4] == b"IEND" and len(content) > 5000
    )


@pytest.mark.parametrize("labels", [None, [0, 1, 0, 1, -1, 7]])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_the_picture(
    fresh: Make,
    folder: Make,
    trainer: Make,
    means: Make,
    figures: list[Figure],
    tmp_path: Path,
    labels: list[int] | None,
    size: int,
) -> None:
    data = folder(SENTENCES, labels)
    data.label_names = ("bad", "good")
    model = fresh(data.vocabulary_json, latent_size=size)
    trainer(LatentMap()).test(model, datamodule=data, verbose=False)
    assert is_picture(tmp_path / "plots" / "latent_map.png")
    [figure] = figures
    shown = points(figure)
    truth = means(model, SENTENCES)
    if size <= 2:
        truth = np.pad(truth, ((0, 0), (0, 2 - size)))
        np.testing.assert_allclose(shown[np.lexsort(shown.T)], truth[np.lexsort(truth.T)], atol=1e-6)
    else:
        # The two principal components: centred, uncorrelated, with the two largest eigenvalues as variances.
        largest = np.sort(np.linalg.eigvalsh(np.cov(truth.T)))[::-1]
        np.testing.assert_allclose(np.cov(shown.T), np.diag(largest[:2]), atol=1e-6)
        np.testing.assert_allclose(shown.mean(0), 0, atol=1e-6)
        assert f"{largest[:2].sum() / largest.sum():.0%} of the variance" in figure.axes[0].get_title()
    legend = figure.axes[0].get_legend()
    if labels is None:
        assert legend is None
    else:
        assert [text.get_text() for text in legend.get_texts()] == ["-1", "bad", "good", "7"]
        assert [len(part.get_offsets()) for part in figure.axes[0].collections] == [1, 2, 2, 1]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_one_sentence_is_a_picture(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, figures: list[Figure], size: int
) -> None:
    data = folder(["a b c"], labels=[0])
    trainer(LatentMap()).test(fresh(data.vocabulary_json, latent_size=size), datamodule=data, verbose=False)
    assert is_picture(tmp_path / "plots" / "latent_map.png")
    assert points(figures[0]).shape == (1, 2)


@pytest.mark.filterwarnings("ignore:Encountered `nan` values in tensor")
def test_a_model_that_diverged_still_ends_its_test(fresh: Make, folder: Make, trainer: Make, tmp_path: Path) -> None:
    data = folder(SENTENCES, labels=[0, 1] * 3)
    model = fresh(data.vocabulary_json)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    [figures] = trainer(LatentMap()).test(model, datamodule=data, verbose=False)
    assert np.isnan(figures["test/reconstruction"])
    assert is_picture(tmp_path / "plots" / "latent_map.png")


def test_as_many_points_as_asked_for(
    model: Any, corpus: Make, trainer: Make, means: Make, test_sentences: list[str], figures: list[Figure]
) -> None:
    for _ in range(2):
        trainer(LatentMap(sentences=30)).test(model, datamodule=corpus(), verbose=False)
    assert points(figures[0]).shape == (30, 2)
    np.testing.assert_array_equal(points(figures[0]), points(figures[1]))
