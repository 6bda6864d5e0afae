from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from models import WITHOUT_VALIDATION, fit, loader, sentences, small, trainer
from torch import Tensor, nn

from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig
from datamodules.errors import UsageError
from lightning_modules import AdversariallyRegularizedAutoencoder as ARAE
from lightning_modules.arae import LearnedPriorConfig
from lightning_modules.optimization import OptimizerConfig
from lightning_modules.randomness import SentenceRandom

SENTENCES = sentences(12)
BATCH = TokenBatch.from_ids(SENTENCES)


def model_of(**options: Any) -> ARAE:
    prior = LearnedPriorConfig(
        noise_size=4, hidden_size=9, critic_steps=3, critic_clip=0.2, lr=0.01, weight=0.7, gradient="plain"
    )
    return small(ARAE, **{"learned_prior": prior, "optimizer": OptimizerConfig("sgd", lr=0.5), "clip": 0.6} | options)


def zhao_et_al(model: ARAE) -> None:
    """One batch: the critic's steps, the autoencoder's, the generator's, each by plain backward passes."""
    parts = {"critic": model.critic, "autoencoder": model.backbone, "generator": model.generator}
    rates = {"critic": 0.01, "autoencoder": 0.5, "generator": 0.01}
    optimizers = {name: torch.optim.SGD(part.parameters(), lr=rates[name]) for name, part in parts.items()}
    random = model.random(BATCH)

    def latents() -> Tensor:
        mean = model.backbone.encode(*with_bos(BATCH)).mean
        return mean / mean.norm(dim=1, keepdim=True)

    def generated(sample: int) -> Tensor:
        made: Tensor = model.generator(random.normal("generator", 4, sample=sample))
        return made

    for step in range(3):
        model.zero_grad()
        (model.critic(generated(step)) - model.critic(latents())).mean().backward()
        optimizers["critic"].step()
        with torch.no_grad():
            for parameter in model.critic.parameters():
                parameter.copy_(parameter.clamp(-0.2, 0.2))
    model.zero_grad()
    z = latents()
    noisy = z + model.weights["noise"] * random.normal("posterior", 6)
    (model.reconstruction(BATCH, noisy).mean() + 0.7 * model.critic(z).mean()).backward()
    nn.utils.clip_grad_norm_(model.backbone.parameters(), 0.6)
    optimizers["autoencoder"].step()
    model.zero_grad()
    (-model.critic(generated(3))).mean().backward()
    optimizers["generator"].step()


def with_bos(batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """What the encoder sees: the decoder's inputs, BOS and the words."""
    return batch.inputs, batch.lengths


@WITHOUT_VALIDATION
def test_a_batch_is_the_published_steps() -> None:
    model = model_of(noise=0.2)
    reference = copy.deepcopy(model)
    data = loader(SENTENCES, BatchingConfig(sentences=12), training=True)
    [row] = data.sampler.global_batches()
    assert set(row) == set(range(12))  # one batch, whose order does not matter to a mean
    trainer(max_epochs=1).fit(model, data)
    zhao_et_al(reference)
    moved = {name: value.clone() for name, value in model_of(noise=0.2).named_parameters()}
    for (name, mine), (_, theirs) in zip(model.named_parameters(), reference.named_parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
        # The variance has no meaning, and the critic's last bias cancels.
        assert name.startswith(("backbone.posterior.scale", "critic.4.bias")) or not torch.equal(mine, moved[name]), (
            name
        )


class Norms(pl.Callback):
    """Of each batch: the norms of the gradients of both parts of the autoencoder's loss with respect to the latents."""

    def __init__(self) -> None:
        self.reconstruction: list[float] = []
        self.adversarial: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, ARAE)
        self.reconstruction.append(float(pl_module.reconstruction_norm))

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, ARAE)
        z = pl_module.encode(BATCH).mean.detach().requires_grad_()  # before the autoencoder moves
        value = pl_module.adversarial_scale * pl_module.critic(z).mean()
        self.adversarial.append(float(torch.autograd.grad(value, [z])[0].norm(dim=1).mean()))


