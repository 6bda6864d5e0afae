"""`textae results`: gathers the figures of runs into one file, as they were measured."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from datamodules.errors import UsageError, require
from experiments.runs import write_json


def run(args: list[str]) -> None:
    """Reads each run's `test_metrics.json`, writes them together, and prints means over seeds."""
    parser = argparse.ArgumentParser(prog="textae results", exit_on_error=False)
    parser.add_argument("runs", nargs="+", help="run folders, or experiments' folders: all of their runs")
    parser.add_argument("--output", metavar="FILE", help="write all of it as JSON")
    options = parser.parse_args(args)
    records = [record for folder in options.runs for record in _records(Path(folder))]
    if options.output is not None:
        write_json(options.output, records)
    _print(records)


def _records(folder: Path) -> list[dict[str, Any]]:
    require(folder.is_dir(), f"there is no run folder {folder}")
    files = sorted(folder.glob("test_metrics.json")) or sorted(folder.glob("*/test_metrics.json"))
    require(bool(files), f"{folder} holds no test_metrics.json: test the run first")
    try:
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]
    except json.JSONDecodeError as error:
        raise UsageError(f"a test_metrics.json of {folder} is damaged: {error}") from error


def _print(records: list[dict[str, Any]]) -> None:
    experiments: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        experiments[record["experiment"]].append(record)
    table = Table("quantity", *(f"{name} ({len(found)} seeds)" for name, found in experiments.items()))
    names = dict.fromkeys(name for record in records for name in record["metrics"])
    for name in names:
        table.add_row(name, *(_cell([record["metrics"].get(name) for record in runs]) for runs in experiments.values()))
    Console().print(table)


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ± {stdev(known):.4f}" if len(known) > 1 else ""
    return f"{mean(known):.4f}{spread}"
