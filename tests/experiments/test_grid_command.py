"""`textae grid`: the papers' lists of values, and a user's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from experiments.grid_command import PUBLISHED, combinations, published_lists
from experiments.runs import experiment_names

Command = Callable[..., Any]
LISTS = yaml.safe_load(PUBLISHED.read_text())


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is run, without running it; the third ends with status 3."""
    seen: list[list[str]] = []

    def run(words: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        assert words[:3] == [sys.executable, "-m", "experiments.cli"]
        seen.append(words[3:])
        return subprocess.CompletedProcess(words, 3 if len(seen) == 3 else 0)

    monkeypatch.setattr("experiments.grid_command.subprocess.run", run)
    return seen


def test_a_published_list_is_trained_value_by_value(textae: Command, commands: list[list[str]]) -> None:
    textae("grid", "--config", "smim_ptb", "--seed_everything=4", fails=True)
    size = "--model.init_args.posterior.latent_size"
    assert commands == [["fit", "--config=smim_ptb", f"{size}={z}", "--seed_everything=4"] for z in (16, 128, 512)]


def test_a_dry_run_only_prints(textae: Command, commands: list[list[str]]) -> None:
    printed = textae("grid", "--config=beta_vae_yelp", "--dry-run").out
    assert commands == [] and printed.count("textae fit --config=beta_vae_yelp") == 3
    assert "1 of 3" in printed and "--model.init_args.kl_weight=0.15" in printed


def test_a_users_values_take_the_place_of_the_published_ones_in_every_combination(
    textae: Command, commands: list[list[str]]
) -> None:
    over = ["--over", "a.b", "1", "--over", "c", "x y", "--over", "a.b", "2"]
    printed = textae("grid", "--config=smim_ptb", "--config=svae_reviews", *over).out
    configs = ["--config=smim_ptb", "--config=svae_reviews"]
    assert commands == [["fit", *configs, f"--a.b={value}", "--c=x y"] for value in (1, 2)]
    assert "'--c=x y'" in printed  # as a shell would take it


def test_the_first_failure_ends_it_with_its_status(textae: Command, commands: list[list[str]]) -> None:
    outcome = textae("grid", "--config=smim_ptb", "--over", "seed_everything", "0", "1", "2", "3", fails=True)
    assert outcome.code == 3 and len(commands) == 3


def test_combinations_are_all_of_them_once() -> None:
    found = combinations({"a": [1, 2], "b": [3], "c": [4, 5]})
    assert found == [{"a": a, "b": 3, "c": c} for a in (1, 2) for c in (4, 5)]


@pytest.mark.parametrize(
    "args, named",
    [
        (["--config=lm_ptb"], ("lm_ptb", "--over", "smim_ptb")),
        (["--config=smim_pbt"], ("smim_pbt", "smim_ptb")),
        (["--config=smim_ptb", "--over", "seed_everything"], ("--over seed_everything", "one or more")),
        ([], ("--config",)),
    ],
)
def test_what_is_wrong_is_named(textae: Command, args: list[str], named: tuple[str, ...]) -> None:
    error = textae("grid", *args, fails=True).error
    assert all(name in error for name in named)


@pytest.mark.parametrize("name", sorted(LISTS))
def test_a_published_list_is_of_an_option_and_has_the_experiments_own_value(textae: Command, name: str) -> None:
    def value_of(printed: str, key: str) -> Any:
        value = yaml.safe_load(printed)
        for part in key.split("."):
            value = value[part]
        return value

    assert name in experiment_names()
    for key, values in published_lists(name).items():
        assert value_of(textae("fit", f"--config={name}", "--print_config").out, key) in values
        printed = textae("fit", f"--config={name}", f"--{key}={values[0]}", "--print_config").out
        assert value_of(printed, key) == values[0]
        assert len(set(values)) == len(values)