@WITHOUT_VALIDATION
def test_the_adversarial_gradient_is_a_share_of_the_reconstructions() -> None:
    prior = LearnedPriorConfig(noise_size=4, hidden_size=9, critic_steps=2, weight=0.3, gradient="normalised")
    model, norms = model_of(learned_prior=prior, noise=0.0), Norms()
    z = model.encode(BATCH).mean.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.reconstruction(BATCH, z).mean(), [z])
    data = loader(SENTENCES, BatchingConfig(sentences=12), training=True)
    trainer(max_epochs=4, callbacks=[norms]).fit(model, data)
    assert norms.reconstruction[0] == pytest.approx(float(gradient.norm(dim=1).mean()), rel=1e-4)
    assert norms.adversarial == pytest.approx([0.0, *(0.3 * norm for norm in norms.reconstruction[:-1])], rel=1e-3)


@WITHOUT_VALIDATION
def test_the_critics_parameters_stay_within_their_limit_from_the_start() -> None:
    model = model_of()
    for _ in range(2):
        assert max(float(value.detach().abs().max()) for value in model.critic.parameters()) <= 0.2 + 1e-7
        fit(model, SENTENCES, epochs=3)


def test_the_defaults_are_the_papers() -> None:
    assert (LearnedPriorConfig().gradient, LearnedPriorConfig().weight) == ("plain", 1.0)


@WITHOUT_VALIDATION
def test_a_resume_takes_the_weight_that_it_is_given_and_knows_the_norm(tmp_path: Path) -> None:
    data = loader(SENTENCES, BatchingConfig(sentences=12), training=True)
    for gradient in ("plain", "normalised"):
        file = tmp_path / f"{gradient}.ckpt"
        priors = [
            LearnedPriorConfig(noise_size=4, hidden_size=9, weight=weight, gradient=gradient)  # type: ignore[arg-type]
            for weight in (1.0, 0.25)
        ]
        first, second = (model_of(learned_prior=prior) for prior in priors)
        fit(first, SENTENCES, epochs=1).save_checkpoint(file)
        trainer(max_epochs=1).fit(second, data, ckpt_path=file)
        assert float(second.reconstruction_norm) == pytest.approx(float(first.reconstruction_norm)) != 0
        if gradient == "plain":
            assert float(second.adversarial_scale) == 0.25


def test_latents_have_norm_1_and_in_training_the_noise() -> None:
    model = model_of(noise=0.3)
    posterior = model.encode(BATCH)
    torch.testing.assert_close(posterior.mean.norm(dim=1), torch.ones(12))
    draws = torch.stack([model.sample_latent(BATCH, posterior, sample) for sample in range(500)])
    deviation = (draws - posterior.mean).detach()
    assert float(deviation.std()) == pytest.approx(0.3, rel=0.02) and abs(float(deviation.mean())) < 0.01
    model.weights["noise"] = 0.0  # as the schedule's end
    assert torch.equal(model.sample_latent(BATCH, posterior), posterior.mean)
    model.weights["noise"] = 0.3
    assert torch.equal(model.eval().sample_latent(BATCH, posterior), posterior.mean)


def test_new_latents_are_the_generators() -> None:
    model = model_of()
    random = SentenceRandom(torch.arange(5), 0, -1)
    torch.testing.assert_close(model.prior_latents(random), model.generator(random.normal("prior samples", 4)))


def test_no_likelihood_is_reported() -> None:
    data = loader(SENTENCES, BatchingConfig(), training=False)
    (found,) = trainer().validate(model_of(), data, verbose=False)
    assert set(found) == {"val/reconstruction", "val/wasserstein"}


def test_the_distance_is_the_critics_difference() -> None:
    model = model_of().eval()
    with torch.no_grad():
        terms = model.objective(BATCH).terms
        noise = model.random(BATCH).normal("generator", 4)
        expected = model.critic(model.encode(BATCH).mean) - model.critic(model.generator(noise))
    torch.testing.assert_close(terms["wasserstein"], expected.squeeze(1))


@pytest.mark.parametrize(
    "options",
    [
        {"critic_steps": 0},
        {"critic_clip": 0.0},
        {"weight": -1.0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"betas": (0.5, 2.0)},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"learned_prior.{next(iter(options))}"):
        LearnedPriorConfig(**options)


@pytest.mark.parametrize("name, value", [("clip", 0.0), ("clip", float("inf")), ("noise", float("nan"))])
def test_its_own_values_too(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value}"):
        model_of(**{name: value})
