"""What the experiments promise, trained for minutes: the checks of `make test-all`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def figures(runs: Path, experiment: str) -> dict[str, float]:
    [file] = (runs / experiment).glob("*/test_metrics.json")
    metrics = json.loads(file.read_text())["metrics"]
    return {name: figure["value"] for name, figure in metrics.items()}


@pytest.mark.slow
def test_daae_separates_the_binary_clusters(textae: Command, quiet: tuple[str, ...], tmp_path: Path) -> None:
    textae("fit", "--config=daae_binary_clusters", "--trainer.logger=false", *quiet)
    [picture] = (tmp_path / "runs").glob("daae_binary_clusters/*/plots/latent_map.png")
    assert picture.stat().st_size > 0
    assert figures(tmp_path / "runs", "daae_binary_clusters")["test/knn_purity"] >= 0.95


@pytest.mark.slow
def test_the_default_experiment_learns_the_grammar(textae: Command, quiet: tuple[str, ...], tmp_path: Path) -> None:
    textae("fit", "--config=daae_reviews", "--trainer.logger=false", *quiet)
    found = figures(tmp_path / "runs", "daae_reviews")
    assert found["test/reconstruction_bleu"] >= 0.55
    assert found["test/prior_grammatical"] >= 0.5
    assert found["test/prior_grammatical_sampled"] >= 0.5
    assert found["test/tense_accuracy"] >= 0.8
    assert found["test/tense_bleu"] >= max(0.45, found["test/tense_copy_bleu"] + 0.1)
    assert found["test/sentiment_accuracy"] >= 0.6 and found["test/sentiment_content"] >= 0.75
