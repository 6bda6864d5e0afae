"""What a run leaves for W&B and in `metrics.csv`, without an account, a network or anybody to ask."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

SMALL = (
    "--trainer.max_epochs=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.accelerator=cpu",
    "--data.init_args.subset={train: 64, valid: 40, test: 40}",
    "--data.init_args.batching.sentences=16",
    "--model.init_args.encoder.hidden_size=16",
    "--model.init_args.decoder.hidden_size=16",
    "--model.init_args.posterior.latent_size=4",
)


def run(*command: str, folder: Path) -> str:
    hidden = ("WANDB_", "HF_", "NETRC", "TEXTAE_", "SLURM_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    kept |= {"HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=kept,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    assert "WARNING" not in ended.stderr, ended.stderr  # W&B's, of what the user has no part in
    return ended.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the loggers that it has by default, in a process that has no terminal."""
    place = tmp_path_factory.mktemp("logged")
    run("experiments.cli", "fit", "--config", "daae_reviews", *SMALL, folder=place)
    [made] = (place / "runs" / "daae_reviews").iterdir()
    return made


def test_wandb_offline(folder: Path) -> None:
    [offline] = (folder / "wandb").glob("offline-run-*")
    inspected = run("wandb", "leet", "inspect", "--json", str(offline), folder=folder)
    records: list[dict[str, Any]] = [json.loads(line) for line in inspected.splitlines()]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]

    # Steps are the trainer's, losses are there for training and validation, and they are those of `metrics.csv`.
    with (folder / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    for name, count in (("train/loss", 8), ("val/reconstruction", 2), ("test/reconstruction", 1)):
        wandb = {row["trainer/global_step"]: row[name] for row in history if name in row}
        assert len(wandb) == count
        assert wandb == pytest.approx({int(row["step"]): float(row[name]) for row in rows if row[name]})
    logged = {name for row in history for name in row}
    assert {"val/adversarial", "train/discriminator"} <= logged

    # The configuration is the whole one.
    config: dict[str, Any] = {}
    for record in records:
        if record["type"] == "config":
            config |= record["config"]["update"]
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["init_args"]["corruption"] == saved["model"]["init_args"]["corruption"]
    assert config["data"]["init_args"]["subset"]["train"] == 64
    assert config["seed_everything"] == saved["seed_everything"] == 0
    [started] = [record["run"] for record in records if record["type"] == "run"]
    assert started["project"] == "textae"
    assert started["display_name"] == f"daae_reviews/{folder.name}"
    assert started["run_group"] == "daae_reviews"
    assert sorted(started["tags"]) == ["AdversarialAutoencoder", "reviews"]

    # Tables of sentences, in both forms; and pictures.
    tables = offline / "files" / "media" / "table" / "samples"
    for name in ("reconstructions", "prior", "interpolations", "tense"):
        newest = max(tables.glob(f"{name}_[0-9]*.table.json"), key=lambda file: int(file.name.split("_")[1]))
        table = json.loads(newest.read_text())
        text = (folder / "samples" / f"{name}.txt").read_text()
        assert table["data"]
        for row in table["data"]:
            for column, cell in zip(table["columns"], row, strict=True):
                assert any(line.split("  ", 1)[0] == column and cell in line for line in text.splitlines())
    pictures = {file.name.split("_")[0] for file in (offline / "files" / "media" / "images" / "plots").iterdir()}
    assert pictures == {"kl", "latent", "loss"}


def test_metrics_csv(folder: Path) -> None:
    with (folder / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    losses = [(int(row["step"]), float(row["train/loss"])) for row in rows if row["train/loss"]]
    assert [step for step, _ in losses] == list(range(8))  # 64 sentences in batches of 16, twice
    assert [int(row["step"]) for row in rows if row["val/reconstruction"]] == [3, 7]
    [tested] = [row for row in rows if row["test/reconstruction"]]
    metrics = json.loads((folder / "test_metrics.json").read_text())["metrics"]
    for name, figure in metrics.items():
        assert float(tested[name]) == pytest.approx(figure["value"])
    assert (folder / "plots" / "loss_curves.png").stat().st_size > 0
    assert (folder / "finished").exists()


def test_a_run_that_goes_on_keeps_its_id(folder: Path) -> None:
    place = folder.parents[2]
    (folder / "finished").unlink()
    run("experiments.cli", "fit", "--config", "daae_reviews", *SMALL, "--ckpt_path", "last", folder=place)
    assert [made.name for made in (place / "runs" / "daae_reviews").iterdir()] == [folder.name]
    names = sorted(part.name for part in (folder / "wandb").glob("offline-run-*"))
    assert len(names) == 2 and len({name.rpartition("-")[2] for name in names}) == 1
