from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytorch_lightning.loggers import CSVLogger

from callbacks import LossCurves
from callbacks.loss_curves import draw_curves, read_curves

Make = Callable[..., Any]


def test_what_the_logger_wrote_is_read(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="", version="")
    logged = {
        "train/loss": ([0, 20, 40], [3.25, 1e-12, -7.5e30]),
        "val/loss": ([19, 39], [0.1, float("inf")]),
        "val/other/part": ([39], [2.0]),
    }
    for name, (steps, values) in logged.items():
        for step, value in zip(steps, values, strict=True):
            logger.log_metrics({name: value, "epoch": step // 20, "test/loss": 5.0}, step)
    logger.save()
    assert read_curves(tmp_path / "metrics.csv") == logged


def test_one_panel_a_quantity() -> None:
    curves = {
        "train/loss": ([0.0, 1.0, 2.0], [3.0, 2.0, 1.0]),
        "val/loss": ([2.0], [4.0]),
        "val/bleu": ([2.0], [0.5]),
        "train/rate": ([0.0], [7.0]),
        "train/speed": ([0.0], [7.0]),
    }
    figure = draw_curves(curves)
    drawn = {
        f"{line.get_label()}/{axes.get_title()}": tuple(np.asarray(data).tolist() for data in line.get_data())
        for axes in figure.axes
        for line in axes.get_lines()
    }
    assert drawn == curves
    assert len(figure.axes) == 4
    assert not draw_curves({}).axes


def test_after_a_fit(fresh: Make, corpus: Make, trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("callbacks.loss_curves.draw_curves", lambda curves: drawn.append(curves) or draw_curves(curves))
    data = corpus()
    logger = CSVLogger(tmp_path, name="", version="")
    fitting = trainer(LossCurves(), logger=logger, max_epochs=2, limit_train_batches=3, log_every_n_steps=1)
    fitting.fit(fresh(data.vocabulary_json), datamodule=data)
    assert (tmp_path / "plots" / "loss_curves.png").read_bytes().startswith(b"\x89PNG")
    [curves] = drawn
    assert curves["train/loss"][0] == [0, 1, 2, 3, 4, 5]
    assert curves["val/reconstruction"][0] == [2, 5]
    with (tmp_path / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    for name, (_, values) in curves.items():
        assert values == [float(row[name]) for row in rows if row[name]]


def test_without_a_csv_logger(fresh: Make, corpus: Make, trainer: Make, tmp_path: Path) -> None:
    data = corpus()
    trainer(LossCurves(), max_epochs=1, limit_train_batches=1).fit(fresh(data.vocabulary_json), datamodule=data)
    assert not (tmp_path / "plots").exists()
