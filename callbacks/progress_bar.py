"""The progress bar of a training."""

from __future__ import annotations

import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar


class ProgressBar(RichProgressBar):
    """Lightning's, but drawn twice a second: at every batch it is felt in the speed of a small model.

    `textae fit` has it unless the experiment has another or `--trainer.enable_progress_bar=false` is given.

    Args:
        refresh_rate: How often a second it is drawn, at most; 0 for none.
    """

    def __init__(self, refresh_rate: int = 2) -> None:
        super().__init__(refresh_rate)
        self.drawn = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch and shows its figures if it is time, or the epoch's last one."""
        now = time.monotonic()
        if trainer.is_last_batch or (now - self.drawn) * self.refresh_rate >= 1:
            self.drawn = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
