"""`textae sweep`: searches settings of an experiment with Optuna, in several processes."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.table import Table

from datamodules.errors import UsageError, require
from experiments.runs import VERSION_VARIABLE, find_config
from experiments.search_space import Space, read_space

if TYPE_CHECKING:
    import optuna


def run(args: list[str]) -> None:
    """Starts the workers, waits for them, and prints the trials, the best one and which options mattered."""
    parser = argparse.ArgumentParser(
        prog="textae sweep",
        exit_on_error=False,
        description="Trains an experiment with settings that Optuna draws; what is worse than the median is stopped.",
        epilog="Everything else goes to `textae fit`. The same command again goes on where the sweep was.",
    )
    parser.add_argument("-c", "--config", required=True, metavar="EXPERIMENT", help="a YAML file or an experiment")
    parser.add_argument("--space", metavar="NAME", help="a YAML file or one of experiments/sweeps/: what is tried")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="trials in all (20)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that train at a time (1)")
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="folder of all runs (runs)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (0)")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)  # which one this process is
    options, rest = parser.parse_known_args(args)
    require(options.trials > 0, f"--trials is {options.trials}: give 1 or more")
    require(options.workers > 0, f"--workers is {options.workers}: give 1 or more")
    config = find_config(options.config)
    name = Path(config).stem
    space = read_space(options.space, name)
    folder = Path(options.runs).absolute() / f"{name}_sweep"
    fit = [f"--config={config}", f"--name={folder.name}", f"--runs={folder.parent}", *rest]
    study = _study(folder, options.seed + (options.worker or 0))
    if options.worker is not None:
        from experiments.sweep_worker import work

        work(study, space, options.trials, fit)
        return
    _write_wandb_sweep(folder / "wandb_sweep.yaml", space, options.config, fit)
    statuses = _run_workers(options.workers, args)
    _report(study, folder, f"textae fit --config {options.config} {shlex.join(rest)}".strip(), statuses, options.trials)


def _study(folder: Path, seed: int) -> optuna.Study:
    try:
        import optuna
    except ImportError as error:
        raise UsageError("a sweep needs Optuna: pip install 'textae[sweep]'") from error
    from sqlalchemy.exc import DBAPIError

    from experiments.sweep_worker import open_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return open_study(folder / "study.db", folder.name, seed)
    except DBAPIError as error:
        where = f"{folder / 'study.db'}, which should hold the sweep's trials, cannot be used"
        raise UsageError(f"{where}: {error.orig}; move it away, or give another --runs") from error


def _run_workers(count: int, args: Sequence[str]) -> list[int]:
    """The workers' exit statuses, once all have ended; each has its part of the cores and a log."""
    threads = max(1, (os.cpu_count() or 1) // count)
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
    environment.pop(VERSION_VARIABLE, None)
    command = [sys.executable, "-m", "experiments.cli", "sweep", *args]
    workers = [subprocess.Popen([*command, f"--worker={worker}"], env=environment) for worker in range(count)]
    try:
        return [worker.wait() for worker in workers]
    except KeyboardInterrupt:
        for worker in workers:
            worker.terminate()
        raise


def _write_wandb_sweep(file: Path, space: Space, config: str, fit: Sequence[str]) -> None:
    """The same search for W&B's own sweeps: `wandb sweep FILE`, then `wandb agent`."""
    from experiments.lightning_cli import TextCLI

    # Any values do to learn what is minimised; and options that do not exist are found before a worker starts.
    first = [
        f"--{option}={entry['values'][0] if 'values' in entry else entry['min']}" for option, entry in space.items()
    ]
    monitor = TextCLI([*fit, *first], run=False).model.monitor
    content = {
        "method": "bayes",
        "metric": {"name": monitor, "goal": "minimize"},
        "parameters": {option: dict(entry) for option, entry in space.items()},
        "command": ["textae", "fit", f"--config={config}", *fit[1:], "${args}"],
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _report(study: optuna.Study, folder: Path, command: str, statuses: Sequence[int], wanted: int) -> None:
    from optuna.trial import TrialState

    trials = sorted((trial for trial in study.trials if trial.value is not None), key=lambda trial: trial.value or 0.0)
    ended = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    dead = [status for status in statuses if status != 0]
    require(bool(ended), f"no trial came to its end; workers ended with {', '.join(map(str, statuses))}")
    pruned = sum(trial.state == TrialState.PRUNED for trial in study.trials)
    table = Table(title=f"{len(ended)} trials came to their end, {pruned} were pruned")
    table.add_column("trial", justify="right")
    table.add_column("value", justify="right")
    names = list(dict.fromkeys(option for trial in ended for option in trial.params))
    for option in names:
        table.add_column(option.split(".")[-1], justify="right")
    for trial in ended:
        found = [trial.params.get(option, "") for option in names]
        values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in found]
        table.add_row(str(trial.number), f"{trial.value:.4f}", *values)
    console = Console(markup=False)
    console.print(table)
    best = " ".join(f"--{option}={value}" for option, value in ended[0].params.items())
    console.print(f"best, trial {ended[0].number}: {command} {best}", soft_wrap=True)
    _draw_importances(study, folder / "importance.png", console)
    if dead:
        left = wanted - len(ended) - pruned
        rest = f"{left} trials are left: give the same command again" if left > 0 else "the others did its trials"
        console.print(
            f"{len(dead)} of {len(statuses)} workers died ({', '.join(map(str, dead))}); {rest}", soft_wrap=True
        )


def _draw_importances(study: optuna.Study, file: Path, console: Console) -> None:
    """Which options the value depends on (the variance that each explains), as a picture."""
    from matplotlib.figure import Figure
    from optuna.exceptions import ExperimentalWarning
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (RuntimeError, ValueError) as error:
        console.print(f"which options matter is not known yet: {error}", soft_wrap=True)
        return
    figure = Figure(figsize=(7, 1 + 0.4 * len(shares)), layout="constrained")
    axes = figure.add_subplot(xlabel="importance (PED-ANOVA)")
    axes.barh([option.split("init_args.")[-1] for option in reversed(shares)], list(reversed(shares.values())))
    figure.savefig(file, dpi=120)
    console.print(f"which options matter: {file}", soft_wrap=True)
