"""The two checkpoints of a run: the best one, and the last one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint


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
        super().__init__(dirpath, filename, enable_version_counter=False, auto_insert_metric_name=False, **kwargs)
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


class LastCheckpoint(ModelCheckpoint):
    """`last.ckpt`: after every validation, whether it was the best or not.

    Lightning's `save_last` waits for a better one.

    Args:
        dirpath: The run's folder of checkpoints.
        filename: Without `.ckpt`.
    """

    def __init__(self, dirpath: str | None = None, filename: str = "last") -> None:
        super().__init__(
            dirpath, filename, monitor=None, save_top_k=1, enable_version_counter=False, auto_insert_metric_name=False
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """There is nothing to go on from: the next checkpoint is the last one."""


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
