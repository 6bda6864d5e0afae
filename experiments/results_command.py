"""`textae results`: gathers the figures of runs into one file, as they were measured."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.records import Run, by_title, mean_and_std, read_runs
from experiments.runs import write_json


def run(args: list[str]) -> None:
    """Reads each run's `test_metrics.json`, writes them together, and prints means over seeds.

    Runs of one experiment with different settings are told apart by these (`settings` in the file).
    """
    parser = argparse.ArgumentParser(prog="textae results", exit_on_error=False)
    parser.add_argument("runs", nargs="+", help="run folders, experiments' folders, or files of `textae results`")
    parser.add_argument("--output", metavar="FILE", help="write all of it as JSON")
    options = parser.parse_args(args)
    runs = read_runs(options.runs)
    if options.output is not None:
        write_json(options.output, [_written(run) for run in runs])
    _print(runs)


def _written(run: Run) -> dict[str, Any]:
    """All that is known of a run, as `read_runs` takes it."""
    known = {"settings": run.settings, "configuration": run.configuration}
    return run.record | {name: value for name, value in known.items() if value}


def _print(runs: Sequence[Run]) -> None:
    titles = by_title(runs)
    table = Table("quantity", *(f"{title} ({len(seeds)} seeds)" for title, seeds in titles.items()))
    for name in dict.fromkeys(name for run in runs for name in run.record["metrics"]):
        table.add_row(name, *(_cell(seeds, name) for seeds in titles.values()))
    Console(markup=False).print(table)


def _cell(seeds: Sequence[Run], name: str) -> str:
    values = [run.record["metrics"][name]["value"] for run in seeds if name in run.record["metrics"]]
    if not values:
        return ""
    mean, std = mean_and_std(values)
    return f"{mean:.4f}" + (f" ± {std:.4f}" if std is not None else "")
