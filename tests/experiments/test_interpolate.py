"""`textae interpolate`, from a run folder that has lost its data and its configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.checkpoint import load_model
from lightning_modules.decoding.beam import beam_search
from lightning_modules.decoding.interpolation import PathShape, latent_paths
from lightning_modules.decoding.search import greedy
from lightning_modules.decoding.text import to_text
from lightning_modules.randomness import SentenceRandom

Command = Callable[..., Any]
Paths = list[dict[str, Any]]


@pytest.fixture
def paths(textae: Command, moved: Path, tmp_path: Path) -> Callable[..., Paths]:
    """What the command writes as JSON, once all of it is known to be printed."""

    def run(*args: str) -> Paths:
        file = tmp_path / "paths.json"
        printed = textae("interpolate", "--run", moved, "--output", file, *args).out
        written: Paths = json.loads(file.read_text(encoding="utf-8"))
        cells = [tuple(map(str.strip, line.split("│")[1:3])) for line in printed.splitlines() if line.startswith("│")]
        assert cells == [(f"{point['t']:.2f}", point["sentence"]) for path in written for point in path["sentences"]]
        for path in written:
            assert f"from: {path['from']}" in printed and f"to:   {path['to']}" in printed
            assert f"{path['distance']:.2f} in the mean, {path['jump']:.2f} at most" in printed
        assert (f"mean over {len(written)} paths" in printed) == (len(written) > 1)
        return written

    return run


def sentences_of(path: dict[str, Any]) -> list[str]:
    return [point["sentence"] for point in path["sentences"]]


@pytest.mark.parametrize("shape", ["linear", "spherical"])
def test_a_path_ends_in_the_reconstructions(
    paths: Callable[..., Paths], sentences: tuple[str, ...], shape: str
) -> None:
    [path] = paths("--steps=7", f"--path={shape}", sentences[0], sentences[5])
    assert (path["from"], path["to"], path["path"]) == (sentences[0], sentences[5], shape)
    assert [point["t"] for point in path["sentences"]] == pytest.approx([step / 6 for step in range(7)])
    assert sentences_of(path)[0] == sentences[0] and sentences_of(path)[-1] == sentences[5]


def test_smoothness_of_a_path_that_stays(paths: Callable[..., Paths], sentences: tuple[str, ...]) -> None:
    [path] = paths(sentences[2], sentences[2])
    assert sentences_of(path) == [sentences[2]] * 5
    assert (path["distance"], path["jump"], path["repeated"]) == (0, 0, 1)


def test_smoothness_of_a_path_of_one_step_by_hand(paths: Callable[..., Paths]) -> None:
    [path] = paths("--steps=2", "the soup was cold .", "service is great .")
    assert sentences_of(path) == ["the soup was cold .", "service is great ."]
    assert path["distance"] == path["jump"] == pytest.approx(4 / 5)  # all words but the last
    assert path["repeated"] == 0


def test_two_files_line_by_line(paths: Callable[..., Paths], sentences: tuple[str, ...], tmp_path: Path) -> None:
    pairs = list(zip(sentences[:3], sentences[5:8], strict=True))
    for name, side in zip(("a.txt", "b.txt"), zip(*pairs, strict=True), strict=True):
        (tmp_path / name).write_text("\n".join(side) + "\n")
    found = paths("--from=a.txt", "--to=b.txt")
    assert [(path["from"], path["to"]) for path in found] == pairs
    for path, (first, last) in zip(found, pairs, strict=True):
        assert path == paths(first, last)[0]


@pytest.mark.parametrize("shape", ["linear", "spherical"])
def test_between_random_points_of_the_prior(paths: Callable[..., Paths], moved: Path, shape: PathShape) -> None:
    model = load_model(moved / "checkpoints" / "best.ckpt")
    found = paths("--random=6", "--seed=3", "--steps=4", f"--path={shape}")
    z = SentenceRandom(torch.arange(12), 3, -1).normal("prior samples", 8)
    truth = [to_text(model, greedy(model, points)) for points in latent_paths(z[0::2], z[1::2], 4, shape)]
    assert [sentences_of(path) for path in found] == [list(line) for line in zip(*truth, strict=True)]
    assert found[:2] == paths("--random=2", "--seed=3", "--steps=4", f"--path={shape}")
    assert found != paths("--random=6", "--seed=4", "--steps=4", f"--path={shape}")


def test_decoding_options_hold_along_the_path(paths: Callable[..., Paths], moved: Path) -> None:
    model = load_model(moved / "checkpoints" / "best.ckpt")
    [path] = paths("--random=1", "--beam=4", "--max-words=2", "--steps=3")
    z = SentenceRandom(torch.arange(2), 0, -1).normal("prior samples", 8)
    points = latent_paths(z[:1], z[1:], 3)[:, 0]
    assert sentences_of(path) == to_text(model, beam_search(model, points, 4, max_words=2).words[:, 0])


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ((), ("two sentences", "--from", "--random")),
        (("never again",), ("no last",)),
        (("never again", "never again", "--random=2"), ("one way",)),
        (("--random=0",), ("--random is 0",)),
        (("--random=2", "--steps=1"), ("steps is 1",)),
        (("--from=two.txt",), ("--from", "--to")),
        (("--from=two.txt", "--to=missing.txt"), ("missing.txt",)),
        (("--from=two.txt", "--to=one.txt"), ("two.txt has 2 lines", "one.txt has 1")),
        (("--from=two.txt", "--to=empty.txt"), ("empty.txt is empty",)),
        (("--from=two.txt", "--to=gap.txt"), ("gap.txt, line 2, is empty",)),
        (("--from=two.txt", "--to=unknown.txt"), ("unknown.txt line 1 has no word", "zebra xylophone")),
        (("--from=two.txt", "--to=latin.txt"), ("latin.txt", "UTF-8")),
        (("zebra xylophone", "never again"), ("first sentence", "no word that the model knows")),
        (("never again", ""), ("last sentence", "is empty")),
        (("never again", "never again", "--path=curved"), ("--path", "curved")),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(
    textae: Command, moved: Path, tmp_path: Path, args: tuple[str, ...], named: tuple[str, ...]
) -> None:
    files = {"two": "never again\nnever again\n", "one": "never again\n", "empty": "", "gap": "never again\n\n"}
    for name, text in (files | {"unknown": "zebra xylophone\nnever again\n"}).items():
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "latin.txt").write_bytes("caf\u00e9\n".encode("latin-1"))
    error = textae("interpolate", f"--run={moved}", *args, fails=True).error
    for name in named:
        assert name in error
