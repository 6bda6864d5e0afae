"""How much the latent says about the sentence, and how far the sentences' latents together are from the prior.

N sentences, Z latent size.
"""

from __future__ import annotations

import math
from abc import ABC

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from lightning_modules.backbone.posterior import Gaussian, standard_normal_log_prob
from lightning_modules.metrics.fixed_precision import FixedPrecision

CHUNK = 1024


class PosteriorMetric(FixedPrecision, ABC):
    """A quantity of all sentences' posteriors together, and of a sample of each."""

    full_state_update = False
    means: list[Tensor]
    log_variances: list[Tensor]
    latents: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("means", "log_variances", "latents"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, posterior: Gaussian, z_BZ: Tensor) -> None:
        """Adds sentences: their posteriors, and a sample of each."""
        self.means.append(posterior.mean)
        self.log_variances.append(posterior.log_variance)
        self.latents.append(z_BZ)

    def gathered(self) -> tuple[Gaussian, Tensor]:
        """The N posteriors, and their samples (N, Z)."""
        return Gaussian(dim_zero_cat(self.means), dim_zero_cat(self.log_variances)), dim_zero_cat(self.latents)


class MutualInformation(PosteriorMetric):
    """I(x; z) under q, estimated with the aggregate posterior of the sentences it was given (Hoffman & Johnson 2016).

    The mean over sentences of log q(z|x) - log (1/N) sum_j q(z|x_j), z ~ q(z|x). It cannot exceed ln N. The expectation
    of the first part is known, but the sampled one errs with the second, and the difference is surer for it.
    """

    def compute(self) -> Tensor:
        """Nats."""
        return mutual_information(*self.gathered())


class MutualInformationError(PosteriorMetric):
    """The standard error of `MutualInformation` over sentences and their samples together."""

    def compute(self) -> Tensor:
        """Nats; NaN of one sentence."""
        return _error(_information(*self.gathered()))


class AggregatePosteriorKL(PosteriorMetric):
    """KL(q(z) || N(0, I)) of the aggregate posterior q(z) of the sentences it was given (Hoffman & Johnson 2016).

    The mean over sentences of log (1/N) sum_j q(z|x_j) - log p(z), z ~ q(z|x). With the mutual information it makes up
    the KL of the sentences' posteriors, but for the noise of the samples.
    """

    def compute(self) -> Tensor:
        """Nats."""
        return _distance_to_prior(*self.gathered()).mean()


class AggregatePosteriorKLError(PosteriorMetric):
    """The standard error of `AggregatePosteriorKL` over sentences and their samples together."""

    def compute(self) -> Tensor:
        """Nats; NaN of one sentence."""
        return _error(_distance_to_prior(*self.gathered()))


def mutual_information(posterior: Gaussian, z_NZ: Tensor) -> Tensor:
    """The estimate of `MutualInformation` from N posteriors and a sample of each, nats."""
    return _information(posterior, z_NZ).mean()


def _information(posterior: Gaussian, z_NZ: Tensor) -> Tensor:
    """(N,) each sentence's part of the mutual information, float64: near a collapse it is a small difference."""
    exact = Gaussian(posterior.mean.double(), posterior.log_variance.double())
    return exact.log_prob(z_NZ.double()) - _aggregate(posterior, z_NZ)


def _distance_to_prior(posterior: Gaussian, z_NZ: Tensor) -> Tensor:
    """(N,) each sentence's part of the aggregate posterior's KL to the prior, float64."""
    return _aggregate(posterior, z_NZ) - standard_normal_log_prob(z_NZ.double())


def _error(parts_N: Tensor) -> Tensor:
    if len(parts_N) < 2:
        return parts_N.new_tensor(math.nan)
    return parts_N.std() / math.sqrt(len(parts_N))


def aggregate_log_prob(posterior: Gaussian, z_MZ: Tensor) -> Tensor:
    """(M,) log-density of z under the equal mixture of N posteriors, nats."""
    # The square multiplied out, so that matrix products do it; in float64, since it cancels.
    z, mean, log_variance = (value.double() for value in (z_MZ, posterior.mean, posterior.log_variance))
    precision = torch.exp(-log_variance)
    squares_MN = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(1)
    pairs_MN = -0.5 * (squares_MN + (log_variance + math.log(2 * math.pi)).sum(1))
    return (pairs_MN.logsumexp(1) - math.log(len(mean))).to(z_MZ.dtype)


def _aggregate(posterior: Gaussian, z_NZ: Tensor) -> Tensor:
    """`aggregate_log_prob` in float64, a chunk of latents at a time."""
    return torch.cat([aggregate_log_prob(posterior, chunk) for chunk in torch.split(z_NZ.double(), CHUNK)])
