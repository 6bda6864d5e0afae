"""How fast training is."""

from __future__ import annotations

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from datamodules.batch import TokenBatch


class Throughput(Callback):
    """`train/tokens_per_second`: real tokens (words and EOS, no padding) of the global batch over wall time.

    Logged over the training steps since the last time; validation and reading batches are not counted.

    Args:
        every_n_steps: How often it is logged.
    """

    def __init__(self, every_n_steps: int = 20) -> None:
        self.every_n_steps = every_n_steps
        self.steps = self.tokens = 0
        self.seconds = 0.0
        self.started = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Starts the clock."""
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Stops the clock and logs the rate from time to time."""
        self.seconds += time.perf_counter() - self.started
        self.tokens += batch.positions.numel() * trainer.world_size
        self.steps += 1
        if self.steps % self.every_n_steps == 0:
            pl_module.log("train/tokens_per_second", self.tokens / self.seconds, on_step=True, on_epoch=False)
            self.tokens, self.seconds = 0, 0.0
