"""The adversarially regularised autoencoder. B sentences, S noise size, Z latent size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import normalize
from torch.optim import Optimizer

from datamodules.batch import TokenBatch
from datamodules.errors import require, require_not_negative, require_positive
from lightning_modules.backbone.layers import at_least_float32
from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.base import TextAutoencoder
from lightning_modules.manual import descend
from lightning_modules.optimization import make_optimizer, require_betas
from lightning_modules.randomness import SentenceRandom
from lightning_modules.text_model import ObjectiveTerms, configured


@dataclass(frozen=True)
class LearnedPriorConfig:
    """The generator, which makes latents of noise, and the critic, which tells them from the encoder's.

    Attributes:
        noise_size: S, of the generator's input N(0, I).
        hidden_size: Of the two hidden layers of either network.
        critic_steps: Of the critic in each batch.
        critic_clip: The critic's parameters stay in [-critic_clip, critic_clip] (Wasserstein distance).
        weight: Of the critic's value in the encoder's loss (the paper's lambda).
        gradient: How the critic's gradient with respect to the latents is taken: `plain`, times the weight (the paper,
            algorithm 1), or `normalised` to the norm that the reconstruction's had in the batch before, both in the
            mean over sentences, times the weight (the authors' code that clips the critic, with a weight of 0.01).
        lr: Of generator and critic.
        betas: Adam's decay rates for both.
    """

    noise_size: int = 32
    hidden_size: int = 128
    critic_steps: int = 5
    critic_clip: float = 0.01
    weight: float = 1.0
    gradient: Literal["plain", "normalised"] = "plain"
    lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)

    def __post_init__(self) -> None:
        for name in ("noise_size", "hidden_size", "critic_steps", "critic_clip", "lr"):
            require_positive(f"learned_prior.{name}", getattr(self, name))
        require_not_negative("learned_prior.weight", self.weight)
        require_betas("learned_prior.betas", self.betas)


class AdversariallyRegularizedAutoencoder(TextAutoencoder):
    """A deterministic autoencoder with a learned prior (ARAE, Zhao et al. 2018).

    The latent is the encoder's mean, scaled to the unit sphere; in training N(0, noise^2 I) is added to what the
    decoder is told (a schedule of `callbacks.annealing` lets `noise` decay). A critic f maximises f(z) - f(G(s)), s ~
    N(0, I); the generator G maximises f(G(s)); encoder and decoder minimise -log p(x|z) + weight * f(z). In each
    batch the critic steps first, several times, then the autoencoder and then the generator. The generator is a plain
    network: the authors' has batch normalisation, with which a sentence would depend on its companions.

    It has no posterior density, so no likelihood is reported.

    Args:
        learned_prior: Generator and critic.
        noise: Standard deviation of the noise on the latent, at first.
        clip: Greatest norm of the autoencoder's gradient (`trainer.gradient_clip_val` is for families that Lightning
            optimises).
        kwargs: The backbone and the optimiser; see `TextAutoencoder`.
    """

    terms = ("reconstruction", "wasserstein")
    stochastic = False

    def __init__(
        self,
        learned_prior: LearnedPriorConfig = LearnedPriorConfig(),
        noise: float = 0.1,
        clip: float | None = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        schedule = self.optimizer_config.schedule
        require(schedule == "constant", f"optimizer.schedule {schedule}: the ARAE's is constant")
        require_not_negative("noise", noise)
        if clip is not None:
            require_positive("clip", clip)
        self.automatic_optimization = False
        self.learned_prior = configured(LearnedPriorConfig, learned_prior)
        self.clip = clip
        self.weights["noise"] = noise
        self._told_gradient = torch.zeros(())
        hidden = self.learned_prior.hidden_size
        self.generator = _network(self.learned_prior.noise_size, hidden, self.latent_size)
        self.critic = _network(self.latent_size, hidden, 1)
        self._clip_critic()
        # Of the normalised gradient; before the first batch nothing is known of the reconstruction's.
        self.adversarial_scale = torch.tensor(self.learned_prior.weight if self._is_plain else 0.0)
        self.reconstruction_norm = torch.tensor(0.0)
        self.backbone.posterior.scale.requires_grad_(False)  # the latent is the mean

    @property
    def _is_plain(self) -> bool:
        return self.learned_prior.gradient == "plain"

    def get_extra_state(self) -> Tensor:
        """What a resume needs; no buffer, which a low precision would round."""
        return self.reconstruction_norm.double().cpu()

    def set_extra_state(self, state: Tensor) -> None:
        """Goes on where the checkpoint was."""
        self.reconstruction_norm = state.float()

    def encode(self, batch: TokenBatch) -> Gaussian:
        """The latent, of norm 1, as the mean; the variance has no meaning."""
        posterior = super().encode(batch)
        return Gaussian(normalize(posterior.mean, dim=1), posterior.log_variance)

    def sample_latent(self, batch: TokenBatch, posterior: Gaussian, sample: int = 0) -> Tensor:
        """(B, Z): the latent, in training with the decaying noise."""
        if not self.training or self.weights["noise"] == 0:
            return posterior.mean
        noise = self.random(batch).normal("posterior", self.latent_size, sample=sample)
        return posterior.mean + self.weights["noise"] * noise

    def prior_latents(self, random: SentenceRandom) -> Tensor:
        """(B, Z) that the generator makes of noise."""
        noise = random.normal("prior samples", self.learned_prior.noise_size)
        latents: Tensor = self.generator(self._like_weights(noise))
        return latents.float()

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """The autoencoder's loss; the critic's parameters are held fixed in it."""
        posterior = self.encode(batch)
        told_BZ = self.sample_latent(batch, posterior).clone()  # whose gradient is the reconstruction's alone
        if told_BZ.requires_grad:
            told_BZ.register_hook(self._note_gradient)  # type: ignore[no-untyped-call]  # torch has it untyped
        reconstruction = self.reconstruction(batch, told_BZ)
        fixed = {name: weights.detach() for name, weights in self.critic.named_parameters()}
        value = at_least_float32(functional_call(self.critic, fixed, self._like_weights(posterior.mean))).squeeze(1)
        with torch.no_grad():
            distance = value - self._value(self._generated(batch, 0))
        loss = reconstruction + _beside(self.adversarial_scale, value) * value
        return ObjectiveTerms(loss, {"reconstruction": reconstruction, "wasserstein": distance})

    def configure_optimizers(self) -> list[Optimizer]:
        """The autoencoder's, the critic's and the generator's."""
        own: dict[str, Any] = {"lr": self.learned_prior.lr, "betas": self.learned_prior.betas}
        parts: list[tuple[nn.Module, dict[str, Any]]] = [
            (self.backbone, {}),
            (self.critic, own),
            (self.generator, own),
        ]
        return [
            make_optimizer([{"params": list(part.parameters()), **options}], self.optimizer_config, self.fuses_steps())
            for part, options in parts
        ]

    def training_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """Steps of the critic, one of the autoencoder, one of the generator."""
        autoencoder, critic, generator = cast(list[LightningOptimizer], self.optimizers())
        with torch.no_grad():
            real_BZ = self.encode(batch).mean
        for step in range(self.learned_prior.critic_steps):
            distance = self._value(real_BZ) - self._value(self._generated(batch, step).detach())
            descend(self, [critic], -distance.mean() * batch.share, None)
            self._clip_critic()
        self._scale_adversary(batch, real_BZ)
        objective = self.objective(batch)
        self.log_objective(batch, objective)
        descend(self, [autoencoder], objective.loss.mean() * batch.share, self.clip, counted=True)
        self.reconstruction_norm = self._mean_norm(self._told_gradient, batch)
        made = self._value(self._generated(batch, self.learned_prior.critic_steps))
        descend(self, [generator], -made.mean() * batch.share, None)

    def _scale_adversary(self, batch: TokenBatch, real_BZ: Tensor) -> None:
        if not self._is_plain:
            real_BZ = real_BZ.detach().requires_grad_()
            (slope_BZ,) = torch.autograd.grad(self._value(real_BZ).mean() * batch.share, [real_BZ])
            norm = self._mean_norm(slope_BZ, batch).clamp(min=1e-12)
            self.adversarial_scale = self.learned_prior.weight * _beside(self.reconstruction_norm, norm) / norm

    def _note_gradient(self, gradient_BZ: Tensor) -> None:
        scaler = getattr(self._trainer and self._trainer.precision_plugin, "scaler", None)
        self._told_gradient = gradient_BZ.float() / (1.0 if scaler is None else scaler.get_scale())

    def _mean_norm(self, gradient_BZ: Tensor, batch: TokenBatch) -> Tensor:
        """The mean over the global batch's sentences, of which this rank has some, of the norms of their gradients."""
        norms = gradient_BZ.float().norm(dim=1).sum()
        own = torch.stack((norms, torch.full_like(norms, len(batch) if batch.share > 0 else 0)))
        total, sentences = cast(Tensor, self.trainer.strategy.reduce(own, reduce_op="sum"))
        return total / sentences / self.trainer.world_size

    def _like_weights(self, x: Tensor) -> Tensor:
        """Latents are float32 or better even where the weights are not."""
        return x.to(next(self.critic.parameters()).dtype)

    def _generated(self, batch: TokenBatch, sample: int) -> Tensor:
        noise = self.random(batch).normal("generator", self.learned_prior.noise_size, sample=sample)
        latents: Tensor = self.generator(self._like_weights(noise))
        return latents

    def _value(self, z_BZ: Tensor) -> Tensor:
        return at_least_float32(self.critic(self._like_weights(z_BZ))).squeeze(1)

    @torch.no_grad()
    def _clip_critic(self) -> None:
        limit = self.learned_prior.critic_clip
        for parameter in self.critic.parameters():
            parameter.clamp_(-limit, limit)


def _beside(number: Tensor, other: Tensor) -> Tensor:
    """A number on another tensor's device; one of the CPU is multiplied with any device's without being copied."""
    return number if number.device.type == "cpu" else number.to(other.device)


def _network(size_in: int, hidden: int, size_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, size_out)
    )
