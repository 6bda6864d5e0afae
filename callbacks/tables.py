"""Where studies put what people read: the run folder and the dashboards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console
from rich.table import Table


def run_folder(trainer: Trainer, *parts: str) -> Path:
    """A file in the run folder, its parent folders made."""
    file = Path(trainer.default_root_dir).joinpath(*parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def log_table(trainer: Trainer, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Writes a table to `samples/<name>.txt`, a block of lines a row, and to W&B as `samples/<name>`."""
    width = max(len(column) for column in columns)
    blocks = (
        "\n".join(f"{column:<{width}}  {value}" for column, value in zip(columns, row, strict=True)) for row in rows
    )
    run_folder(trainer, "samples", f"{name}.txt").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_text(key=f"samples/{name}", columns=list(columns), data=[list(row) for row in rows])


def log_figures(
    trainer: Trainer, name: str, rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any] | None = None
) -> Table:
    """Writes a study's figures to `samples/<name>.json` and `.txt`, and to W&B as `samples/<name>`.

    Args:
        trainer: Whose run folder and loggers they are for.
        name: Of the study.
        rows: Words and figures; all rows have the same columns.
        record: What the JSON says beside the `rows`.

    Returns:
        The table that the terminal is to show once the test has ended.
    """
    table = Table(title=name.replace("_", " "))
    for column, value in rows[0].items():
        table.add_column(column, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:.4g}" for value in row.values()))
    content = {**(record or {}), "rows": [dict(row) for row in rows]}
    run_folder(trainer, "samples", f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with run_folder(trainer, "samples", f"{name}.txt").open("w", encoding="utf-8") as file:
        Console(file=file, width=200, markup=False).print(table)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(f"samples/{name}", columns=list(rows[0]), data=[list(row.values()) for row in rows])
    return table


def log_picture(trainer: Trainer, name: str, file: Path) -> None:
    """Shows a PNG of the run folder in W&B as `plots/<name>`."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key=f"plots/{name}", images=[str(file)])
