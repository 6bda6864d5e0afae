"""A fit that broke off and goes on ends as one that never did: weights, checkpoints, and the rows of `metrics.csv`."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from experiments.resuming import wandb_id
from experiments.runs import unfinished_run

Command = Callable[..., Any]
SIZES = (
    "--trainer.max_epochs=3",
    "--trainer.log_every_n_steps=3",
    "--data.init_args.subset.train=300",
    "--data.init_args.subset.valid=40",
    "--data.init_args.subset.test=40",
    "--data.init_args.batching.sentences=16",
    "--model.init_args.embedding.size=8",
    "--model.init_args.encoder.hidden_size=8",
    "--model.init_args.decoder.hidden_size=8",
    "--model.init_args.posterior.latent_size=4",
    "--last_checkpoint.every_n_train_steps=4",
    "--trainer.callbacks=[callbacks.RunFolder, callbacks.Throughput, callbacks.Summary]",
    "--trainer.logger={class_path: callbacks.ResumableCSVLogger, init_args: {save_dir: runs}}",
)
STOP = "--trainer.callbacks+=breaking.Break"
# One with one automatic optimisation, one whose critic clips and steps by itself, one that keeps a state of its own.
FAMILIES = ("daae_reviews", "arae_reviews", "lagging_svae_reviews")


def rows(folder: Path) -> list[dict[str, str]]:
    """Of `metrics.csv`, but for what a clock or the operating system said."""
    measured = ("per_second", "share", "memory")
    with (folder / "metrics.csv").open() as lines:
        return [
            {name: value for name, value in row.items() if not any(word in name for word in measured)}
            for row in csv.DictReader(lines)
        ]


def assert_same(folder: Path, whole: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (torch.load(each / "checkpoints" / name, weights_only=True) for each in (folder, whole))
        assert one["global_step"] == other["global_step"] and one["epoch"] == other["epoch"]
        for key, weights in other["state_dict"].items():
            assert torch.equal(one["state_dict"][key], weights), (name, key)
        torch.testing.assert_close(one["optimizer_states"], other["optimizer_states"], rtol=0, atol=0)
        assert one["lr_schedulers"] == other["lr_schedulers"]
    assert rows(folder) == rows(whole)
    assert (folder / "finished").exists()


def test_a_fit_without_validation(
    textae: Command, quiet: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = ("fit", "--config=daae_reviews", *SIZES, "--trainer.limit_val_batches=0", *quiet)
    textae(*fit, "--runs=whole")
    for step in (21, 45):  # in the second epoch, and in the third
        monkeypatch.setenv("BREAK", f"{step} batch")
        with pytest.raises(RuntimeError, match="broken"):
            textae(*fit, "--ckpt_path=last", "--last_checkpoint.every_n_train_steps=null", STOP)
    monkeypatch.delenv("BREAK")
    textae(*fit, "--ckpt_path=last")
    [whole], [folder] = ((tmp_path / runs / "daae_reviews").iterdir() for runs in ("whole", "runs"))
    one, other = (torch.load(each / "checkpoints" / "last.ckpt", weights_only=True) for each in (folder, whole))
    assert all(torch.equal(one["state_dict"][key], weights) for key, weights in other["state_dict"].items())
    assert rows(folder) == rows(whole)


@pytest.mark.parametrize(
    ("family", "validations"),
    [(family, 2) for family in FAMILIES]
    + [pytest.param("daae_reviews", count, marks=pytest.mark.slow) for count in (1, 5)],
)
def test_a_fit_that_broke_off_five_times(
    family: str,
    validations: int,
    textae: Command,
    quiet: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit = ("fit", f"--config={family}", *SIZES, f"--trainer.val_check_interval={1 / validations}", *quiet)
    textae(*fit, "--runs=whole")
    [whole] = (tmp_path / "whole" / family).iterdir()
    # The first one dies before any checkpoint, the second inside the first epoch, the third inside a validation ...
    for step, where in ((2, "batch"), (7, "batch"), (19, "validation"), (28, "validated"), (45, "batch")):
        monkeypatch.setenv("BREAK", f"{step} {where}")
        with pytest.raises(RuntimeError, match="broken"):
            textae(*fit, "--ckpt_path=last", STOP)
    monkeypatch.delenv("BREAK")
    textae(*fit, "--ckpt_path=last")
    [folder] = (tmp_path / "runs" / family).iterdir()
    assert_same(folder, whole)
    # What came to its end is left alone.
    textae(*fit, "--ckpt_path=last", "--trainer.max_epochs=1")
    assert len(list((tmp_path / "runs" / family).iterdir())) == 2
    assert_same(folder, whole)


def test_an_unfinished_run_goes_on_as_it_began(
    textae: Command, quiet: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = ("fit", "--config=daae_reviews", *SIZES, *quiet, "--ckpt_path=last")
    monkeypatch.setenv("BREAK", "25 batch")
    with pytest.raises(RuntimeError, match="broken"):
        textae(*fit, STOP)
    monkeypatch.delenv("BREAK")
    [folder] = (tmp_path / "runs" / "daae_reviews").iterdir()
    before = (folder / "config.yaml").read_text()
    for option, named in (
        ("--model.init_args.corruption.drop=0.1", "corruption.drop 0.3 to 0.1"),
        ("--data.init_args.subset.train=200", "subset.train 300 to 200"),
        ("--trainer.precision=bf16-mixed", "trainer.precision"),
    ):
        error = textae(*fit, option, fails=True).error
        assert named in error and str(folder) in error
    assert (folder / "config.yaml").read_text() == before and not (folder / "finished").exists()
    last = folder / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[:1000])
    assert "remove that file" in textae(*fit, fails=True).error
    last.write_bytes(whole)
    with FileLock(folder / ".lock"):
        assert "another process trains" in textae(*fit, fails=True).error
    # More epochs, other callbacks that measure, and another place of the data are no other run.
    textae(*fit, "--trainer.max_epochs=4", "--trainer.callbacks+=callbacks.LossCurves")
    assert [run.name for run in (tmp_path / "runs" / "daae_reviews").iterdir()] == [folder.name]
    assert torch.load(last, weights_only=True)["epoch"] == 3


def test_what_died_in_its_test_is_tested(textae: Command, quiet: tuple[str, ...], tmp_path: Path) -> None:
    fit = ("fit", "--config=daae_reviews", *SIZES, *quiet, "--ckpt_path=last")
    textae(*fit)
    [folder] = (tmp_path / "runs" / "daae_reviews").iterdir()
    figures = (folder / "test_metrics.json").read_text()
    before = rows(folder)
    for name in ("finished", "test_metrics.json"):
        (folder / name).unlink()
    textae(*fit)
    assert (folder / "test_metrics.json").read_text().count("value") == figures.count("value")
    assert (folder / "finished").exists() and rows(folder) == before


@pytest.mark.parametrize(
    ("seed", "environment", "found"),
    [
        (0, {}, "c"),
        (1, {}, "b"),
        (2, {}, None),
        # A job goes on with its own run alone, whatever else lies there.
        (0, {"SLURM_JOB_ID": "a"}, "a"),
        (0, {"SLURM_JOB_ID": "d"}, None),
        (0, {"SLURM_JOB_ID": "77"}, "77_2"),
        (0, {"TEXTAE_VERSION": "c", "SLURM_JOB_ID": "a"}, "c"),
        (0, {"SLURM_JOB_ID": "7"}, None),
    ],
)
def test_which_run_it_goes_on_with(
    seed: int, environment: dict[str, str], found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TEXTAE_VERSION", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert unfinished_run(tmp_path / "nowhere", 0) is None
    seeds = {"77": "0", "77_2": "0", "a": "0", "b": "1", "c": "0", "d": "0", "e": "broken: {"}
    for number, (name, own) in enumerate(seeds.items()):
        file = tmp_path / name / "config.yaml"
        file.parent.mkdir()
        file.write_text(f"seed_everything: {own}\n")
        os.utime(file, (number, number))
    for name in ("77", "d"):
        (tmp_path / name / "finished").touch()
    assert unfinished_run(tmp_path, seed) == (None if found is None else tmp_path / found)
    # All processes of the job, which are given its environment, take the same one.
    assert found is None or os.environ["TEXTAE_VERSION"] == found


def test_the_id_that_wandb_gave(tmp_path: Path) -> None:
    assert wandb_id(tmp_path) is None
    for name in ("offline-run-20240101_120000-older", "run-20240102_120000-of-two-words", "latest-run", "debug.log"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    assert wandb_id(tmp_path) == "of-two-words"


# Every process is a copy of one that has imported everything, and is killed wherever it is then.
KILLED = """
import os, random, signal, sys, time
import experiments.lightning_cli
from experiments.cli import main

random.seed(0)
kills = 0
while True:
    process = os.fork()
    if process == 0:
        os.environ.pop("TEXTAE_VERSION", None)
        main(sys.argv[1:])
        os._exit(0)
    end = time.monotonic() + (random.uniform(0.2, 2.0) if kills < 20 else 1000)
    while (done := os.waitpid(process, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
        time.sleep(0.005)
    if done != (0, 0):
        assert os.waitstatus_to_exitcode(done[1]) == 0
        break
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    kills += 1
print("kills", kills)
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES[:2])
def test_twenty_kills(family: str, textae: Command, quiet: tuple[str, ...], tmp_path: Path) -> None:
    fit = ("fit", f"--config={family}", *SIZES, "--trainer.max_epochs=120", *quiet)
    textae(*fit, "--runs=whole")
    [whole] = (tmp_path / "whole" / family).iterdir()
    kept = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", KILLED, *fit, "--ckpt_path=last"]
    ended = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.splitlines()[-1] == "kills 20"
    [folder] = (tmp_path / "runs" / family).iterdir()
    assert_same(folder, whole)
