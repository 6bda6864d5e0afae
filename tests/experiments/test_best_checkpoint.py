"""A fit ends with its best checkpoint by the family's own monitor, whatever else a user keeps."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_a_users_checkpoint_of_the_worst_epoch_changes_no_figure(
    textae: Command, trained: Any, quiet: tuple[str, ...], tmp_path: Path
) -> None:
    keep = "{class_path: ModelCheckpoint, init_args: {monitor: val/reconstruction, mode: max, dirpath: kept}}"
    csv_logger = "{class_path: CSVLogger, init_args: {save_dir: runs}}"
    textae(
        "fit",
        f"--config={trained.config}",
        f"--data.init_args.data_dir={trained.data}",
        "--trainer.max_epochs=4",
        f"--trainer.callbacks+={keep}",
        f"--trainer.logger={csv_logger}",
        *quiet,
    )
    [run] = (tmp_path / "runs" / "memory").iterdir()
    record = json.loads((run / "test_metrics.json").read_text())
    with (run / "metrics.csv").open() as lines:
        values = [float(row["val/reconstruction"]) for row in csv.DictReader(lines) if row["val/reconstruction"]]
    assert len(values) == 4 and max(values) > min(values)
    assert record["checkpoint"] == "best.ckpt" and len(list((tmp_path / "kept").iterdir())) == 1
    assert record["validation"]["val/reconstruction"] == pytest.approx(min(values), rel=1e-5)
    # The same sentences are valid and test.
    assert record["metrics"]["test/reconstruction"]["value"] == pytest.approx(min(values), rel=1e-4)
