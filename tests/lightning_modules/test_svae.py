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
    evidence,
    expectation,
    likelihoods,
    posterior_of,
    tiny,
)
from models import sentences, small
from torch.distributions import Normal, kl_divergence

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from lightning_modules import Autoencoder, SentenceVAE
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig

ALL = every_sentence()
BATCH = TokenBatch.from_ids(sentences(12))
DRAWS = 4000


def test_the_bound_its_parts_and_its_gap_are_those_of_the_integrals() -> None:
    model = tiny(SentenceVAE, eval_samples=DRAWS)
    log_likelihood = likelihoods(model, ALL)
    q = posterior_of(model, ALL)
    reconstruction = -expectation(q, log_likelihood)
    kl = expectation(q, q.log_prob(GRID[:, None]).T - PRIOR.log_prob(GRID))
    with torch.no_grad():
        terms = model.objective(batch_of(ALL)).terms
    torch.testing.assert_close(terms["kl"], kl, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(terms["kl"], kl_divergence(q, Normal(0.0, 1.0)).double())
    spread = (expectation(q, log_likelihood.square()) - reconstruction.square()).clamp(min=0).sqrt()
    error = (terms["reconstruction"] - reconstruction).abs()
    assert bool((error <= 5 * spread / math.sqrt(DRAWS) + 1e-9).all())
    assert float(spread.max()) > 0.05  # the latent matters
    torch.testing.assert_close(terms["negative_elbo"], terms["reconstruction"] + terms["kl"])

    # -ELBO + log p(x) is the divergence of q from the true posterior.
    log_p = evidence(log_likelihood)
    true = log_likelihood + PRIOR.log_prob(GRID) - log_p[:, None]
    gap = expectation(q, q.log_prob(GRID[:, None]).T - true)
    torch.testing.assert_close(reconstruction + kl + log_p, gap, rtol=1e-6, atol=1e-8)
    assert bool((gap > 0).all())
    assert float(log_p.exp().sum()) < 1  # of all the sentences there are


@pytest.mark.parametrize(
    "options", [{}, {"samples": 3}, {"kl_weight": 0.3}, {"free_bits": 0.05}], ids=["L1", "L3", "beta", "free bits"]
)
def test_the_gradient_is_the_slope_of_the_loss(options: dict[str, float]) -> None:
    model = tiny(SentenceVAE, **options).train()
    batch = batch_of(ALL)
    assert_gradient_is_the_slope(lambda: model.objective(batch).loss.mean(), model)


def test_the_reconstruction_is_the_average_over_a_loop_of_samples() -> None:
    model = small(SentenceVAE, samples=4)
    posterior = model.encode(BATCH)
    loop = [model.reconstruction(BATCH, model.sample_latent(BATCH, posterior, sample)) for sample in range(4)]
    torch.testing.assert_close(model.objective(BATCH).terms["reconstruction"], torch.stack(loop).mean(0))
    assert float((loop[0] - loop[1]).detach().abs().max()) > 1e-4


def test_training_and_evaluation_may_draw_another_number_of_samples() -> None:
    model = small(SentenceVAE, samples=2, eval_samples=5)
    posterior = model.encode(BATCH)
    assert model.sample_latents(BATCH, posterior).shape == (2, 12, 6)
    assert model.eval().sample_latents(BATCH, posterior).shape == (5, 12, 6)


def test_with_kl_weight_0_it_is_the_noisy_autoencoder() -> None:
    vae, autoencoder = small(SentenceVAE, kl_weight=0.0), small(Autoencoder, latent="sample")
    losses = []
    for model in (vae, autoencoder):
        loss = model.objective(BATCH).loss
        losses.append(loss)
        loss.mean().backward()
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)
    for (name, one), (_, other) in zip(vae.named_parameters(), autoencoder.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("weight", [0.0, 0.15, 1.0, 4.0])
def test_the_kl_weight_is_in_the_loss_and_nowhere_in_what_is_reported(weight: float) -> None:
    model, plain = small(SentenceVAE, kl_weight=weight), small(SentenceVAE)
    objective, reference = model.objective(BATCH), plain.objective(BATCH)
    terms = objective.terms
    for name, value in reference.terms.items():
        if name != "objective":
            torch.testing.assert_close(terms[name], value)
    torch.testing.assert_close(terms["objective"], terms["reconstruction"] + weight * terms["kl"])
    torch.testing.assert_close(objective.loss, terms["reconstruction"] + weight * terms["kl"])
    model.weights["kl_weight"] = 0.5  # as a schedule does, which does not move what checkpoints are chosen by
    torch.testing.assert_close(model.objective(BATCH).terms["objective"], terms["objective"])
    torch.testing.assert_close(model.objective(BATCH).loss, terms["reconstruction"] + 0.5 * terms["kl"])


def test_free_bits_charge_each_dimension_no_less_than_their_number() -> None:
    free = 0.02
    model = small(SentenceVAE, free_bits=free)
    kl = model.encode(BATCH).kl_from_standard_normal().detach()
    assert 0 < int((kl < free).sum()) < kl.numel()
    expected = torch.tensor([sum(max(free, float(value)) for value in row) for row in kl])
    objective = model.objective(BATCH)
    torch.testing.assert_close(objective.loss - objective.terms["reconstruction"], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(objective.terms["kl"], kl.sum(1))  # what is reported is the whole KL
    torch.testing.assert_close(objective.terms["objective"], objective.loss)  # what checkpoints are chosen by


def test_below_the_free_bits_the_kl_has_no_gradient() -> None:
    model = small(SentenceVAE, free_bits=100.0)
    kl = model.encode(BATCH).kl_from_standard_normal()
    (gradient,) = torch.autograd.grad(model.charged(kl).sum(), [kl])
    assert not bool(gradient.any())


def test_an_inputless_decoder_sees_the_sentence_through_z_alone() -> None:
    decoder = DecoderConfig(hidden_size=13, inputless="unknown")
    model = small(SentenceVAE, decoder=decoder, encoder=EncoderConfig(hidden_size=14)).eval()
    first, second = [5, 6, 7, 8], [9, 6, 7, 8]  # which differ in the first word alone
    z = torch.zeros(1, 6)
    nll = [model.token_nll(TokenBatch.from_ids([words]), z) for words in (first, second)]
    torch.testing.assert_close(nll[0][:, 1:], nll[1][:, 1:], rtol=0, atol=0)


@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"eval_samples": 0}, {"kl_weight": math.inf}, {"kl_weight": -1.0}, {"free_bits": -0.1}]
)
def test_values_out_of_range_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        small(SentenceVAE, **options)
