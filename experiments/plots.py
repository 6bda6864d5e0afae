"""Plots of commands, with the numbers in them."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from datamodules.errors import UsageError, require
from experiments.runs import write_json


def write_plot(file: str, figure: Figure, numbers: object) -> None:
    """Writes the picture and, beside it, what is drawn as JSON.

    Args:
        file: Of either, by its ending `.png` or `.json`.
        figure: The picture.
        numbers: In it.

    Raises:
        UsageError: The ending is another, or the folder cannot be written to.
    """
    path = Path(file)
    require(path.suffix in (".png", ".json"), f"--output {file} ends in neither .png nor .json: both are written")
    write_json(str(path.with_suffix(".json")), numbers)
    try:
        figure.savefig(path.with_suffix(".png"), dpi=150)
    except OSError as error:
        raise UsageError(f"--output {file} cannot be written: {error.strerror}") from error
