from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from callbacks import LatentDiagnostics, NeighborhoodRecall, Summary
from datamodules.bucketing import BatchRows
from datamodules.errors import UsageError
from lightning_modules.metrics.active_units import ActiveUnits
from lightning_modules.metrics.entropy import nearest_neighbor_entropy

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
    size: int, fresh: Make, corpus: Make, trainer: Make, means: Make, test_sentences: list[str], tmp_path: Path
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
    aggregate = np.log(np.exp(pairs).mean(axis=1))
    expected = np.mean(np.diag(pairs) - aggregate)
    assert found["test/mutual_information"] == pytest.approx(expected, abs=1e-4)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(torch.from_numpy(z)).sum(-1).numpy()
    assert found["test/aggregate_posterior_kl"] == pytest.approx(np.mean(aggregate - prior), abs=1e-4)
    assert found["test/latent_entropy"] == pytest.approx(float(nearest_neighbor_entropy(torch.from_numpy(z))), abs=1e-4)
    assert found["test/prior_entropy"] == pytest.approx(
        float(torch.distributions.Normal(0.0, 1.0).entropy()) * z.shape[1]
    )

    rows = list(csv.DictReader((tmp_path / "plots" / "kl_per_dimension.csv").read_text().splitlines()))
    standard = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    kl = torch.distributions.kl_divergence(density, standard).mean(0).numpy()
    np.testing.assert_allclose([float(row["kl_nats"]) for row in rows], kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        [float(row["variance_of_mean"]) for row in rows], latents.var(axis=0, ddof=1), rtol=1e-4, atol=1e-9
    )
    assert (tmp_path / "plots" / "kl_per_dimension.png").stat().st_size > 0


def test_the_file_says_what_defines_a_figure(model: Any, corpus: Make, trainer: Make, tmp_path: Path) -> None:
    callbacks = (
        LatentDiagnostics(threshold=0.001, neighbors=2),
        NeighborhoodRecall(neighbors=4, latent_neighbors=(5,)),
        Summary(),
    )
    trainer(*callbacks).test(model, corpus(), verbose=False)
    read = json.loads((tmp_path / "test_metrics.json").read_text())["metrics"]
    assert read["test/active_units"]["threshold"] == 0.001
    for name, neighbors in {"latent_entropy": 2, "prior_entropy_estimate": 2, "neighborhood_recall_5": 4}.items():
        assert read[f"test/{name}"]["neighbors"] == neighbors
    assert {name for name in read if name.rpartition("/")[2] in ("threshold", "neighbors")} == set()


def test_a_deterministic_model_has_no_mutual_information(
    fresh: Make, corpus: Make, trainer: Make, means: Make, test_sentences: list[str]
) -> None:
    data = corpus()
    model = fresh(data.vocabulary_json)
    (found,) = trainer(LatentDiagnostics()).test(model, data, verbose=False)
    assert "test/active_units" in found and "test/mutual_information" not in found
    assert "test/aggregate_posterior_kl" not in found
    codes = torch.from_numpy(means(model, test_sentences))
    assert found["test/latent_entropy"] == pytest.approx(float(nearest_neighbor_entropy(codes)), abs=1e-3)


def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(UsageError, match="threshold"):
        LatentDiagnostics(threshold=-0.1)
    with pytest.raises(UsageError, match="neighbors"):
        LatentDiagnostics(neighbors=0)
