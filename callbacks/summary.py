"""The last word of a test: its figures in the terminal and in a file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console
from rich.table import Table
from torchmetrics.aggregation import SumMetric

from callbacks.floor import is_below
from callbacks.latents import corpus_of
from callbacks.provenance import provenance
from callbacks.quantities import LIKELIHOODS, quantity_of
from callbacks.tables import run_folder
from datamodules.batch import TokenBatch
from lightning_modules import TextModel

# How errors are logged beside a figure, and their names in the file.
ERRORS = {"/error": "error", "/monte_carlo_error": "monte_carlo_error"}
COLUMNS = ("quantity", "value", "error", "what it is")
WHOLE, PART = "test_metrics.json", "partial_test_metrics.json"


class Summary(Callback):
    """Prints a table of a test's figures and where the run's files are; writes `test_metrics.json`.

    Each figure has its kind (`callbacks.quantities`) and, where it has one, its standard error over sentences and,
    where it is a Monte Carlo estimate, the error of that. The file also says where the figures come from: corpus,
    seed, checkpoint, commit, versions, hardware and, after a fit, how long that took and the best value of the
    monitor, by which settings may be chosen. A test of a part of the split (`limit_test_batches`) goes into
    `partial_test_metrics.json`: the run keeps the figures that can be cited.
    """

    def __init__(self) -> None:
        self.started: float | None = None
        self.fit_seconds: float | None = None
        self.best: float | None = None
        self.sentences = SumMetric()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.started = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        if self.started is not None:
            self.fit_seconds = round(time.perf_counter() - self.started, 1)
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_score is not None:
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
        figures = _figures(trainer, pl_module)
        corpus = corpus_of(trainer)
        whole = len(corpus.split("test"))
        _compare_with_floor(figures, sentences)
        record = {
            "corpus": corpus.corpus,
            "split": "test",
            "sentences": sentences,
            "seed": pl_module.seed,
            "experiment": Path(trainer.default_root_dir).parent.name,
            "model": type(pl_module).__name__,
            "checkpoint": Path(trainer.ckpt_path).name if trainer.ckpt_path else None,
            "fit_seconds": self.fit_seconds,
            "validation": {pl_module.monitor: self.best},
            **provenance(pl_module.device),
            "metrics": figures,
        }
        if self.fit_seconds is None:
            record |= _of_the_fit(trainer)
        file = run_folder(trainer, WHOLE if sentences == whole else PART)
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        counted = f"{sentences:,}" if sentences == whole else f"{sentences:,} of {whole:,}"
        rows = _rows(figures, pl_module)
        table = Table(title=f"{corpus.corpus}: {counted} test sentences")
        for column in COLUMNS:
            number = column in ("value", "error")
            table.add_column(column, justify="right" if number else "left", no_wrap=number or column == "quantity")
        for row in rows:
            table.add_row(*row)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table("test_figures", columns=list(COLUMNS), data=rows)
        console = Console()
        console.print(table)
        _print_files(console, file.parent)


def _rows(figures: dict[str, dict[str, Any]], model: TextModel) -> list[list[str]]:
    """The table that people read."""
    rows = []
    for name, figure in figures.items():
        errors = [figure[kind] for kind in ERRORS.values() if kind in figure]
        known = quantity_of(name.removeprefix("test/"), model.perplexities)
        floor = f" ({figure['gap']:+.2f} to the floor)" if "gap" in figure else ""
        below = ": BELOW THE FLOOR, no likelihood" if figure.get("below_floor") else ""
        what = f"{figure['kind']}: {known.meaning}{floor}{below}"
        rows.append([name, f"{figure['value']:.4f}", " / ".join(f"{value:.4f}" for value in errors), what])
    return rows


def _figures(trainer: Trainer, model: TextModel) -> dict[str, dict[str, Any]]:
    """Each figure's value, errors, kind and convention, by its name."""
    values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
    figures: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name.endswith(tuple(ERRORS)):
            continue
        known = quantity_of(name.removeprefix("test/"), model.perplexities)
        figures[name] = {"value": value}
        figures[name] |= {key: values[name + end] for end, key in ERRORS.items() if name + end in values}
        figures[name] |= {"kind": known.kind} | ({"convention": known.convention} if known.convention else {})
    return figures


def _compare_with_floor(figures: dict[str, dict[str, Any]], sentences: int) -> None:
    """Adds to each likelihood in nats its gap to the entropy floor, and whether it is impossibly far below."""
    floor = figures.get("test/floor")
    for name, figure in figures.items():
        in_nats = "perplexity" not in name
        if floor is not None and figure is not floor and figure["kind"] in LIKELIHOODS and in_nats:
            figure["gap"] = figure["value"] - floor["value"]
            figure["below_floor"] = is_below(figure["gap"], sentences, figure.get("monte_carlo_error"))


def _print_files(console: Console, folder: Path) -> None:
    shown = [file for part in ("samples", "plots", "checkpoints") for file in sorted((folder / part).glob("*"))]
    console.print(f"run folder: {folder}", soft_wrap=True)
    console.print("  " + "  ".join(str(file.relative_to(folder)) for file in shown), soft_wrap=True)
    offline = sorted((folder / "wandb").glob("offline-run-*"))
    if offline:
        wandb = Path(sys.executable).with_name("wandb")
        hint = f"look with `{wandb} leet {offline[-1]}`, sync with `{wandb} sync {offline[-1]}`"
        console.print(f"W&B was offline: {hint}", soft_wrap=True)


def _of_the_fit(trainer: Trainer) -> dict[str, Any]:
    """What an earlier test of the run noted; a later one did not see the fit."""
    for name in (WHOLE, PART):
        try:
            noted = json.loads(run_folder(trainer, name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return {name: noted[name] for name in ("fit_seconds", "validation") if name in noted}
    return {}
