from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from callbacks import LatentDiagnostics
from datamodules.bucketing import BatchRows
from datamodules.errors import UsageError
from lightning_modules.metrics.active_units import ActiveUnits

Make = Callable[..., Any]


def test_a_unit_is_active_where_its_mean_varies_by_more_than_the_threshold() -> None:
    random = np.random.default_rng(0)
    means = random.normal(size=(500, 6)) * np.array([1.0, 0.2, 0.12, 0.08, 0.01, 0.0]) + 40.0
    variances = means.var(axis=0, ddof=1)
    for threshold in (0.01, 0.0001, 0.5):
        units = ActiveUnits(6, threshold)
        for part in np.array_split(means, [3, 4, 300]):
            units.update(torch.from_numpy(part))
        np.testing.assert_allclose(units.variances(), variances, rtol=1e-6, atol=1e-9)
        assert int(units.compute()) == int((variances > threshold).sum())


@pytest.mark.parametrize("size", [256, 7])
def test_of_a_model(
    size: int, fresh: Make, corpus: Make, trainer: Make, means: Make, test_sentences: list[str]
) -> None:
    data = corpus(eval_sentences=size)
    model = fresh(data.vocabulary_json)
    model.stochastic = True  # as an autoencoder whose latent is sampled
    (found,) = trainer(LatentDiagnostics(threshold=0.001)).test(model, data, verbose=False)
    latents = means(model, test_sentences)
    assert found["test/active_units"] == int((latents.var(axis=0, ddof=1) > 0.001).sum())
    assert found["test/mutual_information_ceiling"] == pytest.approx(math.log(len(test_sentences)))

    # The same estimate from densities one by one, with the noise that belongs to each sentence.
    batch = data.split("test")[BatchRows(np.arange(len(test_sentences)), 1.0)]
    with torch.no_grad():
        posterior = model.eval().encode(batch)
        z = model.sample_latent(batch, posterior).double().numpy()
    mean, std = posterior.mean.double().numpy(), posterior.std.double().numpy()
    density = torch.distributions.Normal(torch.from_numpy(mean), torch.from_numpy(std))
    pairs = density.log_prob(torch.from_numpy(z)[:, None]).sum(-1).numpy()
    expected = np.mean(np.diag(pairs) - np.log(np.exp(pairs).mean(axis=1)))
    assert found["test/mutual_information"] == pytest.approx(expected, abs=1e-4)


def test_a_deterministic_model_has_no_mutual_information(fresh: Make, corpus: Make, trainer: Make) -> None:
    data = corpus()
    (found,) = trainer(LatentDiagnostics()).test(fresh(data.vocabulary_json), data, verbose=False)
    assert "test/active_units" in found and "test/mutual_information" not in found


def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(UsageError, match="threshold"):
        LatentDiagnostics(threshold=-0.1)
