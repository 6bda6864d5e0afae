from __future__ import annotations

from typing import Any

import pytest
import torch
from models import WITHOUT_VALIDATION, fit, learner, sentences, small
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from lightning_modules import AdversarialAutoencoder
from lightning_modules.aae import AdversaryConfig
from lightning_modules.backbone.corruption import CorruptionConfig
from lightning_modules.decoding.search import reconstruct
from lightning_modules.decoding.text import batch_text, to_text
from lightning_modules.optimization import OptimizerConfig

pytestmark = WITHOUT_VALIDATION
VARIANTS: dict[str, dict[str, Any]] = {
    "aae": {},
    "laae": {"adversary": AdversaryConfig(weight=7.0, log_variance_weight=0.3, hidden_size=9)},
    "daae": {"corruption": CorruptionConfig(drop=0.3)},
}
BATCH = TokenBatch.from_ids(sentences(12))


def model(**options: Any) -> AdversarialAutoencoder:
    return small(AdversarialAutoencoder, **{"adversary": AdversaryConfig(hidden_size=9)} | options)


def parts(made: AdversarialAutoencoder) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, z' of the prior, the sum of |log-variance|, and -log p(x|z), as the objective draws them."""
    posterior = made.encode(BATCH)
    noise = made.random(BATCH).normal("posterior", 6)
    z = posterior.mean + torch.exp(posterior.log_variance).sqrt() * noise
    prior = made.random(BATCH).normal("prior", 6)
    return z, prior, posterior.log_variance.abs().sum(1), made.reconstruction(BATCH, z)


def discriminator_loss(made: AdversarialAutoencoder, z: Tensor, prior: Tensor) -> Tensor:
    fake, true = made.discriminator(z.detach()), made.discriminator(prior)
    return cross_entropy(fake, torch.zeros_like(fake)) + cross_entropy(true, torch.ones_like(true))


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_one_backward_pass_gives_the_gradients_of_two(options: dict[str, Any]) -> None:
    made = model(**options)
    made.objective(BATCH).loss.mean().backward()
    found = {name: parameter.grad for name, parameter in made.named_parameters()}

    z, prior, size, reconstruction = parts(made)
    logit = made.discriminator(z)
    loss = (
        reconstruction.mean()
        + made.adversary.weight * cross_entropy(logit, torch.ones_like(logit))
        + made.adversary.log_variance_weight * size.mean()
    )
    autoencoder = dict(made.backbone.named_parameters(prefix="backbone"))
    discriminator = dict(made.discriminator.named_parameters(prefix="discriminator"))
    expected = dict(zip(autoencoder, torch.autograd.grad(loss, tuple(autoencoder.values())), strict=True))
    gradients = torch.autograd.grad(discriminator_loss(made, z, prior), tuple(discriminator.values()))
    expected |= dict(zip(discriminator, gradients, strict=True))

    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: name + text)


def test_the_adversarial_weight_moves_the_encoder_but_not_the_discriminator() -> None:
    gradients = []
    for weight in (0.0, 10.0):
        made = model(adversary=AdversaryConfig(weight=weight, hidden_size=9))
        made.objective(BATCH).loss.mean().backward()
        gradients.append({name: parameter.grad for name, parameter in made.named_parameters()})
    without, with_weight = gradients
    for name, gradient in without.items():
        same = torch.allclose(gradient, with_weight[name], atol=1e-7)
        # The decoder and the discriminator do not depend on z through the adversarial term.
        shared = "embedding" in name
        assert same is (not shared and ("decoder" in name or "discriminator" in name)), name


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("training", [True, False])
def test_the_terms_are_cross_entropies_of_the_discriminator(options: dict[str, Any], training: bool) -> None:
    made = model(**options).train(training)
    objective = made.objective(BATCH)
    z, prior, size, reconstruction = parts(made)
    logit = made.discriminator(z)
    terms = {name: value.mean() for name, value in objective.terms.items()}
    torch.testing.assert_close(terms["reconstruction"], reconstruction.mean())
    torch.testing.assert_close(terms["adversarial"], cross_entropy(logit, torch.ones_like(logit)))
    torch.testing.assert_close(terms["discriminator"], discriminator_loss(made, z, prior))
    torch.testing.assert_close(terms["log_variance"], size.mean())
    expected = (
        terms["reconstruction"]
        + made.adversary.weight * terms["adversarial"]
        + made.adversary.log_variance_weight * terms["log_variance"]
        + terms["discriminator"]
    )
    torch.testing.assert_close(objective.loss.mean(), expected)


