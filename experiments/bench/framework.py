"""What the whole framework costs over its own bare step: `textae fit`, with a bare step of each batch in between."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, ClassVar

import pytorch_lightning as pl

from callbacks.attached import corpus_of
from datamodules.batch import TokenBatch
from experiments.bench.timing import Row
from experiments.bench.training import bare_step, made_reviews_daae
from experiments.cli import main

BATCH = 64
ALLOWED = 1.05  # times the bare step


class BareSteps(pl.Callback):
    """Trains a model of its own on each batch right after the fit has, and notes both times.

    A machine's rate drifts by more than is to be found out here, but not within a batch. The fit's time is all that
    lies between two bare steps. The first quarter of the epoch is not counted: loggers open their files and start
    their processes, memory is taken.
    """

    bare: ClassVar[float] = 0.0
    fit: ClassVar[float] = 0.0
    tokens: ClassVar[int] = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Makes the model and its optimiser."""
        self.step = bare_step(made_reviews_daae(corpus_of(trainer).vocabulary_json))
        self.ended = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Takes the bare step."""
        start = time.perf_counter()
        self.step(batch)
        end = time.perf_counter()
        if batch_idx >= int(trainer.num_training_batches) // 4:
            BareSteps.fit += start - self.ended
            BareSteps.bare += end - start
            BareSteps.tokens += len(batch.positions)
        self.ended = end


def framework(batches: int = 400, repeats: int = 3, options: tuple[str, ...] = ()) -> list[Row]:
    """One row: an epoch of the default experiment, with its loggers and callbacks, up to its validation.

    Args:
        batches: Of the epoch.
        repeats: Epochs, each of a fit of its own.
        options: Of `textae fit`, beside those of the experiment.
    """
    BareSteps.bare = BareSteps.fit = 0.0
    BareSteps.tokens = 0
    for _ in range(repeats):
        with _somewhere_quiet():
            main(
                [
                    "fit",
                    "--config=daae_reviews",
                    f"--data.init_args.subset.train={batches * BATCH}",
                    "--trainer.max_epochs=1",
                    "--data.init_args.subset.valid=8",
                    "--test_after_fit=false",
                    *options,
                    "--trainer.callbacks+=experiments.bench.framework.BareSteps",
                ]
            )
    what = f"`textae fit` of daae_reviews, {batches} batches but for the first quarter; its bare steps, in turn with it"
    rate = BareSteps.tokens / BareSteps.fit
    return [Row(what, BareSteps.bare / repeats, BareSteps.fit / repeats, 1 / ALLOWED, f"{rate:,.0f} tokens/s")]


@contextmanager
def _somewhere_quiet() -> Iterator[Any]:
    """An empty folder, and no terminal."""
    os.environ.pop("TEXTAE_VERSION", None)
    with tempfile.TemporaryDirectory() as folder, chdir(folder), open(os.devnull, "w") as nowhere:
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
