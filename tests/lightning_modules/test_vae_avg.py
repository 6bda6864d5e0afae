from __future__ import annotations

import math

import pytest
import torch
from exact import GRID, assert_gradient_is_the_slope, batch_of, every_sentence, posterior_of, tiny
from models import WITHOUT_VALIDATION, fit, learner, sentences, small
from torch import Tensor
from torch.distributions import Normal

from datamodules.batch import TokenBatch
from datamodules.vocabulary import BOS, EOS
from lightning_modules import AveragingVAE, SentenceVAE
from lightning_modules.decoding.search import greedy
from lightning_modules.randomness import SentenceRandom

ALL = every_sentence()
BATCH = TokenBatch.from_ids(sentences(12))
DRAWS = 3000
COARSE = GRID[::36]
AREA = float(COARSE[1] - COARSE[0]) ** 2


@torch.no_grad()
def of_pairs(model: AveragingVAE, sentence: list[int]) -> Tensor:
    """log p(x|z_1, z_2), (G, G): two decoders, whose states are averaged before the softmax."""
    state, total, previous = None, torch.zeros(len(COARSE), len(COARSE), dtype=torch.float64), BOS
    for word in [*sentence, EOS]:
        words = torch.full((len(COARSE),), previous)
        hidden, state = model.backbone.decoder.step(words, COARSE[:, None], state)
        logits = model.backbone.decoder.logits((hidden[:, None] + hidden[None]) / 2)
        total += logits.log_softmax(2)[:, :, word]
        previous = word
    return total


def density(distribution: Normal) -> Tensor:
    """Of two independent draws on the grid, (G, G)."""
    one = distribution.log_prob(COARSE).exp()
    return one[:, None] * one[None]


def test_of_two_samples_the_bound_counts_the_kl_twice() -> None:
    model = tiny(AveragingVAE, samples=2)
    posteriors = posterior_of(model, ALL)
    batch = batch_of(ALL)
    with torch.no_grad():
        terms = model.objective(batch).terms
        posterior = model.encode(batch)
        many = [
            model.sampled_reconstruction(
                batch, torch.stack([model.sample_latent(batch, posterior, 2 * draw + pair) for pair in range(2)])
            )[0]
            for draw in range(DRAWS)
        ]
    found = torch.stack(many)
    torch.testing.assert_close(terms["reconstruction"], found[0])
    prior = density(Normal(0.0, 1.0))
    for row, sentence in enumerate(ALL):
        log_likelihood = of_pairs(model, sentence)
        q = Normal(posteriors.mean[row], posteriors.stddev[row])
        log_p = float((prior * log_likelihood.exp()).sum() * AREA)
        reconstruction = float((density(q) * -log_likelihood).sum() * AREA)
        error = abs(float(found[:, row].mean()) - reconstruction)
        assert error <= 5 * float(found[:, row].std()) / math.sqrt(DRAWS) + 1e-6
        kl = float(torch.distributions.kl_divergence(q, Normal(0.0, 1.0)))
        assert reconstruction + 2 * kl >= -math.log(log_p)
        assert float(terms["kl"][row]) == pytest.approx(kl)
    torch.testing.assert_close(terms["nll_kl_once"], terms["reconstruction"] + terms["kl"])
    torch.testing.assert_close(terms["negative_elbo"], terms["reconstruction"] + 2 * terms["kl"])


@WITHOUT_VALIDATION
def test_the_kl_counted_once_is_no_bound_and_counted_for_each_sample_it_is() -> None:
    """Of two equally frequent sentences no normalised model has a mean -log p below ln 2."""
    model = learner(AveragingVAE, samples=32)
    two = [[5, 6], [7, 8]]
    fit(model, two, epochs=300)
    copies = TokenBatch.from_ids(two * 500)
    with torch.no_grad():
        terms = model.eval().objective(copies).terms
    assert float(terms["nll_kl_once"].mean()) < 0.8 * math.log(2)
    assert float(terms["negative_elbo"].mean()) > math.log(2)


@pytest.mark.parametrize("training", [True, False])
def test_with_one_sample_it_is_the_sentence_vae(training: bool) -> None:
    averaging, plain = (small(family, samples=1).train(training) for family in (AveragingVAE, SentenceVAE))
    objectives = [model.objective(BATCH) for model in (averaging, plain)]
    torch.testing.assert_close(objectives[0].loss, objectives[1].loss, rtol=0, atol=0)
    for name, value in objectives[1].terms.items():
        torch.testing.assert_close(objectives[0].terms[name], value, rtol=0, atol=0)
    for objective in objectives:
        objective.loss.mean().backward()
    for (name, one), (_, other) in zip(averaging.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0, msg=name)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    model = tiny(AveragingVAE, samples=3).train()
    batch = batch_of(ALL)
    assert_gradient_is_the_slope(lambda: model.objective(batch).loss.mean(), model)


def test_it_writes_as_it_is_trained() -> None:
    model = small(AveragingVAE, samples=3).eval()
    with torch.no_grad():
        z_LBZ = model.sample_latents(BATCH, model.encode(BATCH))
        expected, _ = model.sampled_reconstruction(BATCH, z_LBZ)
        state, nll = None, torch.zeros(len(BATCH))
        for step in range(BATCH.targets.shape[1]):
            logits, state = model.step(BATCH.inputs[:, step], z_LBZ.transpose(0, 1), state)
            word_nll = -logits.log_softmax(1).gather(1, BATCH.targets[:, step : step + 1]).squeeze(1)
            nll += word_nll * BATCH.mask[:, step]
    torch.testing.assert_close(nll, expected)


def test_one_latent_is_the_average_of_equal_ones() -> None:
    model = small(AveragingVAE).eval()
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(greedy(model, z), greedy(model, z[:, None].expand(-1, 5, -1)))


def test_a_new_sentence_has_as_many_latents_as_training() -> None:
    model = small(AveragingVAE, samples=7)
    z = model.prior_latents(SentenceRandom(torch.arange(3000), 0, -1))
    assert z.shape == (3000, 7, 6)
    assert abs(float(z.mean())) < 0.02 and abs(float(z.var()) - 1) < 0.02
    correlation = torch.corrcoef(z.flatten(1).T)
    assert float((correlation - torch.eye(42)).abs().max()) < 0.1
