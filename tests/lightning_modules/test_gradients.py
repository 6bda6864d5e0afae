"""Gradients by finite differences in float64, of families whose own files have none; what is stopped is held fixed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from exact import assert_gradient_is_the_slope, batch_of, every_sentence, tiny
from torch import Tensor
from torch.nn.functional import softplus

from lightning_modules import AdversarialAutoencoder, AdversariallyRegularizedAutoencoder, Autoencoder, LaggingVAE
from lightning_modules.aae import AdversaryConfig
from lightning_modules.arae import LearnedPriorConfig
from lightning_modules.text_model import TextModel

BATCH = batch_of(every_sentence())


def assert_same_gradients(model: TextModel, by_hand: Callable[[], Tensor]) -> None:
    """The objective has the value and the gradients of what is written by hand."""
    objective = model.objective(BATCH).loss.mean()
    torch.testing.assert_close(objective, by_hand())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            ours, theirs = (
                torch.autograd.grad(loss, [parameter], allow_unused=True)[0]
                for loss in (model.objective(BATCH).loss.mean(), by_hand())
            )
            zero = torch.zeros_like(parameter)
            torch.testing.assert_close(zero if ours is None else ours, zero if theirs is None else theirs, msg=name)


@pytest.mark.parametrize("latent", ["mean", "sample"])
def test_the_autoencoder(latent: Literal["mean", "sample"]) -> None:
    model = tiny(Autoencoder, latent=latent).train()
    assert_gradient_is_the_slope(lambda: model.objective(BATCH).loss.mean(), model)


def test_lagging_inference() -> None:
    model = tiny(LaggingVAE, kl_weight=0.7).train()
    assert_gradient_is_the_slope(lambda: model.objective(BATCH).loss.mean(), model)


def test_the_adversarial_autoencoder_with_latents_and_discriminator_held_fixed_for_each_other() -> None:
    adversary = AdversaryConfig(weight=1.7, log_variance_weight=0.3, hidden_size=5)
    model = tiny(AdversarialAutoencoder, adversary=adversary).train()
    fixed = copy.deepcopy(model.discriminator)
    told = model.sample_latent(BATCH, model.encode(BATCH)).detach()
    prior = model.random(BATCH).normal("prior", 1).double()

    def by_hand() -> Tensor:
        posterior = model.encode(BATCH)
        z = model.sample_latent(BATCH, posterior)
        discriminator = softplus(model.discriminator(told)) + softplus(-model.discriminator(prior))
        adversarial, size = softplus(-fixed(z)).squeeze(1), posterior.log_variance.abs().sum(1)
        loss = model.reconstruction(BATCH, z) + 1.7 * adversarial + 0.3 * size + discriminator.squeeze(1)
        return loss.mean()

    assert_same_gradients(model, by_hand)
    assert_gradient_is_the_slope(by_hand, model)


def test_the_autoencoder_with_a_learned_prior_and_its_critic_held_fixed() -> None:
    prior = LearnedPriorConfig(noise_size=2, hidden_size=5, weight=0.8, critic_clip=0.5)
    model = tiny(AdversariallyRegularizedAutoencoder, learned_prior=prior, noise=0.3).train()
    fixed = copy.deepcopy(model.critic)

    def by_hand() -> Tensor:
        posterior = model.encode(BATCH)
        told = model.sample_latent(BATCH, posterior)
        return (model.reconstruction(BATCH, told) + 0.8 * fixed(posterior.mean).squeeze(1)).mean()

    assert_same_gradients(model, by_hand)
    assert_gradient_is_the_slope(by_hand, model)
