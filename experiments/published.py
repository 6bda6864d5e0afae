"""What papers print, from `results/published.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from experiments.figures import LIKELIHOODS, OTHERS, Figure, Row
from lightning_modules.metrics.perplexity import CONVENTIONS

FILE = Path(__file__).parent / "results" / "published.yaml"


@cache
def content() -> dict[str, Any]:
    """The file."""
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def published_rows(corpus: str) -> list[Row]:
    """The rows of a corpus, by the name of its data module; empty where there are none."""
    tables = [table for table in content()["tables"] if table["corpus"] == corpus]
    return [_row(table, row) for table in tables for row in table["rows"]]


def conventions() -> dict[str, str]:
    """What each token convention means: the framework's own, and those that are known from papers alone."""
    own = {name: convention.meaning for name, convention in CONVENTIONS.items()}
    return own | content()["conventions"]


def melbo_note(*sentences: int) -> str:
    """What MELBO says nothing without: of how many test sentences it is."""
    return f"MELBO with N = {' and '.join(f'{count:,}' for count in sentences) or 'unknown'}"


def _row(table: Mapping[str, Any], row: Mapping[str, Any]) -> Row:
    paper = content()["papers"][table["paper"]]
    figures = [
        replace(_read(text), quantity=quantity, kind=kind, convention=table["convention"])
        for kind in LIKELIHOODS
        for quantity, text in row.get(kind, {}).items()
    ]
    figures += [replace(_read(row[name]), quantity=name, kind=kind) for name, kind in OTHERS.items() if name in row]
    settings = (f"{name}={value}" for name, value in row.get("settings", {}).items())
    notes = [content()["notes"][name] for name in [*table.get("notes", []), *row.get("notes", [])]]
    if "MELBO" in row:
        notes.append(melbo_note(content()["corpora"][table["corpus"]]["test"]))
    place = f"table {table['table']}" if "table" in table else f"in {table['quoted']}"
    return Row(
        corpus=table["corpus"],
        model=" ".join([row["model"], *settings]),
        figures=tuple(figures),
        source=f"{paper['short']}, {place}",
        paper=table["paper"],
        runs=paper.get("runs"),
        notes=tuple(notes),
    )


def _read(text: str | float) -> Figure:
    """A figure as it is printed: `94.3 ± 0.4`, `119` or `> 600`."""
    found = re.fullmatch(r"(?:> )?([\d.]+)(?: ± ([\d.]+))?", str(text))
    assert found is not None, text
    value, std = found.groups()
    return Figure("", "", None, float(value), None if std is None else float(std), str(text))