@pytest.mark.parametrize("log_variance", [-1.5, 0.0, 0.5])
def test_the_penalty_is_the_sum_of_absolute_log_variances(log_variance: float) -> None:
    made = model()
    with torch.no_grad():
        made.backbone.posterior.scale.weight.zero_()
        made.backbone.posterior.scale.bias.fill_(log_variance)
    penalty = made.objective(BATCH).terms["log_variance"]
    torch.testing.assert_close(penalty, torch.full((len(BATCH),), 6 * abs(log_variance)))


def test_a_blind_discriminator_loses_log_2_a_decision() -> None:
    made = model()
    with torch.no_grad():
        made.discriminator[2].weight.zero_()
        made.discriminator[2].bias.zero_()
    terms = made.objective(BATCH).terms
    log_2 = torch.full((len(BATCH),), 2.0).log()
    torch.testing.assert_close(terms["adversarial"], log_2)
    torch.testing.assert_close(terms["discriminator"], 2 * log_2)


@pytest.mark.parametrize(
    "adversary, lr, betas",
    [
        (AdversaryConfig(hidden_size=9), 0.002, (0.5, 0.999)),
        (AdversaryConfig(hidden_size=9, lr=0.01), 0.01, (0.5, 0.999)),
        (AdversaryConfig(hidden_size=9, betas=(0.3, 0.9)), 0.002, (0.3, 0.9)),
        (AdversaryConfig(hidden_size=9, lr=0.01, betas=(0.3, 0.9)), 0.01, (0.3, 0.9)),
    ],
)
def test_the_discriminator_has_its_own_options_and_each_parameter_one_group(
    adversary: AdversaryConfig, lr: float, betas: tuple[float, float]
) -> None:
    made = model(adversary=adversary, optimizer=OptimizerConfig("adam", lr=0.002, betas=(0.5, 0.999)))
    optimizer = made.configure_optimizers()
    first, second = optimizer.param_groups
    assert (first["lr"], first["betas"], second["lr"], second["betas"]) == (0.002, (0.5, 0.999), lr, betas)
    grouped = [id(parameter) for group in (first, second) for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in made.parameters())
    assert {id(p) for p in second["params"]} == {id(p) for p in made.discriminator.parameters()}


def test_it_learns_to_reconstruct_what_it_was_shown() -> None:
    batch = TokenBatch.from_ids(sentences(32))
    made = learner(AdversarialAutoencoder, adversary=AdversaryConfig(weight=1.0, hidden_size=9))
    fit(made, sentences(32), epochs=300)
    pairs = zip(to_text(made, reconstruct(made, batch)), batch_text(made.vocabulary, batch), strict=True)
    assert sum(written == read for written, read in pairs) >= 29


@pytest.mark.parametrize(
    "options, name",
    [
        ({"weight": -1.0}, "weight"),
        ({"log_variance_weight": -1.0}, "log_variance_weight"),
        ({"hidden_size": 0}, "hid"),
        ({"lr": -1.0}, "lr"),
        ({"betas": (0.5, 1.5)}, "betas"),
    ],
)
def test_impossible_settings_are_refused_by_name(options: dict[str, Any], name: str) -> None:
    with pytest.raises(UsageError, match=f"adversary.{name}"):
        AdversaryConfig(**options)
