"""`textae sweep`: trials in several processes, one study, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from callbacks.finite_loss import DivergedError
from experiments import sweep_worker
from experiments.sweep_command import _report
from experiments.sweep_worker import open_study, work

Command = Callable[..., Any]
SHORT = (
    "--trainer.max_epochs=2",
    "--trainer.logger=false",
    "--trainer.callbacks=[]",
    "--data.init_args.subset.train=200",
    "--data.init_args.subset.valid=50",
    "--model.init_args.embedding.size=8",
    "--model.init_args.encoder.hidden_size=8",
    "--model.init_args.decoder.hidden_size=8",
)


def sweep(folder: Path, *options: str) -> subprocess.Popen[str]:
    hidden = ("TEXTAE_", "SLURM_", "WANDB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    kept |= {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "experiments.cli", "sweep", "--config=svae_reviews", *options]
    return subprocess.Popen(
        [*command, *SHORT, "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"],
        cwd=folder,
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def states(folder: Path) -> list[TrialState]:
    study = folder / "runs" / "svae_reviews_sweep"
    if not (study / "wandb_sweep.yaml").is_file():  # written once the study is there
        return []
    return [trial.state for trial in open_study(study / "study.db", study.name, 0).trials]


@pytest.mark.slow
def test_twelve_trials_of_two_workers_one_of_which_is_killed(tmp_path: Path) -> None:
    process = sweep(tmp_path, "--trials=12", "--workers=2")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + 200
    while time.monotonic() < end and sum(state == TrialState.COMPLETE for state in states(tmp_path)) < 2:
        time.sleep(0.5)
    assert process.poll() is None, process.communicate()
    workers = [int(child) for child in children.read_text().split()]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=500)
    assert process.returncode == 0, printed
    folder = tmp_path / "runs" / "svae_reviews_sweep"
    study = open_study(folder / "study.db", folder.name, 0)
    done = [trial for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert 12 <= len(done) <= 13
    best = min(trial.value for trial in done if trial.state == TrialState.COMPLETE and trial.value is not None)
    assert f"{best:.4f}" in printed and "1 of 2 workers died (-9)" in printed
    assert "best, trial" in printed and "--model.init_args.optimizer.lr=" in printed
    assert (folder / "importance.png").stat().st_size > 0


def test_several_processes_may_start_one_study(tmp_path: Path) -> None:
    """Each makes the tables it does not find, at the same moment as the others."""
    start = threading.Barrier(4)

    def open_one(seed: int) -> str:
        start.wait()
        return open_study(tmp_path / "study.db", "s", seed).study_name

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(open_one, range(4))) == ["s"] * 4


def test_a_study_goes_on_and_prunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process: trials whose course is known, of which the bad one is stopped where the median says so."""
    courses = iter([[3.0, 2.0, 1.0]] * 5 + [[9.0, 8.0, 7.0], [3.0, 1.0, 0.5]])
    seen = []

    def train(trial: optuna.Trial, arguments: list[str]) -> float:
        seen.append(arguments)
        course = next(courses)
        for step, value in enumerate(course):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return course[-1]

    monkeypatch.setattr(sweep_worker, "train", train)
    space = {"x": {"distribution": "uniform", "min": 0.0, "max": 1.0}}
    work(open_study(tmp_path / "study.db", "s", 0), space, 3, ["--config=c"])
    work(open_study(tmp_path / "study.db", "s", 0), space, 3, ["--config=c"])  # has them already
    assert len(seen) == 3
    work(open_study(tmp_path / "study.db", "s", 0), space, 7, ["--config=c"])
    study = open_study(tmp_path / "study.db", "s", 0)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 5 + [
        TrialState.PRUNED,
        TrialState.COMPLETE,
    ]
    assert study.best_value == 0.5
    assert seen[0][:3] == ["fit", "--config=c", "--test_after_fit=false"]
    assert [arguments[3] for arguments in seen] == [f"--x={trial.params['x']}" for trial in study.trials]


