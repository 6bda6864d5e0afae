"""`textae grid`: trains an experiment once for each value of a list, such as those that a paper reports."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from datamodules.errors import UsageError, require
from experiments.runs import EXPERIMENTS, find_config

PUBLISHED = EXPERIMENTS / "sweeps" / "published.yaml"


def run(args: list[str]) -> None:
    """Runs `textae fit` for every combination of values, one after the other; ends with the first that fails."""
    parser = argparse.ArgumentParser(
        prog="textae grid",
        exit_on_error=False,
        description=f"Trains an experiment once for each value of a list ({PUBLISHED.name} has those of the papers).",
        epilog="Everything else goes to `textae fit`.",
    )
    parser.add_argument(
        "-c", "--config", required=True, action="append", metavar="EXPERIMENT", help="a YAML file or an experiment"
    )
    parser.add_argument(
        "--over",
        nargs="+",
        action="append",
        metavar=("OPTION", "VALUE"),
        help="values of an option, in place of the published ones; again for every combination with another's",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be run")
    options, rest = parser.parse_known_args(args)
    name = [Path(find_config(config)).stem for config in options.config][-1]
    lists = published_lists(name) if options.over is None else _given(options.over)
    chosen = combinations(lists)
    for number, settings in enumerate(chosen, start=1):
        configs = [f"--config={config}" for config in options.config]
        words = ["fit", *configs, *(f"--{key}={value}" for key, value in settings.items()), *rest]
        print(f"{number} of {len(chosen)}: textae {shlex.join(words)}", flush=True)
        if not options.dry_run:
            ended = subprocess.run([sys.executable, "-m", "experiments.cli", *words], check=False)
            if ended.returncode != 0:
                sys.exit(ended.returncode)


def _given(over: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
    """The lists of `--over`; of an option that is named twice the values of both."""
    lists: dict[str, list[Any]] = {}
    for key, *values in over:
        require(len(values) > 0, f"--over {key}: give one or more values of it")
        lists.setdefault(key, []).extend(values)
    return lists


def published_lists(experiment: str) -> dict[str, list[Any]]:
    """The options of which papers report several values of an experiment, and these values.

    Raises:
        UsageError: There are none.
    """
    published: dict[str, dict[str, list[Any]]] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    if experiment not in published:
        raise UsageError(
            f"no paper's list of values is known of {experiment}: give --over OPTION VALUE VALUE ...; there are lists "
            f"of {', '.join(sorted(published))}"
        )
    return published[experiment]


def combinations(lists: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every choice of one value of each option; the last option's values change fastest."""
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]
