"""One of the processes of a sweep, which trains one trial after the other."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy.exc
import wandb
from optuna.exceptions import ExperimentalWarning
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from callbacks.attached import callbacks_of
from callbacks.checkpoints import best_checkpoint
from callbacks.finite_loss import DivergedError
from experiments.lightning_cli import TextCLI
from experiments.runs import VERSION_VARIABLE
from experiments.search_space import Space, suggest

# Seconds between the signs of life that a worker gives, and after which it counts as dead.
HEARTBEAT, GRACE = 10, 60
STARTUP_TRIALS = 5  # whose course the others' is held against
RETRIES = 3
OPENINGS, PAUSE = 20, 0.05  # tries while another process makes the tables of a new file, each so many seconds later
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(storage: Path, name: str, seed: int) -> optuna.Study:
    """The study in a file, new if it is not there; the trials of workers that died are tried again.

    Raises:
        SQLAlchemyError: The file cannot be opened, or is no study's.
    """
    for attempt in range(1, OPENINGS):
        try:
            return _open_study(storage, name, seed)
        except (sqlalchemy.exc.OperationalError, sqlalchemy.exc.IntegrityError) as error:
            # Optuna asks whether a table or a row is there and then makes it, which two processes may do at once.
            if "already exists" not in str(error.orig) and "UNIQUE" not in str(error.orig):
                raise
            time.sleep(PAUSE * attempt)
    return _open_study(storage, name, seed)


def _open_study(storage: Path, name: str, seed: int) -> optuna.Study:
    with warnings.catch_warnings():
        # Of the signs of life and what follows from them, which several releases have had.
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(
                f"sqlite:///{storage}",
                engine_kwargs={"connect_args": {"timeout": 60}},
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
            ),
            study_name=name,
            load_if_exists=True,
            direction="minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1),
        )
    # A sweep that goes on would else draw again what it drew when it began.
    [own] = np.random.SeedSequence((seed, len(study.trials))).generate_state(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.sampler = optuna.samplers.TPESampler(seed=int(own), constant_liar=True)
    return study


def work(study: optuna.Study, space: Space, trials: int, arguments: Sequence[str]) -> None:
    """Trains trials until the study has so many that came to their end or were pruned."""

    def objective(trial: optuna.Trial) -> float:
        settings = [f"--{option}={value}" for option, value in suggest(trial, space).items()]
        os.environ[VERSION_VARIABLE] = f"trial_{trial.number}"
        try:
            return train(trial, ["fit", *arguments, "--test_after_fit=false", *settings])
        finally:
            wandb.finish()

    if sum(trial.state in DONE for trial in study.trials) < trials:
        study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=DONE)])


def train(trial: optuna.Trial, arguments: list[str]) -> float:
    """Trains a model, and gives the best value of its monitor.

    Raises:
        TrialPruned: The trial is worse than others were, or its loss is no number.
    """
    try:
        trained = TrialCLI(trial, arguments)
    except DivergedError as error:
        raise optuna.TrialPruned("no finite loss") from error
    best = best_checkpoint(trained.trainer, trained.model.monitor)
    if best is None or best.best_model_score is None or not math.isfinite(best.best_model_score):
        raise optuna.TrialPruned("no finite value")
    return float(best.best_model_score)


class TrialCLI(TextCLI):
    """A fit that reports to its trial."""

    def __init__(self, trial: optuna.Trial, args: list[str]) -> None:
        self.trial = trial
        super().__init__(args)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Adds what may end the fit early."""
        trainer = super().instantiate_trainer(**kwargs)
        callbacks_of(trainer).append(Pruning(self.trial, self.model.monitor))
        return trainer


class Pruning(Callback):
    """Tells a trial the monitor of every validation, and ends the fit where the study's pruner says so."""

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        self.trial = trial
        self.monitor = monitor
        self.validations = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self.trial.report(float(trainer.callback_metrics[self.monitor]), self.validations)
        self.validations += 1
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"worse than the median after {self.validations} validations")
