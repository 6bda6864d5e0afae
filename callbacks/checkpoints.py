"""The two checkpoints of a run: the best one, and the last one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from callbacks.attached import logging_interval
from callbacks.slurm_signal import SlurmSignal
from datamodules.errors import require


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `best.ckpt`, which a fit that is continued in another folder takes along.

    There Lightning's own forgets the best score, and the first validation after a resume would be the best, whatever
    its value.

    Args:
        dirpath: The run's folder of checkpoints.
        filename: Without `.ckpt`.
        resumed_from: Folder of the checkpoint that a fit goes on from; the command line knows it. There the best one is
            looked for where it is no longer at its old place.
        kwargs: See `pytorch_lightning.callbacks.ModelCheckpoint`.
    """

    def __init__(
        self, dirpath: str | None = None, filename: str = "best", resumed_from: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(
            dirpath,
            filename,
            save_on_train_epoch_end=False,  # but right after the validation, so that the last checkpoint knows of it
            enable_version_counter=False,
            auto_insert_metric_name=False,
            **kwargs,
        )
        self.resumed_from = resumed_from

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where the checkpoint was, with its best one: where that was, or beside it if the run was moved."""
        best = Path(state_dict["best_model_path"])
        if not best.is_file() and self.resumed_from is not None:
            best = Path(self.resumed_from) / best.name
        if self.dirpath is None or (state_dict.get("dirpath") == self.dirpath and best.is_file()):
            super().load_state_dict(state_dict)
            return
        own, score = "", None
        if best.is_file():
            own, score = str(Path(self.dirpath) / best.name), state_dict["best_model_score"]
            _copy(best, own)
        super().load_state_dict(
            state_dict
            | {
                "dirpath": self.dirpath,
                "best_model_path": own,
                "best_model_score": score,
                "best_k_models": {own: score} if own else {},
                "kth_best_model_path": own,
                "kth_value": score if own else self.kth_value,
                "last_model_path": "",
            }
        )


class LastCheckpoint(Checkpoint):
    """`last.ckpt`: after every validation and every epoch, and between them; a broken fit goes on from it.

    Lightning's `save_last` waits for a better one. Steps before a validation are passed over, which a resume would
    leave out, and steps whose figures are logged, if not all are: Lightning logs them when it has saved. When SLURM
    sends its signal one is written, too, and the job is queued again.

    Args:
        dirpath: The run's folder of checkpoints.
        filename: Without `.ckpt`.
        every_n_train_steps: How often one is written between validations; never where it is null.
    """

    def __init__(
        self, dirpath: str | None = None, filename: str = "last", every_n_train_steps: int | None = 1000
    ) -> None:
        every = every_n_train_steps
        wrong = f"LastCheckpoint's every_n_train_steps is {every}: give 1 or more, or null for never"
        require(every is None or every > 0, wrong)
        self.dirpath = dirpath
        self.filename = filename
        self.every_n_train_steps = every_n_train_steps
        self._saved = 0
        self._signal = SlurmSignal()
        self._ends = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins to count."""
        self._saved = trainer.global_step
        self._signal = SlurmSignal()
        self._ends = False

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins to listen."""
        self._signal.put_off(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins to listen, where there was no sanity check."""
        self._signal.put_off(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._ends |= self._signal.has_come(trainer)
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves, where no validation has just been."""
        self._ends |= self._signal.has_come(trainer)
        if self._ends or not trainer.enable_validation or trainer.global_step != self._saved:
            self._save(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if it is time, or the last chance: a limit of time ends a fit between two validations."""
        every, step = self.every_n_train_steps, trainer.global_step
        self._ends |= self._signal.has_come(trainer)
        due = self._ends or trainer.should_stop or (every is not None and step - self._saved >= every)
        logs = logging_interval(trainer)
        logged = logs > 1 and step % logs == 0 and not trainer.should_stop
        accumulates = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if due and not logged and not accumulates and not _before_validation(trainer, batch_idx + 1):
            self._save(trainer)

    def file(self, trainer: Trainer) -> Path:
        """Where it is written."""
        return Path(self.dirpath or trainer.default_root_dir) / f"{self.filename}.ckpt"

    def _save(self, trainer: Trainer) -> None:
        self._saved = trainer.global_step
        trainer.save_checkpoint(self.file(trainer), weights_only=False)
        if self._ends:
            self._ends = False
            self._signal.answer()


def _before_validation(trainer: Trainer, batches: int) -> bool:
    """Whether a validation may follow so many batches of an epoch."""
    every = trainer.val_check_batch
    counts = (batches, trainer.fit_loop.total_batch_idx + 1)
    return batches == trainer.num_training_batches or (every is not None and any(n % every == 0 for n in counts))


def best_checkpoint(trainer: Trainer, monitor: str) -> ModelCheckpoint | None:
    """What keeps the checkpoint with the best value of the family's monitor, if it has one.

    A user's own `ModelCheckpoint` of another quantity may stand before it in `trainer.callbacks`.
    """
    kept = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    own = [callback for callback in kept if callback.monitor == monitor and callback.mode == "min"]
    return next((callback for callback in own if callback.best_model_path), None)


@rank_zero_only
def _copy(file: Path, target: str) -> None:
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    # A copied run has one of its own already.
    if not Path(target).exists():
        shutil.copy2(file, target)
