"""Lightning's logger of `metrics.csv`, which a resume goes on with."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor

Row = Mapping[str, Any]


class ResumableCSVLogger(CSVLogger):
    """Goes on with the file there is, where Lightning's deletes it, and never leaves half of one.

    With `RunFolder` a checkpoint knows how many rows there were, and a resume drops the later ones, of steps that are
    taken again. Hyperparameters are left to the run's `config.yaml`.

    Args:
        **kwargs: What `pytorch_lightning.loggers.CSVLogger` takes.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> MetricsFile:
        """The file."""
        experiment: MetricsFile | None = getattr(self, "_experiment", None)  # what Lightning saves at the end
        if experiment is None:
            experiment = MetricsFile(Path(self.log_dir) / "metrics.csv")
            self.__dict__["_experiment"] = experiment
        return experiment


class MetricsFile:
    """Rows of figures by name, each of a step; some wait to be written.

    Args:
        file: Where; what is there stays.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.metrics: list[Row] = []
        written = self._read()
        self.columns = sorted(written[0]) if written else []
        self.rows = len(written)

    def log_metrics(self, metrics: Row, step: int) -> None:
        """Adds a row."""
        numbers = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        self.metrics.append(numbers | {"step": step})
        self.rows += 1

    def log_hparams(self, params: Mapping[str, Any]) -> None:
        """Does nothing."""

    def save(self) -> None:
        """Writes what waits."""
        if not self.metrics:
            return
        columns = sorted(set(self.columns).union(*self.metrics))
        if columns != self.columns or not self.file.exists():
            self.columns = columns
            self._write([*self._read(), *self.metrics])
        else:
            with self.file.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, columns).writerows(self.metrics)
        self.metrics = []

    def keep(self, rows: int) -> None:
        """Drops all but the first so many rows."""
        self.save()
        if self.rows > rows:
            self._write(self._read()[:rows])
            self.rows = rows

    def _read(self) -> list[Row]:
        if not self.file.exists():
            return []
        with self.file.open(newline="", encoding="utf-8", errors="replace") as file:
            return [{str(name): value for name, value in row.items()} for row in csv.DictReader(file)]

    def _write(self, rows: Sequence[Row]) -> None:
        """Puts a new file into the old one's place."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.file.with_name(f".{self.file.name}")
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.file)
