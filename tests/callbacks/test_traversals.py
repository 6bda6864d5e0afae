"""Traversals, from densities and decodes that are made one at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from callbacks import Traversals
from datamodules.errors import UsageError
from lightning_modules import LanguageModel
from lightning_modules.decoding.text import text_batch

Make = Callable[..., Any]


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[], list[dict[str, str]]]:
    """What the table of the run folder says."""

    def read() -> list[dict[str, str]]:
        blocks = (tmp_path / "samples" / "traversals.txt").read_text().rstrip("\n").split("\n\n")
        return [
            {name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in block.splitlines())}
            for block in blocks
        ]

    return read


@pytest.mark.parametrize("size", [256, 7])
@pytest.mark.parametrize("stochastic", [True, False])
def test_the_dimensions_that_say_most_around_the_prior_and_sentences(
    size: int,
    stochastic: bool,
    model: Any,
    corpus: Make,
    trainer: Make,
    means: Make,
    decode: Make,
    test_sentences: list[str],
    rows: Make,
) -> None:
    model = copy.deepcopy(model)
    model.stochastic = stochastic
    callback = Traversals(dimensions=3, sentences=2, reach=2.0, steps=5)
    trainer(callback).test(model, datamodule=corpus(size), verbose=False)
    latents = means(model, test_sentences)
    if stochastic:
        with torch.no_grad():
            found = [model.encode(text_batch(model.vocabulary, [sentence])) for sentence in test_sentences]
        densities = [torch.distributions.Normal(one.mean[0].double(), one.std[0].double()) for one in found]
        standard = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
        score = np.mean([torch.distributions.kl_divergence(one, standard).numpy() for one in densities], axis=0)
    else:
        score = latents.var(axis=0, ddof=1)
    order = np.argsort(-score)[:3]
    shown = rows()
    centers = list(dict.fromkeys(row["around"] for row in shown))
    assert centers[0] == "the prior's mean" and set(centers[1:]) <= set(test_sentences) and len(centers) == 3
    assert len(shown) == 9
    for row, (center, dimension) in zip(shown, [(c, d) for c in centers for d in order], strict=True):
        assert row["around"] == center and row["dimension"] == str(dimension)
        assert float(row["KL (nats)" if stochastic else "variance"]) == pytest.approx(score[dimension], abs=1e-3)
        z = np.zeros(6) if center == centers[0] else latents[test_sentences.index(center)]
        offsets = ("-2.00", "-1.00", "+0.00", "+1.00", "+2.00")
        moved = [z + float(offset) * np.eye(6)[dimension] for offset in offsets]
        assert [row[offset] for offset in offsets] == decode(model, np.stack(moved))


def test_a_second_test_starts_anew(model: Any, corpus: Make, trainer: Make, rows: Make) -> None:
    testing = trainer(Traversals())
    testing.test(model, datamodule=corpus(), verbose=False)
    first = rows()
    testing.test(model, datamodule=corpus(), verbose=False)
    assert rows() == first


def test_nothing_is_done_for_a_language_model(corpus: Make, trainer: Make, tmp_path: Path) -> None:
    data = corpus()
    trainer(Traversals()).test(LanguageModel(vocabulary=data.vocabulary_json), datamodule=data, verbose=False)
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize(
    ("options", "named"), [({"dimensions": 0}, "dimensions"), ({"sentences": -1}, "sentences"), ({"reach": 0}, "reach")]
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Traversals(**options)
