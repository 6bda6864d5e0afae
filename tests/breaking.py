"""A callback that breaks a training off."""

from __future__ import annotations

import os
from typing import Any

from pytorch_lightning import Callback


class Break(Callback):
    """Fails at a step: after it, before it was validated, or before the checkpoint of a validation is written.

    `BREAK` says where, such as `7 batch`, for an option of a callback would make another run of it; unset, nowhere.
    """

    def __init__(self) -> None:
        step, self.where = os.environ.get("BREAK", "0 nowhere").split()
        self.step = int(step)

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if self.where == "batch" and trainer.global_step == self.step:
            raise RuntimeError("broken")

    def on_validation_start(self, trainer: Any, *args: Any) -> None:
        if self.where == "validation" and trainer.global_step >= self.step:
            raise RuntimeError("broken")

    def on_validation_end(self, trainer: Any, *args: Any) -> None:
        if self.where == "validated" and trainer.global_step >= self.step:
            raise RuntimeError("broken")
