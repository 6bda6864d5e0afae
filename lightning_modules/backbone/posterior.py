"""The diagonal Gaussian posterior q(z|x) and the heads that make it. B sentences, S summary size, Z latent size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from datamodules.errors import require_finite, require_positive
from lightning_modules.backbone.layers import Highway, at_least_float32


@dataclass(frozen=True)
class PosteriorConfig:
    """The posterior's heads.

    Attributes:
        latent_size: Z.
        heads: A linear map for the mean and one for the scale, directly or each behind a highway layer (Bowman 2016).
        bias: Whether the heads have a bias.
        scale: What the second head gives: the log-variance, the log of the standard deviation (Xu & Durrett 2018), or
            the variance through a softplus (Bowman 2016).
        min_log_variance: Lower limit of the log-variance (SentenceMIM's code: -10).
    """

    latent_size: int = 32
    heads: Literal["linear", "highway"] = "linear"
    bias: bool = True
    scale: Literal["log_variance", "log_std", "softplus"] = "log_variance"
    min_log_variance: float | None = None

    def __post_init__(self) -> None:
        require_positive("posterior.latent_size", self.latent_size)
        if self.min_log_variance is not None:
            require_finite("posterior.min_log_variance", self.min_log_variance)


@dataclass  # not frozen: Lightning moves and converts what steps return field by field
class Gaussian:
    """Diagonal Gaussians over z.

    Attributes:
        mean: (B, Z).
        log_variance: (B, Z).
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def std(self) -> Tensor:
        """(B, Z) standard deviations."""
        return torch.exp(0.5 * self.log_variance)

    def sample(self, noise: Tensor) -> Tensor:
        """The reparameterised sample mean + std * noise; `noise` is standard normal and may have leading axes."""
        return self.mean + self.std * noise.to(self.mean.dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        """(...) log-density of z (..., Z) in nats."""
        deviation = (z - self.mean) / self.std
        return -0.5 * (deviation.square() + self.log_variance + math.log(2 * math.pi)).sum(-1)

    def kl_from_standard_normal(self) -> Tensor:
        """(B, Z) KL(q(z|x) || N(0, I)) of each dimension in closed form, nats."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)


class PosteriorHeads(nn.Module):
    """Maps a summary to q(z|x).

    Args:
        config: The heads.
        summary_size: S.
    """

    def __init__(self, config: PosteriorConfig, summary_size: int) -> None:
        super().__init__()
        self.config = config
        self.mean = self._head(summary_size)
        self.scale = self._head(summary_size)

    def forward(self, summary_BS: Tensor) -> Gaussian:
        """(B, S) to Gaussians over (B, Z), in float32 or better whatever the precision of the summary."""
        log_variance = at_least_float32(self.scale(summary_BS))
        if self.config.scale == "log_std":
            log_variance = 2 * log_variance
        if self.config.scale == "softplus":
            # Far below 0 the softplus is exp, and underflows.
            small = log_variance < -15
            log_variance = torch.where(
                small, log_variance, nn.functional.softplus(log_variance.masked_fill(small, 0)).log()
            )
        if self.config.min_log_variance is not None:
            log_variance = log_variance.clamp(min=self.config.min_log_variance)
        return Gaussian(at_least_float32(self.mean(summary_BS)), log_variance)

    def _head(self, summary_size: int) -> nn.Module:
        linear = nn.Linear(summary_size, self.config.latent_size, bias=self.config.bias)
        return linear if self.config.heads == "linear" else nn.Sequential(Highway(summary_size), linear)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """(...) log-density of z (..., Z) under the prior N(0, I), in nats."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
