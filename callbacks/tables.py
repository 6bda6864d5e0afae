"""Where studies put what people read: the run folder and the dashboards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import WandbLogger


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


def log_picture(trainer: Trainer, name: str, file: Path) -> None:
    """Shows a PNG of the run folder in W&B as `plots/<name>`."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key=f"plots/{name}", images=[str(file)])
