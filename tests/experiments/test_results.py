"""`textae results` and `textae data`: figures as they were measured, and a corpus as it is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch

from callbacks.provenance import provenance

Command = Callable[..., Any]


def write_run(folder: Path, experiment: str, metrics: dict[str, float]) -> dict[str, Any]:
    figures = {name: {"value": value, "kind": "score"} for name, value in metrics.items()}
    record = {"experiment": experiment, "seed": 0, "metrics": figures}
    folder.mkdir(parents=True)
    (folder / "test_metrics.json").write_text(json.dumps(record))
    return record


def test_results_are_gathered_unchanged_and_averaged_over_seeds(textae: Command, tmp_path: Path) -> None:
    values = (0.25, 0.5, 0.625)
    records = [write_run(tmp_path / "runs" / "a" / str(i), "a", {"test/x": x}) for i, x in enumerate(values)]
    records.append(write_run(tmp_path / "runs" / "b" / "0", "b", {"test/y": 2.0}))
    printed = textae("results", "runs/a", "runs/b/0", "--output", "all.json").out
    assert json.loads((tmp_path / "all.json").read_text()) == records
    assert f"{mean(values):.4f} ± {stdev(values):.4f}" in printed
    assert "a (3 seeds)" in printed and "b (1 seeds)" in printed and "2.0000" in printed


def test_runs_of_other_settings_are_not_averaged_together(textae: Command, tmp_path: Path) -> None:
    measured = {(0.1, 0): 1.0, (0.1, 1): 3.0, (0.2, 0): 10.0}
    for (lr, seed), value in measured.items():
        run = tmp_path / "runs" / "a" / f"{lr}-{seed}"
        write_run(run, "a", {"test/x": value})
        init = {"optimizer": {"lr": lr, "name": "adam"}, "seed": seed}
        model = {"class_path": "lightning_modules.Autoencoder", "init_args": init}
        (run / "config.yaml").write_text(json.dumps({"seed_everything": seed, "model": model}))
    printed = textae("results", "runs/a", "--output", "all.json").out
    assert "a lr=0.1 (2 seeds)" in printed and "a lr=0.2 (1 seeds)" in printed
    assert "2.0000" in printed and "10.0000" in printed
    written = json.loads((tmp_path / "all.json").read_text())
    assert [record["settings"] for record in written] == [
        {"model.init_args.optimizer.lr": lr} for lr, _ in sorted(measured)
    ]


@pytest.mark.parametrize("name", ["missing", "empty", "damaged"])
def test_results_name_what_is_wrong(name: str, textae: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "test_metrics.json").write_text('{"metrics":')
    assert name in textae("results", name, fails=True).error


def test_provenance_is_this_checkout_and_machine() -> None:
    found = provenance(torch.device("cpu"))
    root = Path(__file__).parents[2]
    commit = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if commit.returncode == 0:
        assert found["commit"].removesuffix("+changes") == commit.stdout.strip()
    assert found["torch"] == torch.__version__
    assert f"{torch.get_num_threads()} threads" in found["hardware"]


def test_data_describes_the_corpus(textae: Command, write_corpus: Command, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "text", ["a b c", "a b", "a b c d e"])
    (folder / "test.txt").write_text("a z\n\nb b b\n")
    printed = textae("data", "--config=daae_yelp", "--data=TextFolder", f"--data.init_args.data_dir={folder}").out
    assert "vocabulary of 10 with 5 specials" in printed
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    rows = {row[0]: row[1:] for row in cells}
    assert rows["train"] == ["3", "10", "0.00%", "3.33", "2", "3", "5"]
    assert rows["test"][:4] == ["2", "5", "20.00%", "2.50"]


def test_runs_of_two_files_are_told_apart_by_their_settings(
    write_run: Command, textae: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    for seed in range(2):
        folder = write_run("svae_reviews", seed, {"model": {"init_args": {"lr": seed}}}, nll=(15.0, "upper bound"))
        textae("results", folder, "--output", f"{seed}.json")
    printed = textae("results", "0.json", "1.json").out
    assert "lr=0 (1 seeds)" in printed and "lr=1 (1 seeds)" in printed
    for seed in range(2):  # as older versions wrote them
        [record] = json.loads((tmp_path / f"{seed}.json").read_text())
        (tmp_path / f"{seed}.json").write_text(json.dumps([{k: v for k, v in record.items() if k != "configuration"}]))
    printed = textae("results", "0.json", "1.json").out
    assert "file=0 (1 seeds)" in printed and "file=1 (1 seeds)" in printed


@pytest.mark.parametrize(
    ("name", "value"), [("settings", [1]), ("configuration", 3), ("threshold", "x"), ("neighbors", None)]
)
def test_damaged_files_of_results_are_said_to_be(
    name: str, value: Any, write_run: Command, textae: Command, tmp_path: Path
) -> None:
    textae("results", write_run("svae_reviews", 0, active_units=(3.0, "score")), "--output", "all.json")
    [record] = json.loads((tmp_path / "all.json").read_text())
    (record if name in ("settings", "configuration") else record["metrics"]["test/active_units"])[name] = value
    (tmp_path / "all.json").write_text(json.dumps([record]))
    for command in ("results", "compare"):
        assert "all.json" in textae(command, "all.json", fails=True).error


def test_a_file_of_results_stands_for_its_runs(
    write_run: Command, textae: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    for seed, value in enumerate((15.0, 16.0)):
        write_run("lm_reviews", seed, nll=(value, "exact"))
        write_run("svae_reviews", seed, {"model": {"init_args": {"lr": seed}}}, nll=(value, "upper bound"))
    folders = sorted((tmp_path / "runs").glob("*"))
    textae("results", *folders, "--output", "all.json")
    for command, options in (("results", ["--output", "again.json"]), ("compare", [])):
        assert textae(command, "all.json", *options).out == textae(command, *folders).out
    assert (tmp_path / "again.json").read_text() == (tmp_path / "all.json").read_text()
    (tmp_path / "all.json").write_text('[{"experiment": "lm_reviews"}]')
    assert "all.json is damaged: it has no experiment or no metrics" in textae("compare", "all.json", fails=True).error
