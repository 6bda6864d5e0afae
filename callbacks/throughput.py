"""How fast training is, and what it waits for."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.attached import is_logging
from callbacks.matrix_products import MatrixProducts, matrix_rate
from datamodules.batch import TokenBatch
from datamodules.errors import require

DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}
SLOWER = 1.2  # times, below which a busy moment of the machine may be all that there is
SLOW = (
    "this processor's products run at {:.0f} GFLOP/s in bfloat16 and at {:.0f} in float32: train with "
    "--trainer.precision 32-true"
)


@dataclass
class Work:
    """What was done in some training batches.

    Attributes:
        tokens: Words and EOS, no padding, of the global batches.
        sentences: Of the global batches.
        operations: Of this rank's matrix products.
        seconds: In the steps.
        waiting: Seconds between them.
    """

    tokens: int = 0
    sentences: int = 0
    operations: float = 0.0
    seconds: float = 0.0
    waiting: float = 0.0

    def add(self, other: Work) -> None:
        """Adds other batches."""
        self.tokens += other.tokens
        self.sentences += other.sentences
        self.operations += other.operations
        self.seconds += other.seconds
        self.waiting += other.waiting

    def rates(self, matrix_rate: float) -> dict[str, float]:
        """By name; the share is of so many operations a second."""
        return {
            "tokens_per_second": self.tokens / self.seconds,
            "sentences_per_second": self.sentences / self.seconds,
            "matrix_product_share": self.operations / self.seconds / matrix_rate,
            "data_wait_share": self.waiting / (self.waiting + self.seconds),
        }


class Throughput(Callback):
    """How fast the training batches since the last time were; over the whole fit in `test_metrics.json`, as `training`.

    - `train/tokens_per_second`: real tokens (words and EOS, no padding) of the global batch over the time of the steps.
    - `train/sentences_per_second`: likewise.
    - `train/matrix_product_share`: how near to the rate of a large matrix product alone, in the training's precision,
      measured when the fit starts, the steps come with theirs.
    - `train/data_wait_share`: of the time between the starts of steps, the part outside of them, in which batches are
      read and figures logged: data are not waited for longer than that. Without workers 16 batches are read at a time,
      which of few steps is all of the waiting, or none.
    - `train/peak_memory_mb`: most memory so far, of the GPU or else of the process.

    Validation is not counted, nor is what is read right behind one, nor are the words of batches that lagging inference
    draws for its encoder alone. A GPU, which the steps do not wait for, is waited for when they are logged.

    Args:
        every_n_steps: Batches that they are of, at least: they are logged when the trainer logs (`log_every_n_steps`).
    """

    def __init__(self, every_n_steps: int = 1) -> None:
        require(every_n_steps > 0, f"Throughput's every_n_steps is {every_n_steps}: give 1 or more")
        self.every_n_steps = every_n_steps
        self.logged = 0
        self.recent, self.total = Work(), Work()
        self.rate = 0.0
        self.started = 0.0
        self.ended: float | None = None
        self.products: MatrixProducts | None = None
        self.peak = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the machine, and begins to count."""
        dtype = DTYPES.get(str(trainer.precision).split("-")[0], torch.float32)
        self.rate = matrix_rate(pl_module.device, dtype)
        if pl_module.device.type == "cpu" and dtype == torch.bfloat16 and trainer.is_global_zero:
            plain = matrix_rate(pl_module.device)
            if plain > SLOWER * self.rate:
                print(SLOW.format(self.rate / 1e9, plain / 1e9), file=sys.stderr)
        self.products = MatrixProducts(pl_module)
        self.recent, self.total = Work(), Work()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins where a resume goes on."""
        self.logged = trainer.fit_loop.total_batch_idx + 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on the first batch is waited for."""
        self.ended = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Until the next batch, nothing is waited for."""
        self.ended = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Starts the clock."""
        assert self.products is not None
        self.started = time.perf_counter()
        if self.ended is None:
            self.ended = self.started
        self.products.operations = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Stops the clock and logs the rates from time to time."""
        assert self.products is not None
        # Not counted from the start of this process: a resume logs at the same steps.
        done, every = trainer.fit_loop.total_batch_idx + 1, self.every_n_steps
        logs = done // every > self.logged // every and is_logging(trainer)
        if logs and pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        before, ended = self.ended, time.perf_counter()
        assert before is not None
        self.ended = ended
        ranks = trainer.world_size
        tokens, sentences = batch.positions.numel() * ranks, len(batch) * ranks
        work = Work(tokens, sentences, self.products.operations, ended - self.started, self.started - before)
        self.recent.add(work)
        if logs:
            self.logged = done
            self.peak = peak_memory(pl_module.device)
            rates = self.recent.rates(self.rate) | {"peak_memory_mb": self.peak}
            pl_module.log_dict({f"train/{name}": rate for name, rate in rates.items()}, on_step=True, on_epoch=False)
            self.total.add(self.recent)
            self.recent = Work()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes what `summary` gives, before any callback asks for it."""
        self.total.add(self.recent)
        self.recent = Work()
        self.peak = peak_memory(pl_module.device)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts no longer."""
        assert self.products is not None
        self.products.stop()

    def summary(self) -> dict[str, float]:
        """The rates of the whole fit; empty of one without a batch."""
        if self.total.seconds == 0:
            return {}
        return {name: round(rate, 4) for name, rate in self.total.rates(self.rate).items()} | {
            "peak_memory_mb": round(self.peak, 1)
        }


def peak_memory(device: torch.device) -> float:
    """Megabytes that the GPU, or else this process, held at most so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        # Not what `getrusage` says where this can be had: that counts what the process held which started this one.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        kilobytes = float(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return kilobytes * 1024 / 1e6
