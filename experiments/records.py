"""What was measured in runs, and which of them are seeds of one model: for `textae results` and `textae compare`."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

import callbacks
from datamodules.errors import UsageError, require

# What is no setting of a model, its data or its training: of these nothing that is measured depends.
APART = (
    *("seed_everything", "model.init_args.seed", "data.init_args.seed", "data.init_args.num_workers"),
    *(f"trainer.{name}" for name in ("logger", "default_root_dir", "enable_", "accelerator", "devices", "num_nodes")),
    *(f"trainer.{name}" for name in ("strategy", "log_every_n_steps", "num_sanity_val_steps", "profiler")),
)
# The modules of our own callbacks that change what is trained; the others measure it.
TRAINING = ("callbacks.annealing", "callbacks.finite_loss", "callbacks.stopping")
# What of a test's settings its figures may depend on.
TESTED = ("data.", "model.", "trainer.precision")
OF_TEST = "test."  # before their names
UNTESTED = (
    *(f"data.init_args.{name}" for name in ("batching.", "subset.train", "subset.valid")),
    *(f"model.init_args.{name}." for name in ("optimizer", "initialization", "corruption")),
)
# Of a record, and of a figure in it.
KINDS = {"experiment": str, "corpus": str, "seed": int, "sentences": int, "configuration": dict, "settings": dict}
NUMBERS = ("gap", "sentences", "samples", "neighbors", "threshold")


@dataclass(frozen=True)
class Run:
    """A tested run.

    Attributes:
        folder: Where it lies, or the file of several that holds its record.
        record: Its `test_metrics.json`.
        configuration: Of its `config.yaml` what is set of model, data and trainer, by dotted names; empty without one.
        settings: Those of the configuration that are not the same in all runs of its experiment.
    """

    folder: Path
    record: dict[str, Any]
    configuration: dict[str, Any]
    settings: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Its experiment and settings; runs of one title differ in their seed alone."""
        settings = (
            f"{OF_TEST if key.startswith(OF_TEST) else ''}{key.split('.')[-1]}={value}"
            for key, value in self.settings.items()
        )
        return " ".join([self.record["experiment"], *settings])

    @property
    def tested_with(self) -> dict[str, Any]:
        """By dotted names, the settings of its test that are not those of its training."""
        return {
            key.removeprefix(OF_TEST): value for key, value in self.configuration.items() if key.startswith(OF_TEST)
        }


def read_runs(places: Sequence[str]) -> list[Run]:
    """The tested runs in places, each of which is a run, an experiment's folder or a file that `textae results` wrote.

    A folder of several that holds no tested run is named, and left out.

    Raises:
        UsageError: A place is missing, none holds a `test_metrics.json`, or one is damaged.
    """
    found = {place: _files(Path(place)) for place in places}
    untested = [place for place, files in found.items() if not files]
    require(len(untested) < len(found), f"{', '.join(untested)} holds no test_metrics.json: test the run first")
    if untested:
        print(f"left out, for there is no test_metrics.json yet: {', '.join(untested)}", file=sys.stderr)
    files = {file.resolve(): file for each in found.values() for file in each}  # each once, however it is spelled
    return _with_settings([run for file in files.values() for run in _runs(file)])


