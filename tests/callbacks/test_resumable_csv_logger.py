"""`metrics.csv` over several processes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from callbacks import ResumableCSVLogger

LOGGED = [({"a": 1.5}, 0), ({"a": torch.tensor(2.25), "b": 3.0}, 1), ({"c": -1.0}, 1), ({"b": float("nan")}, 2)]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("every", [1, 2, 100])
def test_it_writes_what_lightnings_does(every: int, tmp_path: Path) -> None:
    options = {"name": "", "version": "", "flush_logs_every_n_steps": every}
    for kind, folder in ((CSVLogger, tmp_path / "theirs"), (ResumableCSVLogger, tmp_path / "ours")):
        logger = kind(folder, **options)
        for metrics, step in LOGGED:
            logger.log_metrics(metrics, step)
        logger.finalize("success")
    assert rows(tmp_path / "ours") == rows(tmp_path / "theirs")


@pytest.mark.parametrize("cut", range(len(LOGGED) + 1))
def test_another_process_goes_on(cut: int, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    one = ResumableCSVLogger(whole, name="", version="")
    for metrics, step in LOGGED:
        one.log_metrics(metrics, step)
    one.save()
    for part in (LOGGED[:cut], LOGGED[cut:]):
        logger = ResumableCSVLogger(parts, name="", version="")
        for metrics, step in part:
            logger.log_metrics(metrics, step)
        logger.save()
    assert rows(parts) == rows(whole)
    assert logger.experiment.rows == len(LOGGED)


def test_later_rows_are_dropped_and_half_a_line_with_them(tmp_path: Path) -> None:
    logger = ResumableCSVLogger(tmp_path, name="", version="")
    for metrics, step in LOGGED:
        logger.log_metrics(metrics, step)
    logger.save()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("9,9")  # a process was killed while it wrote
    again = ResumableCSVLogger(tmp_path, name="", version="")
    again.experiment.keep(3)
    again.log_metrics({"d": 4.0}, 5)
    again.save()
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "1", "5"]
    assert rows(tmp_path)[-1]["d"] == "4.0"
    again.experiment.keep(0)
    assert rows(tmp_path) == []
