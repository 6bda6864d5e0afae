"""Sentences from a posterior's mean, from draws of it and from a wider Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import enlarge, small
from torch import Tensor

from datamodules.errors import UsageError
from lightning_modules import Autoencoder, AveragingVAE, SentenceVAE, TextAutoencoder
from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.decoding import reconstruction
from lightning_modules.decoding.decode import DecodingConfig
from lightning_modules.decoding.reconstruction import reconstructions
from lightning_modules.decoding.search import greedy
from lightning_modules.decoding.text import to_text

COUNT = 4000


@pytest.fixture
def latents(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What is decoded."""
    seen: list[Tensor] = []

    def keep(model: TextAutoencoder, z_BZ: Tensor, *rest: object) -> list[str]:
        seen.append(z_BZ)
        return [""] * len(z_BZ)

    monkeypatch.setattr(reconstruction, "decode", keep)
    return seen


@pytest.mark.parametrize("family", [SentenceVAE, AveragingVAE])
def test_latents_have_the_distributions_of_their_names(family: type[SentenceVAE], latents: list[Tensor]) -> None:
    several = {"samples": 3} if family is AveragingVAE else {}
    model = small(family, **several)
    mean, std = torch.tensor([1.0, -2, 0, 0, 3, 0.5]), torch.tensor([0.1, 1, 2, 0.5, 0.01, 1])
    posterior = Gaussian(mean.expand(COUNT, -1), (2 * std.log()).expand(COUNT, -1))
    ways = reconstructions(model, posterior, torch.arange(COUNT), samples=2, perturbation=10.0)
    assert list(ways) == ["mean", "sample 1", "sample 2", "perturbed"]
    assert torch.equal(latents[0], posterior.mean)
    for z, factor in zip(latents[1:], (1, 1, 10), strict=True):
        noise = (z - mean) / (factor * std)
        assert noise.shape == ((COUNT, 3, 6) if several else (COUNT, 6))
        flat = noise.reshape(COUNT, -1).double().numpy()
        assert np.abs(flat.mean(0)).max() < 4.5 / np.sqrt(COUNT)
        assert np.abs(flat.std(0) - 1).max() < 4.5 / np.sqrt(2 * COUNT)
        if several:  # independent latents
            assert np.abs(np.corrcoef(flat.T) - np.eye(18)).max() < 4.5 / np.sqrt(COUNT)
    noises = [((z - mean) / std).flatten().numpy() for z in latents[1:]]
    assert np.abs(np.corrcoef(noises) - np.eye(3)).max() < 0.05  # no two ways have one noise


def test_a_single_sample_has_no_number_and_nothing_is_drawn_unasked(latents: list[Tensor]) -> None:
    model = small(SentenceVAE)
    posterior = Gaussian(torch.zeros(2, 6), torch.zeros(2, 6))
    assert list(reconstructions(model, posterior, torch.arange(2), samples=1)) == ["mean", "sample"]
    assert list(reconstructions(model, posterior, torch.arange(2))) == ["mean"]


def test_draws_are_a_function_of_the_seed_and_the_sentence(latents: list[Tensor]) -> None:
    model = small(SentenceVAE)
    posterior = Gaussian(torch.zeros(5, 6), torch.zeros(5, 6))
    alone = Gaussian(torch.zeros(1, 6), torch.zeros(1, 6))
    for seed, index, some in (
        (3, torch.arange(5), posterior),
        (3, torch.tensor([4]), alone),
        (4, torch.arange(5), posterior),
    ):
        reconstructions(model, some, index, samples=1, seed=seed)
    assert torch.equal(latents[1][4:], latents[3])
    assert not torch.equal(latents[1], latents[5])


def test_sentences_are_decoded_as_asked() -> None:
    model = small(SentenceVAE).eval()
    enlarge(model, 4.0)
    z = 2 * torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    certain = Gaussian(z, torch.full((9, 6), -60.0))  # draws are the mean
    ways = reconstructions(model, certain, torch.arange(9), 2, 10.0, DecodingConfig(max_words=3))
    truth = to_text(model, greedy(model, z, 3))
    assert ways == {name: truth for name in ("mean", "sample 1", "sample 2", "perturbed")}
    hot = reconstructions(model, certain, torch.arange(9), 2, None, DecodingConfig(temperature=2.0))
    assert len({tuple(sentences) for sentences in hot.values()}) > 1  # each sample has words of its own


def test_a_deterministic_model_has_nothing_to_draw() -> None:
    posterior = Gaussian(torch.zeros(1, 6), torch.zeros(1, 6))
    for drawn in ({"samples": 1}, {"perturbation": 10.0}):
        with pytest.raises(UsageError, match="no posterior density"):
            reconstructions(small(Autoencoder), posterior, torch.arange(1), **drawn)  # type: ignore[arg-type]
