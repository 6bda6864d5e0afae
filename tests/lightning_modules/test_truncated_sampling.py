"""Sampling from the most probable words only: top-k, nucleus, forbidden words."""

from __future__ import annotations

import pytest
import torch
from models import before_end, enlarge, small
from torch import Tensor

from datamodules.errors import UsageError
from datamodules.vocabulary import BLANK, BOS, EOS, PAD, UNK
from lightning_modules import Autoencoder
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.decoding.search import greedy, sample
from lightning_modules.randomness import SentenceRandom

COUNT = 20_000


@pytest.fixture
def model() -> Autoencoder:
    made = small(Autoencoder, decoder=DecoderConfig(hidden_size=13, max_words=6))
    enlarge(made, 3.0)
    return made.eval()


def z(count: int = COUNT) -> Tensor:
    return torch.full((count, 6), 0.5)


def random(count: int = COUNT) -> SentenceRandom:
    return SentenceRandom(torch.arange(count), 0, -1)


def first_word_probabilities(made: Autoencoder, temperature: float = 1.0) -> list[float]:
    with torch.no_grad():
        logits, _ = made.step(torch.tensor([BOS]), z(1), None)
    logits[0, [PAD, BOS, BLANK]] = float("-inf")
    values: list[float] = (logits[0] / temperature).double().softmax(0).tolist()
    return values


def frequencies(ids: Tensor, size: int) -> Tensor:
    return torch.bincount(ids[:, 0], minlength=size).double() / len(ids)


def agree(drawn: Tensor, kept: set[int], probabilities: list[float]) -> None:
    """Only the kept words are drawn, in the proportions they had."""
    truth = torch.tensor([p if word in kept else 0.0 for word, p in enumerate(probabilities)], dtype=torch.float64)
    truth /= truth.sum()
    error = (truth * (1 - truth) / COUNT).sqrt()
    assert set(drawn.nonzero().flatten().tolist()) <= kept
    assert bool(((drawn - truth).abs() <= 5 * error + 1e-12).all())


@pytest.mark.parametrize("k", [1, 3, 7, 100])
def test_top_k_draws_from_the_k_most_probable_words(model: Autoencoder, k: int) -> None:
    truth = first_word_probabilities(model)
    kept = set(sorted(range(len(truth)), key=truth.__getitem__, reverse=True)[:k])
    agree(frequencies(sample(model, z(), random(), top_k=k), len(truth)), kept, truth)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("p", [0.01, 0.4, 0.9])
def test_the_nucleus_is_the_fewest_words_that_have_the_probability(
    model: Autoencoder, p: float, temperature: float
) -> None:
    truth = first_word_probabilities(model, temperature)
    kept: set[int] = set()
    for word in sorted(range(len(truth)), key=truth.__getitem__, reverse=True):
        if sum(truth[other] for other in kept) >= p:
            break
        kept.add(word)
    agree(frequencies(sample(model, z(), random(), temperature, top_p=p), len(truth)), kept, truth)


def test_one_word_to_choose_from_is_greedy(model: Autoencoder) -> None:
    latents = 2 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    best = [before_end(row, EOS) for row in greedy(model, latents)]
    assert len({tuple(words) for words in best}) > 10
    for options in ({"top_k": 1}, {"top_p": 1e-6}):
        drawn = sample(model, latents, random(40), **options)  # type: ignore[arg-type]
        assert [before_end(row, EOS) for row in drawn] == best


def test_forbidden_words_are_not_written_however_probable(model: Autoencoder) -> None:
    with torch.no_grad():
        model.backbone.decoder.output.bias[[UNK, 9]] = 1e4
    for ids in (greedy(model, z(50), forbidden=[UNK, 9]), sample(model, z(50), random(50), forbidden=[UNK, 9])):
        words = {word for row in ids for word in before_end(row, EOS)}
        assert words and not words & {UNK, 9}


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_p": -0.5}])
def test_settings_out_of_range_are_refused(model: Autoencoder, options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        sample(model, z(2), random(2), **options)  # type: ignore[arg-type]
