"""Whether a run was measured on the words that its experiment has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import yaml

import datamodules
from experiments.records import Run
from experiments.runs import EXPERIMENTS, experiment_names

# The options of a corpus that decide which words and sentences there are: another vocabulary has other unknown words.
GROUPS = ("vocabulary", "subset")


def changed_data(run: Run) -> list[str]:
    """What of a run's vocabulary and subset is not as in its experiment, in words; nothing of one that has no YAML."""
    name = run.record["experiment"]
    if name not in experiment_names():
        return []
    data = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8"))["data"]
    kind = getattr(datamodules, data["class_path"].split(".")[-1])
    # A corpus' own defaults come before those of all.
    parameters = inspect.signature(datamodules.TextDataModule).parameters | inspect.signature(kind).parameters
    changed = []
    for group in GROUPS:
        default = parameters[group].default
        expected: dict[str, Any] = asdict(default) if is_dataclass(default) and not isinstance(default, type) else {}
        given: Mapping[str, Any] = data.get("init_args", {}).get(group) or {}
        for option, value in (expected | dict(given)).items():
            key = f"data.init_args.{group}.{option}"
            measured = run.tested_with.get(key, run.configuration.get(key, value))
            if measured != value and not (group == "subset" and option == "train"):
                changed.append(f"{key} is {measured}, in the experiment {value}")
    return changed
