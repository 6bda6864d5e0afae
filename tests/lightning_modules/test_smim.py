from __future__ import annotations

import math

import pytest
import torch
from exact import (
    GRID,
    PRIOR,
    assert_gradient_is_the_slope,
    batch_of,
    every_sentence,
    expectation,
    likelihoods,
    posterior_of,
    tiny,
)
from models import sentences, small

from datamodules.batch import TokenBatch
from lightning_modules import SentenceMIM, SentenceVAE
from lightning_modules.randomness import SentenceRandom

ALL = every_sentence()
BATCH = TokenBatch.from_ids(sentences(12))
DRAWS = 4000


def test_the_loss_is_that_of_the_integral() -> None:
    model = tiny(SentenceMIM)
    q = posterior_of(model, ALL)
    log_q = q.log_prob(GRID[:, None]).T
    values = -likelihoods(model, ALL) - 0.5 * (log_q + PRIOR.log_prob(GRID))
    exact = expectation(q, values)
    spread = (expectation(q, values.square()) - exact.square()).clamp(min=0).sqrt()
    # Each of the draws is the noise of another sentence number.
    copies = [TokenBatch.from_ids([sentence] * DRAWS) for sentence in ALL]
    with torch.no_grad():
        found = torch.stack([model.objective(copy).terms["mim_loss"].mean() for copy in copies])
    assert bool(((found - exact).abs() <= 5 * spread / math.sqrt(DRAWS)).all())


def test_reconstruction_kl_and_bound_are_those_of_the_sentence_vae() -> None:
    ours, vae = (small(family).objective(BATCH).terms for family in (SentenceMIM, SentenceVAE))
    for name in ("reconstruction", "kl", "negative_elbo"):
        torch.testing.assert_close(ours[name], vae[name], rtol=0, atol=0)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    model = tiny(SentenceMIM).train()
    batch = batch_of(ALL)
    assert_gradient_is_the_slope(lambda: model.objective(batch).loss.mean(), model)


def test_what_is_minimised_is_what_is_monitored() -> None:
    objective = small(SentenceMIM).objective(BATCH)
    torch.testing.assert_close(objective.loss, objective.terms["mim_loss"], rtol=0, atol=0)


def test_new_sentences_come_from_the_scaled_prior() -> None:
    random = SentenceRandom(torch.arange(4000), 0, -1)
    z = small(SentenceMIM).prior_latents(random)
    torch.testing.assert_close(z, 0.1 * small(SentenceMIM, prior_scale=1.0).prior_latents(random))
    assert float(z.std()) == pytest.approx(0.1, rel=0.02)


def test_a_narrower_posterior_lowers_the_loss_by_half_its_entropy() -> None:
    """With log q's weight of -1/2, where the VAE's is +1."""
    model = tiny(SentenceMIM)
    batch = batch_of(ALL)
    change = -1.5
    scale = model.backbone.posterior.scale
    losses = []
    with torch.no_grad():
        scale.weight.zero_()
        for bias in (-20.0, -20.0 + change):  # so narrow that nothing else changes
            scale.bias.fill_(bias)
            losses.append(model.objective(batch).terms["mim_loss"])
    torch.testing.assert_close(losses[1] - losses[0], torch.full_like(losses[0], change / 4), rtol=0, atol=1e-3)
