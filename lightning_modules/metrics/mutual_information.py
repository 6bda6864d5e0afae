"""How much the latent says about the sentence. N sentences, Z latent size."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_modules.backbone.posterior import Gaussian

CHUNK = 1024


class MutualInformation(Metric):
    """I(x; z) under q, estimated with the aggregate posterior of the sentences it was given (Hoffman & Johnson 2016).

    The mean over sentences of log q(z|x) - log (1/N) sum_j q(z|x_j), z ~ q(z|x). It cannot exceed ln N.
    """

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

    def compute(self) -> Tensor:
        """Nats."""
        posterior = Gaussian(dim_zero_cat(self.means), dim_zero_cat(self.log_variances))
        return mutual_information(posterior, dim_zero_cat(self.latents))


def mutual_information(posterior: Gaussian, z_NZ: Tensor) -> Tensor:
    """The estimate of `MutualInformation` from N posteriors and a sample of each, nats."""
    # In float64: near a collapse it is a small difference of large numbers.
    exact, z = Gaussian(posterior.mean.double(), posterior.log_variance.double()), z_NZ.double()
    aggregate_N = torch.cat([aggregate_log_prob(exact, chunk) for chunk in torch.split(z, CHUNK)])
    return (exact.log_prob(z) - aggregate_N).mean().to(z_NZ.dtype)


def aggregate_log_prob(posterior: Gaussian, z_MZ: Tensor) -> Tensor:
    """(M,) log-density of z under the equal mixture of N posteriors, nats."""
    # The square multiplied out, so that matrix products do it; in float64, since it cancels.
    z, mean, log_variance = (value.double() for value in (z_MZ, posterior.mean, posterior.log_variance))
    precision = torch.exp(-log_variance)
    squares_MN = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(1)
    pairs_MN = -0.5 * (squares_MN + (log_variance + math.log(2 * math.pi)).sum(1))
    return (pairs_MN.logsumexp(1) - math.log(len(mean))).to(z_MZ.dtype)
