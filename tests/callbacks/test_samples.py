"""Prior samples and interpolations, judged by the grammar from sentences that are made one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from callbacks import Interpolations, PriorSamples
from callbacks.quantities import QUANTITIES
from datamodules.errors import UsageError
from lightning_modules.decoding.interpolation import PathShape, latent_paths
from lightning_modules.decoding.prior import stretched
from lightning_modules.decoding.search import sample
from lightning_modules.decoding.text import to_text
from lightning_modules.randomness import SentenceRandom

Make = Callable[..., Any]


def blocks(file: Path) -> list[dict[str, str]]:
    """What a table of the run folder says: a mapping a row."""
    rows = []
    for block in file.read_text().rstrip("\n").split("\n\n"):
        lines = [line.partition("  ") for line in block.splitlines()]
        rows.append({name.strip(): value.strip() for name, _, value in lines})
    return rows


def test_the_grammar_judges_prior_samples(
    model: Any, corpus: Make, trainer: Make, decode: Make, tmp_path: Path
) -> None:
    count, shown = 150, 12
    [figures] = trainer(PriorSamples(shown=shown, count=count)).test(model, datamodule=corpus(), verbose=False)
    greedy_samples, drawn_samples = [], []
    for row in range(count):
        random = SentenceRandom(torch.tensor([row]), model.seed, -1)
        z = random.normal("prior samples", model.posterior_config.latent_size)
        greedy_samples += decode(model, z.numpy())
        drawn_samples += to_text(model, sample(model, z, random))
    grammar = corpus().grammar
    for name, sentences in (("prior_grammatical", greedy_samples), ("prior_grammatical_sampled", drawn_samples)):
        share = sum(grammar.log_probability(sentence) > -math.inf for sentence in sentences) / count
        assert figures[f"test/{name}"] == pytest.approx(share, abs=1e-6)
    assert figures["test/prior_grammatical"] > 0  # else nothing is tested
    rows = blocks(tmp_path / "samples" / "prior.txt")
    assert [row["greedy"] for row in rows] == greedy_samples[:shown]
    assert [row["sampled"] for row in rows] == drawn_samples[:shown]
    z = SentenceRandom(torch.arange(shown), model.seed, -1).normal("prior samples", 6)
    assert [row["stretched"] for row in rows] == decode(model, stretched(z, 4.0, model.seed).numpy())
    assert [row["stretched"] for row in rows] != greedy_samples[:shown]


def test_a_corpus_without_a_grammar_only_shows_samples(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path
) -> None:
    data = folder(["a b", "b"])
    callbacks = [PriorSamples(shown=3), Interpolations(measured=0)]
    model = fresh(data.vocabulary_json)
    [figures] = trainer(*callbacks).test(model, datamodule=data, verbose=False)
    assert {name.split("/")[1] for name in figures} == {"reconstruction"}
    assert len(blocks(tmp_path / "samples" / "prior.txt")) == 3


def test_no_samples_may_be_shown(fresh: Make, folder: Make, trainer: Make, tmp_path: Path) -> None:
    data = folder(["a b", "b"])
    trainer(PriorSamples(shown=0), max_epochs=1).fit(fresh(data.vocabulary_json), datamodule=data)
    assert (tmp_path / "samples" / "prior.txt").read_text().strip() == ""


def test_nothing_is_shown_in_a_sanity_check(fresh: Make, corpus: Make, trainer: Make, tmp_path: Path) -> None:
    data = corpus()
    trainer(
        PriorSamples(),
        Interpolations(),
        num_sanity_val_steps=1,
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=0,
    ).fit(fresh(data.vocabulary_json), datamodule=data)
    assert not (tmp_path / "samples").exists()
    trainer(PriorSamples(), Interpolations()).validate(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    assert {file.name for file in (tmp_path / "samples").iterdir()} == {"prior.txt", "interpolations.txt"}


def test_interpolations_are_lines_between_means(
    model: Any, corpus: Make, trainer: Make, means: Make, decode: Make, test_sentences: list[str], tmp_path: Path
) -> None:
    trainer(Interpolations(pairs=4, steps=3)).test(model, datamodule=corpus(), verbose=False)
    rows = blocks(tmp_path / "samples" / "interpolations.txt")
    assert len(rows) == 4
    for row in rows:
        assert list(row) == ["from", "0.00", "0.50", "1.00", "to"]
        assert row["from"] in test_sentences and row["to"] in test_sentences
        ends = means(model, [row["from"], row["to"]])
        assert [row["0.00"], row["0.50"], row["1.00"]] == decode(model, np.stack((ends[0], ends.mean(0), ends[1])))
    assert len({sentence for row in rows for sentence in (row["from"], row["to"])}) == 8


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_smoothness_of_a_test(
    model: Any, corpus: Make, trainer: Make, means: Make, decode: Make, test_sentences: list[str], path: PathShape
) -> None:
    """All 90 sentences make 45 pairs: each with the one half a split further on."""
    ends = np.split(means(model, test_sentences), 2)
    z = latent_paths(*(torch.from_numpy(end) for end in ends), 4, path).double().numpy()
    lines = list(zip(*(decode(model, points) for points in z), strict=True))
    steps = [[edit(one.split(), other.split()) for one, other in pairwise(line)] for line in lines]
    callback = Interpolations(steps=4, path=path, measured=1000)
    [figures] = trainer(callback).test(model, datamodule=corpus(), verbose=False)
    assert figures["test/interpolation_distance"] == pytest.approx(np.mean(steps), abs=1e-6)
    assert figures["test/interpolation_jump"] == pytest.approx(np.max(steps, axis=1).mean(), abs=1e-6)
    assert figures["test/interpolation_repeated"] == pytest.approx(np.mean(np.equal(steps, 0)), abs=1e-6)
    assert 0 < np.mean(steps) < np.max(steps, axis=1).mean() < 1  # else nothing is tested
    assert figures["test/interpolation_jump/sentences"] == 2 * len(steps)
    names = {name.removeprefix("test/") for name in figures if "interpolation" in name}
    assert {name.removesuffix("/sentences") for name in names} <= QUANTITIES.keys()


def edit(one: list[str], other: list[str]) -> float:
    """The normalised edit distance, by its recursion."""

    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        same = distance(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(same, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(one), len(other)) / max(len(one), len(other))


def test_the_shape_of_paths_is_one_of_two() -> None:
    with pytest.raises(UsageError, match="path is curved"):
        Interpolations(path="curved")  # type: ignore[arg-type]  # as from a YAML


def test_one_sentence_has_no_partner(fresh: Make, folder: Make, trainer: Make, tmp_path: Path) -> None:
    data = folder(["a b c"])
    trainer(Interpolations()).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    assert not (tmp_path / "samples" / "interpolations.txt").exists()
