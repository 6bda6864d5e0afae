"""The last word of a test: its figures in the terminal and in a file."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from torchmetrics.aggregation import SumMetric

from callbacks.attached import callbacks_of, corpus_of
from callbacks.checkpoints import best_checkpoint
from callbacks.figure_table import log_figure_table, print_figures
from callbacks.measured import COUNTS, read_figures
from callbacks.provenance import provenance
from callbacks.tables import run_folder
from callbacks.throughput import Throughput
from callbacks.whole_files import write_whole
from datamodules.batch import TokenBatch
from lightning_modules import TextModel

WHOLE, PART = "test_metrics.json", "partial_test_metrics.json"


class Summary(Callback):
    """Prints a table of a test's figures and where the run's files are; writes `test_metrics.json`.

    Each figure has its kind and meaning (`callbacks.quantities`), of how many sentences it is and, where it has them,
    its standard error over sentences, its Monte Carlo error and the number of samples behind it. The file also says
    where the figures come from: corpus, seed, checkpoint, commit, versions, hardware and, after a fit, how long that
    took, how fast it was (`Throughput`) and the best value of the monitor, by which settings may be chosen. The console
    command writes the settings of a test beside it, to `test_config.yaml`.

    The run keeps the figures that can be cited: a test of a part of the split, of another corpus, or one that measures
    less of the same checkpoint than is there already, goes into `partial_test_metrics.json`.

    Attributes:
        written: The file of the last test's figures, on the first rank.
    """

    def __init__(self) -> None:
        self.started: float | None = None
        self.fit_seconds: float | None = None
        self.best: float | None = None
        self.training: dict[str, float] = {}
        self.sentences = SumMetric()
        self.written: Path | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.started = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        if self.started is not None:
            self.fit_seconds = round(time.perf_counter() - self.started, 1)
        assert isinstance(pl_module, TextModel)
        self.training = next((each.summary() for each in callbacks_of(trainer) if isinstance(each, Throughput)), {})
        checkpoint = best_checkpoint(trainer, pl_module.monitor)
        if checkpoint is not None and checkpoint.best_model_score is not None:
            self.best = float(checkpoint.best_model_score)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts counting sentences."""
        self.sentences.to(pl_module.device).reset()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Counts."""
        self.sentences.update(len(batch))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints and writes."""
        assert isinstance(pl_module, TextModel)
        sentences = int(self.sentences.compute())  # of all ranks, so all of them ask
        if not trainer.is_global_zero:
            return
        corpus = corpus_of(trainer)
        whole = len(corpus.split("test"))
        figures = read_figures(trainer, pl_module, sentences)
        record = {
            "corpus": corpus.corpus,
            "data_folder": None if corpus.data_dir is None else corpus.data_dir.name,
            "split": "test",
            "sentences": sentences,
            "splits_words": corpus.splits_words,
            "seed": pl_module.seed,
            "experiment": Path(trainer.default_root_dir).parent.name,
            "model": type(pl_module).__name__,
            **_checkpoint(trainer),
            "precision": trainer.precision,
            "fit_seconds": self.fit_seconds,
            "validation": {pl_module.monitor: self.best},
            "training": self.training,
            **provenance(pl_module.device),
            "metrics": figures,
        }
        if self.fit_seconds is None:
            record |= _of_the_fit(trainer)
        kept = f"{WHOLE} is for all test sentences" if sentences < whole else _kept(trainer, record)
        file = run_folder(trainer, PART if kept else WHOLE)
        write_whole(file, json.dumps(_as_json(record), indent=2, allow_nan=False) + "\n")
        self.written = file
        counted = f"{sentences:,}" if sentences == whole else f"{sentences:,} of {whole:,}"
        log_figure_table(trainer, figures)
        console = make_console()
        print_figures(console, f"{corpus.corpus}: {counted} test sentences", figures)
        _print_training(console, self.training)
        if kept:
            console.print(f"these are in {PART}; {kept}", soft_wrap=True)
        _print_files(console, file.parent)


def make_console() -> Console:
    """The terminal, to which `[eos_in_both]` is a convention and no markup."""
    return Console(markup=False)


def _as_json(value: Any) -> Any:
    """What JSON can hold: a number that is none, such as the loss of a training that diverged, is null there."""
    if isinstance(value, Mapping):
        return {key: _as_json(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_training(console: Console, rates: Mapping[str, float]) -> None:
    if rates:
        console.print(
            f"training: {rates['tokens_per_second']:,.0f} tokens and {rates['sentences_per_second']:,.0f} sentences a "
            f"second, {rates['matrix_product_share']:.0%} of this machine's matrix-product rate; "
            f"{rates['data_wait_share']:.1%} of the time waiting for data; {rates['peak_memory_mb']:,.0f} MB at most",
            soft_wrap=True,
        )


def _print_files(console: Console, folder: Path) -> None:
    shown = [file for part in ("samples", "plots", "checkpoints") for file in sorted((folder / part).glob("*"))]
    console.print(f"run folder: {folder}", soft_wrap=True)
    console.print("  " + "  ".join(str(file.relative_to(folder)) for file in shown), soft_wrap=True)
    offline = sorted((folder / "wandb").glob("offline-run-*"))
    if offline:
        wandb = Path(sys.executable).with_name("wandb")
        hint = f"look with `{wandb} leet {offline[-1]}`, sync with `{wandb} sync {offline[-1]}`"
        console.print(f"W&B was offline: {hint}", soft_wrap=True)


def _checkpoint(trainer: Trainer) -> dict[str, Any]:
    file = Path(trainer.ckpt_path) if trainer.ckpt_path else None
    if file is None or not file.is_file():
        return {"checkpoint": None if file is None else file.name}
    saved = datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return {"checkpoint": file.name, "checkpoint_saved": saved}


def _kept(trainer: Trainer, record: Mapping[str, Any]) -> str:
    """Why the figures of an earlier test stay where they are; empty if they do not.

    It was of another corpus, or of the same checkpoint and had more sentences or samples, or figures that this one
    lacks.
    """
    earlier = _noted(trainer, WHOLE)
    others = [name for name in ("corpus", "data_folder") if name in earlier and earlier[name] != record[name]]
    if others:
        named = " ".join(filter(None, (earlier["corpus"], earlier.get("data_folder"))))
        return f"{WHOLE} has those of the corpus {named}: delete it first, to replace them"
    same = all(earlier.get(key) == record.get(key) for key in ("checkpoint", "checkpoint_saved"))
    if not same or record["checkpoint"] is None:
        return ""
    before, now = ({"test": each, **each.get("metrics", {})} for each in (earlier, record))
    less = any(
        name not in now or any(figure.get(count, 0) > now[name].get(count, 0) for count in COUNTS)
        for name, figure in before.items()
    )
    return f"{WHOLE} has those of a test that measured more of this checkpoint" if less else ""


def _of_the_fit(trainer: Trainer) -> dict[str, Any]:
    """What an earlier test of the run noted; a later one did not see the fit."""
    noted = _noted(trainer, WHOLE) or _noted(trainer, PART)
    return {name: noted[name] for name in ("fit_seconds", "validation", "training") if name in noted}


def _noted(trainer: Trainer, name: str) -> dict[str, Any]:
    """What an earlier test wrote; nothing if none did."""
    try:
        noted = json.loads(run_folder(trainer, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}
