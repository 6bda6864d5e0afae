"""A callback that breaks a training off."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback


class Break(Callback):
    """Fails at a step: after it, before it was validated, or while the checkpoint of a validation is written."""

    def __init__(self, step: int = 0, where: str = "batch") -> None:
        self.step, self.where = step, where

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if self.where == "batch" and trainer.global_step == self.step:
            raise RuntimeError("broken")

    def on_validation_start(self, trainer: Any, *args: Any) -> None:
        if self.where == "validation" and trainer.global_step >= self.step:
            raise RuntimeError("broken")

    def on_validation_end(self, trainer: Any, *args: Any) -> None:
        if self.where == "validated" and trainer.global_step >= self.step:
            raise RuntimeError("broken")
