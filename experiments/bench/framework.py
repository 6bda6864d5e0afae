"""What the whole framework costs over its own bare step: `textae fit` beside a loop over the same batches."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, ClassVar

import pytorch_lightning as pl

from datamodules import Reviews
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig
from datamodules.text import SubsetConfig
from experiments.bench.timing import Row, medians
from experiments.bench.training import made_reviews_daae, steps
from experiments.cli import main

BATCH = 64


class Clock(pl.Callback):
    """Times an epoch's training batches but the first ones, and what lies between them, up to the validation."""

    warm: ClassVar[int] = 0
    seconds: ClassVar[float] = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Starts, or stops unless another one follows."""
        now = time.perf_counter()
        if batch_idx < Clock.warm:
            self.started = now
        Clock.seconds = now - self.started


def framework(batches: int = 400, repeats: int = 5, options: tuple[str, ...] = ()) -> list[Row]:
    """One row: an epoch of the default experiment, with its loggers and callbacks, up to its validation.

    Args:
        batches: Of the epoch.
        repeats: Of which the median counts.
        options: Of `textae fit`, beside those of the experiment.
    """
    data = Reviews(subset=SubsetConfig(train=batches * BATCH), batching=BatchingConfig(sentences=BATCH))
    known = list(data.train_dataloader())
    # Not timed at the start of a fit: loggers open their files and start their processes, memory is taken.
    Clock.warm = batches // 4
    model = made_reviews_daae(data.vocabulary_json)
    times: dict[str, list[float]] = {"fit": []}

    def fit() -> None:
        with _somewhere_quiet():
            main(
                [
                    "fit",
                    "--config=daae_reviews",
                    f"--data.init_args.subset.train={batches * BATCH}",
                    "--trainer.max_epochs=1",
                    "--data.init_args.subset.valid=8",
                    "--test_after_fit=false",
                    "--trainer.callbacks+=experiments.bench.framework.Clock",
                    *options,
                ]
            )
        times["fit"].append(Clock.seconds)

    seconds = medians({"bare": steps(model, known[Clock.warm :]), "fit": fit}, repeats)
    whole = sorted(times["fit"])[len(times["fit"]) // 2]  # without imports, corpus and model
    what = f"`textae fit` of daae_reviews, {len(known)} batches; its bare steps on batches that lie ready"
    return [Row(what, seconds["bare"], whole, 0.95, f"{_tokens(known[Clock.warm :]) / whole:,.0f} tokens/s")]


def _tokens(batches: list[TokenBatch]) -> int:
    return sum(len(batch.positions) for batch in batches)


@contextmanager
def _somewhere_quiet() -> Iterator[Any]:
    """An empty folder, and no terminal."""
    os.environ.pop("TEXTAE_VERSION", None)
    with tempfile.TemporaryDirectory() as folder, chdir(folder), open(os.devnull, "w") as nowhere:
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
