"""Paths, against closed forms and sentences that are decoded one at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from models import enlarge, small
from torch import Tensor

from datamodules.errors import UsageError
from lightning_modules import Autoencoder, AveragingVAE
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.decoding.decode import DecodingConfig
from lightning_modules.decoding.interpolation import PathShape, interpolate, latent_paths
from lightning_modules.decoding.search import greedy, sample
from lightning_modules.decoding.smoothness import Smoothness, mean_smoothness, smoothness, word_distance
from lightning_modules.decoding.text import to_text
from lightning_modules.randomness import SentenceRandom


def latents(count: int, seed: int = 3) -> Tensor:
    return 2 * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def writer() -> Autoencoder:
    made = small(Autoencoder, decoder=DecoderConfig(hidden_size=13, max_words=9)).eval()
    enlarge(made, 6.0)
    return made


def test_a_linear_path_goes_in_equal_steps() -> None:
    first, last = latents(4), latents(4, seed=4)
    for place, z in zip((0, 0.25, 0.5, 0.75, 1), latent_paths(first, last, 5), strict=True):
        torch.testing.assert_close(z, (1 - place) * first + place * last)


def test_a_spherical_path_turns_by_equal_angles_in_the_plane_of_its_ends() -> None:
    """In two dimensions a point is a radius and an angle: on a circle the path is the arc."""
    angles = torch.tensor([[0.3, 1.1], [2.0, -0.9], [-3.0, 3.0]]).double()  # the last: the short way, over pi
    circle = [torch.stack((7 * ends.cos(), 7 * ends.sin()), dim=1) for ends in angles.T]
    turn = (angles[:, 1] - angles[:, 0] + math.pi) % (2 * math.pi) - math.pi
    for place, z in zip(np.linspace(0, 1, 6), latent_paths(*circle, 6, "spherical"), strict=True):
        at = angles[:, 0] + place * turn
        torch.testing.assert_close(z.double(), 7 * torch.stack((at.cos(), at.sin()), dim=1), atol=1e-5, rtol=1e-5)


def test_a_spherical_path_between_ends_of_any_norm_by_definition() -> None:
    first, last = latents(5).double(), 0.2 * latents(5, seed=4).double()
    angle = torch.acos((first * last).sum(1) / first.norm(dim=1) / last.norm(dim=1))[:, None]
    for place, z in zip(np.linspace(0, 1, 4), latent_paths(first, last, 4, "spherical"), strict=True):
        expected = (((1 - place) * angle).sin() * first + (place * angle).sin() * last) / angle.sin()
        torch.testing.assert_close(z.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.0, 3.0])
def test_a_spherical_path_is_straight_where_there_is_no_arc(factor: float) -> None:
    first = latents(4)
    straight = latent_paths(first, factor * first, 5)
    torch.testing.assert_close(latent_paths(first, factor * first, 5, "spherical"), straight)
    torch.testing.assert_close(latent_paths(factor * first, first, 5, "spherical"), straight.flip(0))


def test_a_spherical_path_between_ends_that_are_all_but_alike() -> None:
    first = latents(4)
    last = first + 1e-5 * latents(4, seed=4)
    torch.testing.assert_close(latent_paths(first, last, 3, "spherical")[1], (first + last) / 2)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_sentences_on_paths_are_those_of_their_latents_alone(path: PathShape) -> None:
    made, first, last = writer(), latents(6), latents(6, seed=4)
    paths = interpolate(made, first, last, 5, path)
    assert len(paths) == 6 and all(len(line) == 5 for line in paths)
    z_SBZ = latent_paths(first, last, 5, path)
    for pair, line in enumerate(paths):
        assert line == [to_text(made, greedy(made, z[pair][None]))[0] for z in z_SBZ]
    assert len({sentence for line in paths for sentence in line}) > 12


def test_drawn_words_have_one_noise_along_a_path() -> None:
    made, first = writer(), latents(3)
    hot = DecodingConfig(temperature=1.5)
    for line in interpolate(made, first, first, 4, decoding=hot, seed=7):
        assert len(set(line)) == 1
    written = [line[0] for line in interpolate(made, first, latents(3, seed=4), 4, decoding=hot, seed=7)]
    assert written == to_text(made, sample(made, first, SentenceRandom(torch.arange(3), 7, -1), 1.5))


def test_each_of_several_latents_goes_its_own_path() -> None:
    made = small(AveragingVAE, samples=3).eval()
    ends = [made.prior_latents(SentenceRandom(torch.arange(2), seed, -1)) for seed in (0, 1)]
    assert ends[0].shape == (2, 3, 6)
    for path in ("linear", "spherical"):
        z = latent_paths(*ends, 3, path)  # type: ignore[arg-type]  # a parameter of the test
        torch.testing.assert_close(z[:, :, 1], latent_paths(ends[0][:, 1], ends[1][:, 1], 3, path))  # type: ignore[arg-type]
        assert [len(line) for line in interpolate(made, *ends, 3, path)] == [3, 3]  # type: ignore[arg-type]


def test_a_path_without_two_ends_is_refused() -> None:
    with pytest.raises(UsageError, match="steps is 1"):
        interpolate(writer(), latents(2), latents(2), 1)


def test_distances_by_hand() -> None:
    assert word_distance("a b c d", "a b c d") == 0
    assert word_distance("a b c d", "a x c") == pytest.approx(2 / 4)  # one replaced, one deleted
    assert word_distance("soup", "soups") == 1  # words, not letters
    assert word_distance("", "a b") == 1 and word_distance("", "") == 0


def test_smoothness_by_hand() -> None:
    leap = ["a b", "a b", "a b", "c d", "c d"]
    assert smoothness(leap) == Smoothness(distance=0.25, jump=1.0, repeated=0.75)
    gradual = ["a b", "a d", "c d"]
    assert smoothness(gradual) == Smoothness(distance=0.5, jump=0.5, repeated=0.0)
    assert mean_smoothness([leap, gradual]) == Smoothness(distance=0.375, jump=0.75, repeated=0.375)
