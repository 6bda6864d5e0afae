"""`make evaluate`: the protocol on a run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
SIZES = (
    *(f"--data.init_args.subset.{split}=48" for split in ("train", "valid", "test")),
    "--model.init_args.embedding.size=8",
    "--model.init_args.encoder.hidden_size=8",
    "--model.init_args.decoder.hidden_size=8",
    "--model.init_args.posterior.latent_size=2",
)


@pytest.mark.parametrize("name", ["svae", pytest.param("vae_avg", marks=pytest.mark.slow)])
def test_bounds_lie_in_their_order_above_the_floor(
    name: str, textae: Command, quiet: tuple[str, ...], tmp_path: Path
) -> None:
    textae("fit", f"--config={name}_reviews", "--trainer.max_epochs=2", "--trainer.logger=false", *SIZES, *quiet)
    printed = textae("test", "--run", f"runs/{name}_reviews", "--config", "_protocol").out
    [file] = (tmp_path / "runs").glob(f"{name}_reviews/*/test_metrics.json")
    record = json.loads(file.read_text())
    figures = record["metrics"]
    assert record["checkpoint"] == "best.ckpt" and record["fit_seconds"] > 0
    elbo, weighted, floor = (figures[f"test/{part}"] for part in ("negative_elbo", "nll_iw", "floor"))
    errors = 3 * math.hypot(elbo["monte_carlo_error"], weighted["monte_carlo_error"])
    assert elbo["value"] >= weighted["value"] - errors
    assert weighted["value"] >= floor["value"] and weighted["gap"] >= 0
    for figure in (elbo, weighted):
        assert figure["below_floor"] is False and figure["error"] > 0 and figure["convention"] == "eos_in_both"
    assert figures["test/melbo"]["kind"] == "MELBO" and figures["test/melbo"]["sentences"] == 48
    assert "importance-weighted" in printed and "to the floor" in printed
    assert (file.parent / "plots" / "melbo.png").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("state", ["untrained", "trained", "overtrained"])
def test_no_state_of_training_brings_a_bound_below_the_floor(
    state: str, textae: Command, quiet: tuple[str, ...], tmp_path: Path
) -> None:
    """K = 500. The overtrained one knows a hundred sentences by heart; the last checkpoint is tested, not the best."""
    length = {
        "untrained": ("--trainer.max_epochs=1", "--data.init_args.subset.train=64"),
        "trained": ("--trainer.max_epochs=4", "--data.init_args.subset.train=8000"),
        "overtrained": ("--trainer.max_epochs=150", "--data.init_args.subset.train=100"),
    }[state]
    sizes = ("--data.init_args.subset.valid=100", "--data.init_args.subset.test=300")
    rare = () if state != "overtrained" else ("--trainer.check_val_every_n_epoch=50",)
    common = ("--config=svae_reviews", "--trainer.logger=false", "--model.init_args.optimizer.lr=3.0e-3")
    textae("fit", *common, *length, *sizes, *rare, *quiet)
    [run] = (tmp_path / "runs" / "svae_reviews").iterdir()
    last = run / "checkpoints" / "last.ckpt"
    textae("test", "--config", run / "config.yaml", "--ckpt_path", last, "--config", "_protocol")
    figures = json.loads((run / "test_metrics.json").read_text())["metrics"]
    elbo, weighted, floor = (figures[f"test/{part}"] for part in ("negative_elbo", "nll_iw", "floor"))
    errors = 3 * math.hypot(elbo["monte_carlo_error"], weighted["monte_carlo_error"])
    assert elbo["value"] >= weighted["value"] - errors
    assert weighted["value"] >= floor["value"] - 3 * weighted["monte_carlo_error"]
    assert not elbo["below_floor"] and not weighted["below_floor"]
    limits = {"untrained": (40, math.inf), "trained": (16, 24), "overtrained": (26, math.inf)}[state]
    assert limits[0] < elbo["value"] < limits[1]  # the states are what their names say


@pytest.mark.slow
def test_where_z_says_much_bounds_stay_above_the_floor_and_what_is_none_falls_below(
    textae: Command, quiet: tuple[str, ...], tmp_path: Path
) -> None:
    """VAE-AVG as shipped, whose KL counts five times in its bound and once in its paper's figure."""
    textae("fit", "--config=vae_avg_reviews", "--trainer.logger=false", "--test_after_fit=false", *quiet)
    [run] = (tmp_path / "runs" / "vae_avg_reviews").iterdir()
    weighted = ("--trainer.callbacks+=callbacks.ImportanceWeightedNLL", "--trainer.callbacks.init_args.samples=100")
    textae("test", "--run", run, *weighted)
    figures = json.loads((run / "test_metrics.json").read_text())["metrics"]
    elbo, sampled, floor, once, kl = (
        figures[f"test/{name}"] for name in ("negative_elbo", "nll_iw", "floor", "nll_kl_once", "kl")
    )
    assert kl["value"] > 1 and elbo["value"] == pytest.approx(once["value"] + 4 * kl["value"], abs=1e-3)
    assert elbo["value"] > sampled["value"] + 1  # z says much, so that more samples tell more
    assert sampled["value"] > floor["value"] - 3 * sampled["monte_carlo_error"]
    assert not elbo["below_floor"] and not sampled["below_floor"]
    assert once["value"] < floor["value"] and once["below_floor"]


@pytest.mark.slow
def test_batches_and_ranks_do_not_matter(textae: Command, quiet: tuple[str, ...], tmp_path: Path) -> None:
    """47 sentences: neither batches of 7 nor two processes share them evenly."""
    odd = [option.replace("=48", "=47") for option in SIZES]
    textae("fit", "--config=vae_avg_reviews", "--trainer.max_epochs=1", "--trainer.logger=false", *odd, *quiet)
    [run] = (tmp_path / "runs" / "vae_avg_reviews").iterdir()
    protocol = ["test", "--run", str(run), "--config", "_protocol"]
    protocol += [
        "--trainer.callbacks+=callbacks.NeighborhoodRecall",
        "--trainer.callbacks.init_args.latent_neighbors=[10, 20]",
    ]

    def figures() -> dict[str, float]:
        record = json.loads((run / "test_metrics.json").read_text())
        assert record["sentences"] == 47
        kinds = ("value", "error", "monte_carlo_error")
        found = {
            f"{name} {kind}": figure[kind]
            for name, figure in record["metrics"].items()
            for kind in kinds
            if kind in figure
        }
        dimensions = (run / "plots" / "kl_per_dimension.csv").read_text().split()[1:]
        return found | {
            f"{row} {column}": float(value)
            for row, line in enumerate(dimensions)
            for column, value in enumerate(line.split(","))
        }

    textae(*protocol)
    one = figures()
    assert len(one) > 100
    # In the corpus' order, too, instead of by length.
    textae(*protocol, "--data.init_args.batching.eval_sentences=7", "--data.init_args.batching.bucket_width=100")
    assert figures() == pytest.approx(one, rel=1e-4, abs=1e-5)
    (run / "test_metrics.json").unlink()
    # Lightning starts the second process as the first was started, which in here would be pytest.
    two = [sys.executable, "-m", "experiments.cli", *protocol, "--trainer.devices=2", "--trainer.strategy=ddp"]
    subprocess.run(two, check=True, timeout=300, cwd=tmp_path)
    assert figures() == pytest.approx(one, rel=1e-4, abs=1e-5)
