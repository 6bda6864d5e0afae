"""Which settings a sweep tries, in the words of a W&B sweep file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from datamodules.errors import UsageError, require
from experiments.grid_command import PUBLISHED, published_lists
from experiments.runs import EXPERIMENTS

if TYPE_CHECKING:
    import optuna

SPACES = EXPERIMENTS / "sweeps"
DISTRIBUTIONS = ("uniform", "int_uniform", "log_uniform_values")
Space = Mapping[str, Mapping[str, Any]]


def read_space(name: str | None, experiment: str) -> Space:
    """The options that a sweep tries, and their values.

    Args:
        name: A YAML file, or one of `experiments/sweeps/`; without it the experiment's own is taken, or the values that
            its paper reports.
        experiment: Its name.

    Raises:
        UsageError: There is no such space, or it is none.
    """
    shipped = {file.stem: file for file in SPACES.glob("*.yaml") if file != PUBLISHED}
    if name is None and experiment not in shipped:
        try:
            return {option: {"values": values} for option, values in published_lists(experiment).items()}
        except UsageError as error:
            known = ", ".join(sorted(shipped))
            raise UsageError(
                f"no search space is known of {experiment}: give --space FILE, or one of {known}"
            ) from error
    file = shipped.get(name or experiment) or Path(str(name))
    require(
        file.is_file(), f"there is no search space {name}: give a YAML file, or one of {', '.join(sorted(shipped))}"
    )
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"search space {file} is no YAML: {' '.join(str(error).split())}") from error
    require(isinstance(content, dict) and bool(content), f"search space {file} holds no options")
    for option, entry in content.items():
        _require_entry(f"search space {file}: {option}", entry)
    return dict(content)


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """A value of each option, as the study's sampler draws them."""
    return {option: _suggest(trial, option, entry) for option, entry in space.items()}


def _suggest(trial: optuna.Trial, option: str, entry: Mapping[str, Any]) -> Any:
    if "values" in entry:
        return trial.suggest_categorical(option, entry["values"])
    kind = entry["distribution"]
    if kind == "int_uniform":
        return trial.suggest_int(option, entry["min"], entry["max"])
    return trial.suggest_float(option, entry["min"], entry["max"], log=kind == "log_uniform_values")


def _require_entry(name: str, entry: Any) -> None:
    require(isinstance(entry, Mapping), f"{name} is {entry!r}: give values, or distribution, min and max")
    if "values" in entry:
        require(isinstance(entry["values"], list) and bool(entry["values"]), f"{name}: values is to be a list")
        return
    kind = entry.get("distribution")
    require(kind in DISTRIBUTIONS, f"{name}: distribution is {kind}; there are {', '.join(DISTRIBUTIONS)}")
    numbers = [entry.get("min"), entry.get("max")]
    given = all(isinstance(number, int | float) for number in numbers)
    require(given and numbers[0] < numbers[1], f"{name}: min and max are {numbers[0]} and {numbers[1]}")
    require(
        kind != "int_uniform" or all(isinstance(n, int) for n in numbers), f"{name}: min and max are no whole numbers"
    )
    require(kind != "log_uniform_values" or numbers[0] > 0, f"{name}: min is {numbers[0]}, which has no logarithm")
