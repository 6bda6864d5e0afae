"""A picture of how training went."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger

from callbacks.tables import log_picture, run_folder

Curves = dict[str, tuple[list[float], list[float]]]


class LossCurves(Callback):
    """`plots/loss_curves.png`: every quantity of `metrics.csv` against the step, training and validation together."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the picture from what the CSV logger wrote."""
        written = [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
        if not trainer.is_global_zero or not written:
            return
        written[0].save()
        metrics = Path(written[0].log_dir) / "metrics.csv"
        if metrics.is_file():
            file = run_folder(trainer, "plots", "loss_curves.png")
            draw_curves(read_curves(metrics)).savefig(file, dpi=120)
            log_picture(trainer, "loss_curves", file)


def read_curves(file: Path) -> Curves:
    """Steps and values of every `train/...` and `val/...` column of a `metrics.csv`."""
    curves: Curves = defaultdict(lambda: ([], []))
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            for name, value in row.items():
                if value and name.startswith(("train/", "val/")):
                    curves[name][0].append(float(row["step"]))
                    curves[name][1].append(float(value))
    return dict(curves)


def draw_curves(curves: Curves) -> Figure:
    """One panel a quantity, with its training and validation curves."""
    quantities = sorted({name.split("/", 1)[1] for name in curves})
    columns = min(3, max(1, len(quantities)))
    rows = -(-max(1, len(quantities)) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    for place, quantity in enumerate(quantities, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(quantity, fontsize="medium")
        axes.set_xlabel("step")
        for stage in ("train", "val"):
            if f"{stage}/{quantity}" in curves:
                steps, values = curves[f"{stage}/{quantity}"]
                axes.plot(steps, values, label=stage, linewidth=1, marker="." if len(steps) < 30 else None)
        axes.legend(fontsize="small")
    return figure
