"""`textae traverse`, from a run folder that has lost its data and its configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules import Autoencoder, SentenceVAE
from lightning_modules.checkpoint import load_model
from lightning_modules.decoding.search import greedy
from lightning_modules.decoding.text import text_batch, to_text

Command = Callable[..., Any]


@pytest.fixture
def traverse(textae: Command, moved: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What the command writes as JSON, once all of it is known to be printed."""

    def run(*args: str) -> dict[str, Any]:
        file = tmp_path / "traversal.json"
        printed = textae("traverse", "--run", moved, "--output", file, *args).out
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        cells = [tuple(map(str.strip, line.split("│")[1:3])) for line in printed.splitlines() if line.startswith("│")]
        points = [point for part in found["dimensions"] for point in part["sentences"]]
        assert cells == [(f"{point['offset']:+.2f}", point["sentence"]) for point in points]
        assert f"around {found['center']}; dimensions ranked by {found['ranked_by']}" in printed
        return found

    return run


@pytest.fixture
def model(moved: Path) -> Autoencoder:
    loaded = load_model(moved / "checkpoints" / "best.ckpt")
    assert isinstance(loaded, Autoencoder)
    return loaded


@pytest.fixture
def as_vae(moved: Path) -> None:
    """The checkpoint as one of a family with a posterior density; its heads have both been made."""
    file = moved / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["family"] = "SentenceVAE"
    del checkpoint["hyper_parameters"]["latent"]
    torch.save(checkpoint, file)


def kl_of(file: Path, sentences: list[str]) -> list[float]:
    """Mean KL of each dimension, from the definition of one sentence's."""
    model = load_model(file)
    assert isinstance(model, SentenceVAE)
    with torch.no_grad():
        found = [model.encode(text_batch(model.vocabulary, [sentence])) for sentence in sentences]
    standard = torch.distributions.Normal(0.0, 1.0)
    kl = [torch.distributions.kl_divergence(torch.distributions.Normal(q.mean, q.std), standard)[0] for q in found]
    return torch.stack(kl).mean(0).tolist()


def test_around_the_priors_mean_in_the_order_of_numbers(
    traverse: Callable[..., dict[str, Any]], model: Autoencoder
) -> None:
    found = traverse("--dimensions=3", "--reach=2", "--steps=3")
    assert found["center"] == "the prior's mean" and "number" in found["ranked_by"]
    assert [part["dimension"] for part in found["dimensions"]] == [0, 1, 2]
    for part in found["dimensions"]:
        z = torch.zeros(3, 8)
        z[:, part["dimension"]] = torch.tensor([-2.0, 0.0, 2.0])
        assert [point["sentence"] for point in part["sentences"]] == to_text(model, greedy(model, z))
        assert [point["offset"] for point in part["sentences"]] == [-2, 0, 2]


def test_around_a_sentence_the_middle_is_its_reconstruction(
    traverse: Callable[..., dict[str, Any]], sentences: tuple[str, ...]
) -> None:
    found = traverse(sentences[4], "--dimensions=100", "--reach=30")
    assert len(found["dimensions"]) == 8
    for part in found["dimensions"]:
        assert part["sentences"][3] == {"offset": 0, "sentence": sentences[4]}
    assert len({point["sentence"] for part in found["dimensions"] for point in part["sentences"]}) > 1


@pytest.mark.usefixtures("as_vae")
def test_dimensions_are_ranked_by_the_kl_of_a_sentence_or_of_a_file(
    traverse: Callable[..., dict[str, Any]], moved: Path, sentences: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "some.txt").write_text("\n".join(sentences[:5]) + "\n")
    file = moved / "checkpoints" / "best.ckpt"
    for args, over, told in (
        ((sentences[7],), [sentences[7]], "this sentence"),
        ((sentences[7], "--sentences=some.txt"), list(sentences[:5]), "the 5 sentences of some.txt"),
        (("--sentences=some.txt",), list(sentences[:5]), "the 5 sentences of some.txt"),
    ):
        found = traverse(*args, "--dimensions=4")
        kl = kl_of(file, over)
        assert [part["dimension"] for part in found["dimensions"]] == np.argsort(kl)[::-1][:4].tolist()
        assert [part["score"] for part in found["dimensions"]] == pytest.approx(sorted(kl)[::-1][:4], rel=1e-4)
        assert "KL" in found["ranked_by"] and told in found["ranked_by"]
    assert np.argsort(kl_of(file, [sentences[7]])).tolist() != np.argsort(kl_of(file, list(sentences[:5]))).tolist()


def test_a_deterministic_model_has_variances_instead(
    traverse: Callable[..., dict[str, Any]], model: Autoencoder, sentences: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "all.txt").write_text("\n".join(sentences) + "\n")
    with torch.no_grad():
        latents = torch.cat([model.encode(text_batch(model.vocabulary, [sentence])).mean for sentence in sentences])
    variance = latents.double().numpy().var(axis=0, ddof=1)
    found = traverse("--sentences=all.txt", "--dimensions=3")
    assert [part["dimension"] for part in found["dimensions"]] == np.argsort(-variance)[:3].tolist()
    assert [part["score"] for part in found["dimensions"]] == pytest.approx(np.sort(variance)[::-1][:3], rel=1e-4)
    assert "variance" in found["ranked_by"]
    assert "no KL" in traverse(sentences[0])["ranked_by"]


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("zebra",), ("sentence 1", "no word that the model knows")),
        (("",), ("sentence 1 is empty",)),
        (("--sentences=no.txt",), ("no.txt",)),
        (("--dimensions=0",), ("--dimensions is 0",)),
        (("--steps=1",), ("steps is 1",)),
        (("--reach=-1",), ("reach is -1",)),
        (("--beam=2", "--top-k=2"), ("beam",)),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(textae: Command, moved: Path, args: tuple[str, ...], named: tuple[str, ...]) -> None:
    error = textae("traverse", f"--run={moved}", *args, fails=True).error
    for name in named:
        assert name in error
