"""`make evaluate`: the protocol on a run."""

from __future__ import annotations

import json
import math
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


@pytest.mark.parametrize("name", ["svae", "vae_avg"])
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
    assert figures["test/melbo"]["kind"] == "MELBO" and figures["test/melbo_sentences"]["value"] == 48
    assert "importance-weighted" in printed and "to the floor" in printed
    assert (file.parent / "plots" / "melbo.png").stat().st_size > 0
