from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.metrics import mutual_information as module
from lightning_modules.metrics.mutual_information import (
    AggregatePosteriorKL,
    MutualInformation,
    aggregate_log_prob,
    mutual_information,
)


def drawn(count: int, size: int, spread: float = 2.0, seed: int = 0) -> tuple[Gaussian, Tensor]:
    """Posteriors of many means and variances, and a sample of each."""
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance, noise = (torch.randn(count, size, generator=generator) for _ in range(3))
    posterior = Gaussian(spread * mean, log_variance)
    return posterior, posterior.sample(noise)


def components(posterior: Gaussian) -> Independent:
    return Independent(Normal(posterior.mean.double(), (posterior.log_variance.double() / 2).exp()), 1)


def aggregate(posterior: Gaussian) -> MixtureSameFamily:
    """The equal mixture of the posteriors, of PyTorch."""
    return MixtureSameFamily(Categorical(torch.ones(len(posterior.mean), dtype=torch.float64)), components(posterior))


def estimate(posterior: Gaussian, z: Tensor) -> float:
    """By the definition, in float64."""
    return float((components(posterior).log_prob(z.double()) - aggregate(posterior).log_prob(z.double())).mean())


def test_in_one_dimension_it_is_the_integral_up_to_the_noise_of_the_samples() -> None:
    means, variances = [-3.0, -0.5, 0.0, 1.0, 6.0], [0.2, 1.0, 4.0, 0.05, 1.5]
    grid = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    pairs = zip(means, variances, strict=True)
    rows = [torch.exp(-((grid - mean) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var) for mean, var in pairs]
    densities = torch.stack(rows)
    ratio = torch.log(densities.clamp(min=1e-300) / densities.mean(0).clamp(min=1e-300))
    first, second = (torch.trapezoid(densities * ratio**power, grid).mean() for power in (1, 2))
    assert 0.5 < first < math.log(5) - 0.3

    repeats = 1200  # the aggregate of 6000 sentences is then the mixture of the five
    mean, log_variance = (
        torch.tensor(values).repeat(repeats)[:, None] for values in (means, [math.log(var) for var in variances])
    )
    posterior = Gaussian(mean, log_variance)
    z = posterior.sample(torch.randn(5 * repeats, 1, generator=torch.Generator().manual_seed(0)))
    error = math.sqrt((second - first**2) / (5 * repeats))
    assert error < 0.02
    assert float(mutual_information(posterior, z)) == pytest.approx(float(first), abs=4 * error)


@pytest.mark.parametrize("log_variance", [-8.0, 0.0, 3.0])
def test_a_collapsed_posterior_says_nothing(log_variance: float) -> None:
    posterior = Gaussian(torch.full((40, 5), 1.7), torch.full((40, 5), log_variance))
    z = posterior.sample(torch.randn(40, 5, generator=torch.Generator().manual_seed(0)))
    assert float(mutual_information(posterior, z)) == pytest.approx(0, abs=1e-9)


def test_posteriors_far_apart_say_which_sentence_it_is() -> None:
    posterior, z = drawn(50, 1)
    posterior, z = Gaussian(50.0 * torch.arange(50)[:, None], torch.zeros(50, 1)), 50.0 * torch.arange(50)[:, None] + z
    assert float(mutual_information(posterior, z)) == pytest.approx(math.log(50), abs=1e-6)


@pytest.mark.parametrize("size", [1, 3, 32])
def test_the_aggregate_density_is_that_of_the_mixture(size: int) -> None:
    posterior, z = drawn(60, size)
    posterior, z = Gaussian(posterior.mean.double(), posterior.log_variance.double()), z[:25].double()
    found = aggregate_log_prob(posterior, z)
    each = [Normal(*row) for row in zip(posterior.mean, posterior.std, strict=True)]
    pairs = [[normal.log_prob(row).sum() for normal in each] for row in z]
    naive = torch.stack([torch.logsumexp(torch.stack(row), 0) - math.log(60) for row in pairs])
    torch.testing.assert_close(found, naive, rtol=0, atol=1e-10)
    torch.testing.assert_close(found, aggregate(posterior).log_prob(z), rtol=0, atol=1e-10)


@pytest.mark.parametrize("log_variance", [-12.0, -20.0])
def test_narrow_posteriors_do_not_cancel(log_variance: float) -> None:
    """The square multiplied out has terms of 1e8 and more here."""
    posterior, z = drawn(200, 2)
    z = posterior.mean + math.exp(log_variance / 2) * (z - posterior.mean) / posterior.std
    posterior = Gaussian(posterior.mean, torch.full_like(posterior.mean, log_variance))
    assert float(mutual_information(posterior, z)) == pytest.approx(estimate(posterior, z), abs=1e-5)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    posterior, z = drawn(module.CHUNK + 300, 2)
    whole = mutual_information(posterior, z)
    assert float(whole) == pytest.approx(estimate(posterior, z), abs=1e-6)
    for chunk in (1, 7, 10_000):
        monkeypatch.setattr(module, "CHUNK", chunk)
        few = Gaussian(posterior.mean[:90], posterior.log_variance[:90])
        assert float(mutual_information(few, z[:90])) == pytest.approx(estimate(few, z[:90]), abs=1e-6)


def metric_of(posterior: Gaussian, z: Tensor, cuts: list[slice]) -> MutualInformation:
    metric = MutualInformation()
    for cut in cuts:
        metric.update(Gaussian(posterior.mean[cut], posterior.log_variance[cut]), z[cut])
    return metric


def test_the_aggregate_posterior_that_is_the_prior_is_at_no_distance() -> None:
    """Posteriors of variance v around means that are drawn from N(0, 1 - v) make up N(0, I)."""
    count, variance = 20_000, 0.5
    mean, noise = torch.randn(2, count, 1, generator=torch.Generator().manual_seed(0))
    posterior = Gaussian(math.sqrt(1 - variance) * mean, torch.full((count, 1), math.log(variance)))
    metric = AggregatePosteriorKL()
    metric.update(posterior, posterior.sample(noise))
    assert float(metric.compute()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("size", [1, 3])
def test_the_kl_is_information_and_the_aggregate_posteriors_distance(size: int) -> None:
    posterior, z = drawn(70, size, spread=1.0)
    metric = AggregatePosteriorKL()
    metric.update(posterior, z)
    prior = Normal(0.0, 1.0)
    expected = float((aggregate(posterior).log_prob(z.double()) - prior.log_prob(z.double()).sum(1)).mean())
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-6)
    # Over all samples the sum is the closed form of the KL: here over many of each posterior, the same 70.
    repeats = 400
    many = Gaussian(posterior.mean.repeat(repeats, 1), posterior.log_variance.repeat(repeats, 1))
    noise = torch.randn(len(many.mean), size, generator=torch.Generator().manual_seed(1))
    drawn_again = many.sample(noise)
    parts = components(many).log_prob(drawn_again.double()) - prior.log_prob(drawn_again.double()).sum(1)
    closed = float(posterior.kl_from_standard_normal().sum(1).mean())
    assert float(parts.mean()) == pytest.approx(closed, abs=4 * float(parts.std()) / len(parts) ** 0.5)
    both = [MutualInformation(), AggregatePosteriorKL()]
    few = slice(0, 2800)
    for each in both:
        each.update(Gaussian(many.mean[few], many.log_variance[few]), drawn_again[few])
    total = sum(float(each.compute()) for each in both)
    assert total == pytest.approx(float(parts[few].mean()), abs=1e-5)


def test_batches_and_merged_parts_are_the_whole_and_not_a_mean_of_theirs() -> None:
    posterior, z = drawn(70, 3, spread=10)
    expected = estimate(posterior, z)
    cuts = [slice(0, 1), slice(1, 40), slice(40, 70)]
    assert float(metric_of(posterior, z, cuts).compute()) == pytest.approx(expected, abs=1e-6)
    merged = metric_of(posterior, z, cuts[:2])
    merged.merge_state(metric_of(posterior, z, cuts[2:]))
    assert float(merged.compute()) == pytest.approx(expected, abs=1e-6)
    parts = [float(metric_of(posterior, z, [cut]).compute()) for cut in cuts]
    assert max(parts) < expected - 0.3


def test_ranks_are_put_together() -> None:
    posterior, z = drawn(70, 3)
    mine, other = metric_of(posterior, z, [slice(0, 20), slice(20, 30)]), metric_of(posterior, z, [slice(30, 70)])
    theirs = iter([*other.means, *other.log_variances, *other.latents])
    mine.distributed_available_fn = lambda: True
    mine.dist_sync_fn = lambda value, group: [value, next(theirs)]
    assert float(mine.compute()) == pytest.approx(estimate(posterior, z), abs=1e-6)


def test_a_reset_forgets() -> None:
    posterior, z = drawn(40, 3)
    metric = metric_of(*drawn(30, 3, seed=1), [slice(None)])
    metric.compute()
    metric.reset()
    metric.update(posterior, z)
    assert float(metric.compute()) == pytest.approx(estimate(posterior, z), abs=1e-6)
