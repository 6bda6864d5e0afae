"""A test's figures as people read them: in the terminal, and in W&B."""

from __future__ import annotations

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import WandbLogger
from rich import box
from rich.console import Console
from rich.table import Table

from callbacks.measured import Figure, Figures

COLUMNS = ("quantity", "value", "error", "monte carlo error", "kind", "convention", "sentences", "samples", "meaning")
# From how many characters a terminal has room for what each figure means, too.
WIDE = 150


def print_figures(console: Console, title: str, figures: Figures) -> None:
    """Prints a table; where the terminal is narrow, without the figures' meanings, which the file has."""
    wide = console.width >= WIDE
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("quantity", overflow="fold")
    for number in ("value", "± over\nsentences", "± Monte\nCarlo"):
        table.add_column(number, justify="right", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    if wide:
        table.add_column("what it is")
    for name, figure in figures.items():
        numbers = [_number(figure.get(key)) for key in ("value", "error", "monte_carlo_error")]
        row = [name.removeprefix("test/"), *numbers, str(figure["kind"])]
        table.add_row(*row, *([_meaning(figure)] if wide else []))
    console.print(table)
    _print_floor(console, figures)
    if not wide:
        console.print("meanings, conventions and sample sizes: test_metrics.json, or a wider terminal", soft_wrap=True)


def _print_floor(console: Console, figures: Figures) -> None:
    """Where the truth is known: how far each likelihood lies from it, and which can be none."""
    gaps = {name.removeprefix("test/"): figure for name, figure in figures.items() if "gap" in figure}
    in_nats = [f"{name} {figure['gap']:+.2f}" for name, figure in gaps.items() if "perplexity" not in name]
    below = [name for name, figure in gaps.items() if figure["below_floor"]]
    if in_nats:
        console.print(f"nats above the entropy floor: {', '.join(in_nats)}", soft_wrap=True)
    if below:
        console.print(f"BELOW THE FLOOR, so no likelihood: {', '.join(below)}", soft_wrap=True)


def log_figure_table(trainer: Trainer, figures: Figures) -> None:
    """Logs the table to W&B as `test_figures`, numbers as numbers."""
    keys = [column.replace(" ", "_") for column in COLUMNS[1:]]
    rows = [[name.removeprefix("test/"), *(figure.get(key) for key in keys)] for name, figure in figures.items()]
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table("test_figures", columns=list(COLUMNS), data=rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _meaning(figure: Figure) -> str:
    counted = ", ".join(f"{figure[key]:,} {key}" for key in ("sentences", "samples") if key in figure)
    convention = f" [{figure['convention']}]" if "convention" in figure else ""
    gap = f", {figure['gap']:+.2f} nats to the floor" if "gap" in figure else ""
    return f"{figure['meaning']}{convention}; {counted}{gap}"
