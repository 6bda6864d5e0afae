from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from datamodules.errors import UsageError
from lightning_modules.backbone.layers import Highway
from lightning_modules.backbone.posterior import Gaussian, PosteriorConfig, PosteriorHeads

B, Z, S = 4, 3, 5


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gaussian() -> Gaussian:
    return Gaussian(drawn(B, Z), drawn(B, Z, seed=1))


def normal(posterior: Gaussian) -> Normal:
    return Normal(posterior.mean, torch.exp(posterior.log_variance).sqrt())


def heads(**options: Any) -> PosteriorHeads:
    torch.manual_seed(0)
    return PosteriorHeads(PosteriorConfig(latent_size=Z, **options), S)


def test_samples_have_the_mean_and_variance_of_the_posterior() -> None:
    posterior, count = gaussian(), 40_000
    sample = posterior.sample(drawn(count, B, Z, seed=2))
    variance = posterior.log_variance.exp()
    assert bool(((sample.mean(0) - posterior.mean).abs() < 4 * (variance / count).sqrt()).all())
    assert bool(((sample.var(0) - variance).abs() < 4 * variance * math.sqrt(2 / count)).all())


@pytest.mark.parametrize("leading", [(), (6,), (2, 3)])
def test_the_log_density_is_that_of_torch(leading: tuple[int, ...]) -> None:
    posterior = gaussian()
    z = drawn(*leading, B, Z, seed=2)
    torch.testing.assert_close(posterior.log_prob(z), normal(posterior).log_prob(z).sum(-1))


def test_the_kl_of_each_dimension_is_that_of_torch() -> None:
    posterior = gaussian()
    expected = kl_divergence(normal(posterior), Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.kl_from_standard_normal(), expected)
    zero = Gaussian(torch.zeros(1, Z), torch.zeros(1, Z))
    assert not zero.kl_from_standard_normal().any()


def test_gradients_reach_the_mean_and_the_variance_through_a_sample() -> None:
    mean, log_variance, noise = drawn(B, Z).requires_grad_(), drawn(B, Z, seed=1).requires_grad_(), drawn(B, Z, seed=2)
    Gaussian(mean, log_variance).sample(noise).sum().backward()
    assert mean.grad is not None and log_variance.grad is not None
    torch.testing.assert_close(mean.grad, torch.ones(B, Z))
    torch.testing.assert_close(log_variance.grad, noise * torch.exp(log_variance.detach()).sqrt() / 2)


def test_linear_heads_are_two_linear_maps() -> None:
    made, summary = heads(), drawn(B, S)
    posterior = made(summary)
    for head, value in ((made.mean, posterior.mean), (made.scale, posterior.log_variance)):
        assert isinstance(head, nn.Linear)
        torch.testing.assert_close(value, summary @ head.weight.T + head.bias)


def test_highway_heads_have_a_highway_each() -> None:
    made, summary = heads(heads="highway"), drawn(B, S)
    posterior = made(summary)
    for head, value in ((made.mean, posterior.mean), (made.scale, posterior.log_variance)):
        assert isinstance(head, nn.Sequential)
        highway, linear = head
        assert isinstance(highway, Highway) and isinstance(linear, nn.Linear)
        gate = torch.sigmoid(summary @ highway.gate.weight.T + highway.gate.bias)
        changed = (summary @ highway.transform.weight.T + highway.transform.bias).clamp(min=0)
        expected = (gate * changed + (1 - gate) * summary) @ linear.weight.T + linear.bias
        torch.testing.assert_close(value, expected)


def test_heads_without_bias_map_nothing_to_the_standard_normal() -> None:
    made = heads(bias=False)
    assert {name for name, _ in made.named_parameters()} == {"mean.weight", "scale.weight"}
    posterior = made(torch.zeros(1, S))
    assert not posterior.mean.any() and not posterior.log_variance.any()


def test_a_log_std_head_gives_the_log_of_the_standard_deviation() -> None:
    made, summary = heads(scale="log_std"), drawn(B, S)
    torch.testing.assert_close(made(summary).std, made.scale(summary).exp())


def test_a_softplus_head_gives_the_variance_itself() -> None:
    made, summary = heads(scale="softplus"), 3 * drawn(B, S)
    output = summary @ made.scale.weight.T + made.scale.bias
    posterior = made(summary)
    torch.testing.assert_close(posterior.std.square(), torch.log(1 + torch.exp(output)))
    torch.testing.assert_close(posterior.log_variance.exp(), torch.log(1 + torch.exp(output)))


@pytest.mark.parametrize("output", [-30.0, -150.0, 50.0])
def test_a_softplus_head_stays_finite_far_out(output: float) -> None:
    """log softplus(x) is x far below 0 and log x far above."""
    made = heads(scale="softplus")
    with torch.no_grad():
        made.scale.weight.zero_()
        made.scale.bias.fill_(output)
    log_variance = made(drawn(1, S)).log_variance
    torch.testing.assert_close(log_variance, torch.full((1, Z), output if output < 0 else math.log(output)))
    log_variance.sum().backward()
    slope = torch.full((Z,), 1.0 if output < 0 else 1 / output)
    torch.testing.assert_close(made.scale.bias.grad, slope)


@pytest.mark.parametrize("scale", ["log_variance", "softplus"])
def test_the_log_variance_has_a_lower_limit(scale: Any) -> None:
    free, limited = heads(scale=scale), heads(scale=scale, min_log_variance=-0.5)
    summary = 3 * drawn(20, S)
    without, with_limit = free(summary).log_variance.detach(), limited(summary).log_variance.detach()
    assert float(without.min()) < -0.5 < float(without.max())
    torch.testing.assert_close(with_limit, torch.where(without < -0.5, torch.tensor(-0.5), without))


@pytest.mark.parametrize("options", [{}, {"scale": "softplus"}, {"heads": "highway"}])
def test_the_posterior_is_float32_under_autocast(options: dict[str, Any]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        posterior = heads(**options)(drawn(B, S))
    assert posterior.mean.dtype == posterior.log_variance.dtype == torch.float32


def test_the_posterior_of_a_float64_model_is_float64() -> None:
    posterior = heads().double()(drawn(B, S).double())
    assert posterior.mean.dtype == posterior.log_variance.dtype == torch.float64


@pytest.mark.parametrize("limit", [math.nan, math.inf, -math.inf])
def test_a_limit_that_is_no_number_is_refused(limit: float) -> None:
    with pytest.raises(UsageError, match=r"posterior\.min_log_variance"):
        PosteriorConfig(min_log_variance=limit)
