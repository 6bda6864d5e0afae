"""`textae results`: gathers the figures of runs into one file, as they were measured."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from datamodules.errors import UsageError, require
from experiments.runs import write_json

# What is no setting of a model, its data or its training.
APART = ("seed_everything", "model.init_args.seed", "data.init_args.seed", "trainer.logger", "trainer.default_root_dir")


def run(args: list[str]) -> None:
    """Reads each run's `test_metrics.json`, writes them together, and prints means over seeds.

    Runs of one experiment with different settings are told apart by these (`settings` in the file).
    """
    parser = argparse.ArgumentParser(prog="textae results", exit_on_error=False)
    parser.add_argument("runs", nargs="+", help="run folders, or experiments' folders: all of their runs")
    parser.add_argument("--output", metavar="FILE", help="write all of it as JSON")
    options = parser.parse_args(args)
    found = [pair for folder in options.runs for pair in _records(Path(folder))]
    records = _with_settings(found)
    if options.output is not None:
        write_json(options.output, records)
    _print(records)


def _records(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What was measured in each run of a folder, and its configuration, flat."""
    require(folder.is_dir(), f"there is no run folder {folder}")
    files = sorted(folder.glob("test_metrics.json")) or sorted(folder.glob("*/test_metrics.json"))
    require(bool(files), f"{folder} holds no test_metrics.json: test the run first")
    try:
        return [(json.loads(file.read_text(encoding="utf-8")), _configuration(file.parent)) for file in files]
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"a test_metrics.json or config.yaml of {folder} is damaged: {error}") from error


def _configuration(run: Path) -> dict[str, Any]:
    file = run / "config.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    parts = ((part, content.get(part)) for part in ("model", "data", "trainer"))
    flat = {key: value for part, values in parts for key, value in _leaves(values, part)}
    return {key: value for key, value in flat.items() if not key.startswith(APART)}


def _leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{name}.{key}")]
    return [(name, value)]


def _with_settings(found: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """The records, each with those of its settings that are not the same in all runs of its experiment."""
    values: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for record, configuration in found:
        for key, value in configuration.items():
            values[record["experiment"], key].append(value)
    differ = {name for name, seen in values.items() if any(value != seen[0] for value in seen)}
    records = []
    for record, configuration in found:
        own = {key: value for key, value in configuration.items() if (record["experiment"], key) in differ}
        records.append(record | ({"settings": own} if own else {}))
    return records


def _title(record: Mapping[str, Any]) -> str:
    settings = record.get("settings", {})
    return " ".join([record["experiment"], *(f"{key.split('.')[-1]}={value}" for key, value in settings.items())])


def _print(records: list[dict[str, Any]]) -> None:
    experiments: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        experiments[_title(record)].append(record)
    table = Table("quantity", *(f"{name} ({len(found)} seeds)" for name, found in experiments.items()))
    names = dict.fromkeys(name for record in records for name in record["metrics"])
    for name in names:
        table.add_row(
            name,
            *(
                _cell([record["metrics"].get(name, {}).get("value") for record in runs])
                for runs in experiments.values()
            ),
        )
    Console().print(table)


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ± {stdev(known):.4f}" if len(known) > 1 else ""
    return f"{mean(known):.4f}{spread}"