def test_a_trial_that_diverges_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([None, 2.0])

    class Trained:
        def __init__(self, trial: optuna.Trial, arguments: list[str]) -> None:
            value = next(values)
            if value is None:
                raise DivergedError("the loss is no finite number")
            self.trainer, self.model = value, SimpleNamespace(monitor="val/nll")

    monkeypatch.setattr(sweep_worker, "TrialCLI", Trained)
    monkeypatch.setattr(sweep_worker, "best_checkpoint", lambda value, _: SimpleNamespace(best_model_score=value))
    study = open_study(tmp_path / "study.db", "s", 0)
    work(study, {"x": {"distribution": "uniform", "min": 0.0, "max": 1.0}}, 2, [])
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED, TrialState.COMPLETE]


def test_a_study_that_goes_on_draws_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_worker, "train", lambda trial, arguments: trial.params["x"])
    space = {"x": {"distribution": "uniform", "min": 0.0, "max": 1.0}}
    for trials in (2, 4):
        work(open_study(tmp_path / "study.db", "s", 0), space, trials, [])
    drawn = [trial.params["x"] for trial in open_study(tmp_path / "study.db", "s", 0).trials]
    assert len(set(drawn)) == 4
    again = open_study(tmp_path / "another.db", "s", 0)
    work(again, space, 2, [])
    assert [trial.params["x"] for trial in again.trials] == drawn[:2]


@pytest.mark.filterwarnings("ignore:Some regimes:UserWarning")  # Optuna, of an importance by so few trials
def test_the_table_of_a_study_with_two_search_spaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = optuna.create_study()
    for value, params in ((1.0, {"a.lr": 0.25}), (2.0, {"a.size": 7, "a.lr": 0.5})):
        drawn = {name: optuna.distributions.FloatDistribution(0, 10) for name in params}
        study.add_trial(optuna.create_trial(value=value, params=params, distributions=drawn))
    _report(study, tmp_path, "textae fit", [0], 2)
    lines = [line.split() for line in capsys.readouterr().out.replace("│", " ").replace("┃", " ").splitlines()]
    assert ["trial", "value", "lr", "size"] in lines
    assert ["0", "1.0000", "0.25"] in lines and ["1", "2.0000", "0.5", "7"] in lines


def test_one_worker_and_the_file_for_wandb(tmp_path: Path) -> None:
    process = sweep(tmp_path, "--trials=1")
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    folder = tmp_path / "runs" / "svae_reviews_sweep"
    assert (folder / "trial_0" / "checkpoints" / "best.ckpt").is_file()
    assert not (folder / "trial_0" / "test_metrics.json").exists()
    content = yaml.safe_load((folder / "wandb_sweep.yaml").read_text())
    assert content["metric"] == {"name": "val/objective", "goal": "minimize"}
    assert content["parameters"]["model.init_args.posterior.latent_size"] == {"values": [8, 16, 32, 64]}
    assert content["command"][:3] == ["textae", "fit", "--config=svae_reviews"] and "${args}" in content["command"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--config=svae_reviews", "--trials=0"), "--trials is 0"),
        (("--config=svae_reviews", "--workers=0"), "--workers is 0"),
        (("--config=nowhere",), "nowhere"),
        (("--config=svae_reviews", "--space=nowhere"), "bowman"),
        (("--config=svae_reviews", "--model.init_args.nothing=3"), "nothing"),
    ],
)
def test_what_is_wrong_is_said_before_a_worker_starts(options: tuple[str, ...], named: str, textae: Command) -> None:
    assert named in textae("sweep", *options, fails=True).error


def test_a_file_that_is_no_study_is_named(tmp_path: Path, textae: Command) -> None:
    study = tmp_path / "svae_reviews_sweep" / "study.db"
    study.parent.mkdir()
    study.write_text("not a data base\n" * 100)
    error = textae("sweep", "--config=svae_reviews", f"--runs={tmp_path}", fails=True).error
    assert str(study) in error and "not a database" in error and "move it away" in error
