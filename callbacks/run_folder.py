"""The run folder: one writer, the vocabulary, and the figures up to the checkpoint that a fit goes on from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from callbacks.resumable_csv_logger import ResumableCSVLogger
from callbacks.tables import run_folder
from callbacks.whole_files import write_whole
from datamodules import TextDataModule
from datamodules.errors import UsageError
from lightning_modules import TextModel


class RunFolder(Callback):
    """Keeps `vocabulary.json` in the run folder, locks it against a second writer, and `metrics.csv` free of doubles.

    A checkpoint has the number of rows that were logged before it, and these are on the disk when it is; a fit that
    goes on in the same folder drops the later ones.
    """

    def __init__(self) -> None:
        self.lock: BaseFileLock | None = None

    def check(self, trainer: Trainer, model: TextModel, corpus: TextDataModule, stage: str) -> None:
        """Looks, before W&B starts, whether another process trains in the folder.

        Raises:
            UsageError: It does.
        """
        if stage == "fit" and trainer.is_global_zero and Path(trainer.default_root_dir).is_dir():
            self._take(trainer).release()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes the lock and writes the vocabulary.

        Raises:
            UsageError: Another process trains in the folder.
        """
        assert isinstance(pl_module, TextModel)
        if stage != "fit" or not trainer.is_global_zero:
            return
        self.lock = self._take(trainer)
        vocabulary = pl_module.vocabulary.to_str(pretty=True)
        write_whole(run_folder(trainer, "vocabulary.json"), vocabulary)
        for part in run_folder(trainer, "checkpoints").glob(".*.ckpt.*"):  # of a process that was killed
            part.unlink(missing_ok=True)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drops the rows of an earlier process that died before its first checkpoint."""
        if trainer.ckpt_path is None:
            self._keep(trainer, 0)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Writes what was logged, and counts it."""
        if trainer.is_global_zero:
            for logger in _resumable(trainer):
                logger.save()
                checkpoint["metrics_rows"] = logger.experiment.rows

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Drops what was logged after the checkpoint."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._keep(trainer, checkpoint.get("metrics_rows", 0))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gives the lock back."""
        if stage == "fit" and self.lock is not None:
            self.lock.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Gives the lock back: Lightning does not tear down what failed. Says how to go on after a signal."""
        if self.lock is not None:
            self.lock.release()
        if trainer.state.fn == TrainerFn.FITTING and isinstance(exception, KeyboardInterrupt | SystemExit):
            rank_zero_only(print)(
                f"interrupted at step {trainer.global_step}: --ckpt_path last (make train RESUME=1) goes on with "
                f"{trainer.default_root_dir}",
                file=sys.stderr,
            )

    def _take(self, trainer: Trainer) -> BaseFileLock:
        lock = FileLock(run_folder(trainer, ".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise UsageError(
                f"another process trains in {trainer.default_root_dir}: wait for it, or start anew"
            ) from error
        return lock

    def _keep(self, trainer: Trainer, rows: int) -> None:
        if trainer.is_global_zero:
            for logger in _resumable(trainer):
                logger.experiment.keep(rows)


def _resumable(trainer: Trainer) -> list[ResumableCSVLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, ResumableCSVLogger)]