def by_title(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each model, one a seed."""
    titles: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        titles[run.title].append(run)
    return dict(titles)


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and of several values their (sample) standard deviation."""
    return mean(values), stdev(values) if len(values) > 1 else None


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    require(place.is_dir(), f"there is no run folder {place}")
    return sorted(place.glob("test_metrics.json")) or sorted(place.glob("*/test_metrics.json"))


def _runs(file: Path) -> list[Run]:
    """The run whose `test_metrics.json` it is, or those whose records are in it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # no UTF-8, no JSON
        raise UsageError(f"{file} is damaged: {error}") from error
    if isinstance(content, list) and content:
        records = [_record(each, file) for each in content]
        return [Run(file, each, each.get("configuration", {}), each.get("settings", {})) for each in records]
    return [_tested(_record(content, file), file)]


def _tested(record: dict[str, Any], file: Path) -> Run:
    """A run with the settings that it was trained with, and those with which its test was made where they differ."""
    trained, tested = (_content(file.with_name(f"{of}config.yaml")) for of in ("", "test_"))
    configuration, of_test = settings_of(trained), settings_of(tested)
    seed = trained.get("seed_everything")
    if trained:
        configuration |= {
            f"{OF_TEST}{key}": value
            for key, value in of_test.items()
            if configuration.get(key) != value and key.startswith(TESTED) and not key.startswith(UNTESTED)
        }
        if tested.get("seed_everything", seed) != seed:
            configuration[f"{OF_TEST}seed_everything"] = tested["seed_everything"]
    # The record has the test's: of another one the draws and a cut's sentences are others, the model is not.
    return Run(file.parent, record | ({"seed": seed} if isinstance(seed, int) else {}), configuration, {})


def _record(record: Any, file: Path) -> dict[str, Any]:
    whole = isinstance(record, dict) and isinstance(record.get("metrics"), dict)
    require(whole and "experiment" in record, f"{file} is damaged: it has no experiment or no metrics")
    for name, kind in KINDS.items():
        require(isinstance(record.get(name, kind()), kind), f"{file} is damaged: its {name} is {record.get(name)!r}")
    for name, figure in record["metrics"].items():
        known = (
            isinstance(figure, dict)
            and isinstance(figure.get("value", ""), int | float | None)
            and isinstance(figure.get("kind"), str)
            and all(isinstance(figure.get(note, 0), int | float) for note in NUMBERS)
        )
        require(known, f"{file}: {name} has no value or no kind, as in older versions; test the run again")
    numbers = {name: figure for name, figure in record["metrics"].items() if figure["value"] is not None}
    return record | {"metrics": numbers}


def read_settings(file: Path) -> dict[str, Any]:
    """The settings of a run's `config.yaml`; none of one that is not there.

    Raises:
        UsageError: It is damaged.
    """
    return settings_of(_content(file))


def _content(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{file} is damaged: {' '.join(str(error).split())}") from error
    require(isinstance(content, dict), f"{file} is damaged: it holds no settings")
    return dict(content)


def settings_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration sets of model, data and trainer that a measured figure may depend on, by dotted names."""
    parts = ((part, content[part]) for part in ("model", "data", "trainer") if content.get(part) is not None)
    flat = {key: value for part, values in parts for key, value in _leaves(values, part)}
    return {key: value for key, value in flat.items() if not key.startswith(APART)}


def _leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    if name == "trainer.callbacks":
        listed = value if isinstance(value, list) else []
        given = [each for each in listed if isinstance(each, Mapping) and "class_path" in each]
        return [leaf for callback in given for leaf in _of_callback(callback, name)]
    if isinstance(value, Mapping):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{name}.{key}")]
    return [(name, value)]


def _of_callback(callback: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    """The options of a callback that training depends on, by its class and the weight that it drives, if it does."""
    kind = str(callback["class_path"]).split(".")[-1]
    ours = getattr(callbacks, kind, None)
    if ours is not None and ours.__module__ not in TRAINING:
        return []
    options = callback.get("init_args") or {}
    return _leaves(options, ".".join([name, kind, *([options["weight"]] if "weight" in options else [])]))


def _with_settings(runs: list[Run]) -> list[Run]:
    """Finds the settings in which runs of one experiment differ; having one differs from not having it."""
    configured: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        if run.configuration:
            configured[run.record["experiment"]].append(run.configuration)
    differ = {
        (experiment, key)
        for experiment, found in configured.items()
        for key in set().union(*found)
        if any(key not in each or each[key] != found[0].get(key) for each in found)
    }
    places: dict[str, set[Path]] = defaultdict(set)
    for run in runs:
        places[run.record["experiment"]].add(run.folder)
    return [
        replace(run, settings={k: v for k, v in run.configuration.items() if (run.record["experiment"], k) in differ})
        if run.configuration
        else _without_configuration(run, several=len(places[run.record["experiment"]]) > 1)
        for run in runs
    ]


def _without_configuration(run: Run, several: bool) -> Run:
    """A run of an older file of results, which may differ from those of other places in more than it says."""
    return replace(run, settings={**run.settings, "file": run.folder.stem}) if several and run.folder.is_file() else run
