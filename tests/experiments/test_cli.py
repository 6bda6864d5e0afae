"""The commands of `textae` and their help; a word that is none of them is named, with no traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from experiments.runs import experiment_names

Command = Callable[..., Any]
COMMANDS = ("fit", "validate", "test", "predict", "data", "sample", "reconstruct", "interpolate", "results", "compare")
COMMANDS += ("traverse", "tradeoff", "word-dropout", "impute", "transfer", "grid")


def test_no_arguments_print_the_help(textae: Command) -> None:
    printed = textae().out
    assert printed == textae("--help").out
    for command in COMMANDS:
        assert f"  {command} " in printed


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("fit", ("--config", "--trainer", "--model", "--data", "--runs", "--name", "--ckpt_path")),
        ("validate", ("--config", "--ckpt_path")),
        ("test", ("--config", "--ckpt_path")),
        ("predict", ("--config", "--ckpt_path")),
        ("data", ("--config", "--data")),
        ("sample", ("--run", "--checkpoint", "--output", "--count", "--temperature", "--seed")),
        ("reconstruct", ("--run", "--checkpoint", "--output", "--samples", "--perturb", "sentences")),
        ("interpolate", ("--run", "--checkpoint", "--output", "--steps", "--path", "--random", "first", "last")),
        ("traverse", ("--run", "--checkpoint", "--output", "--sentences", "--reach", "--steps", "sentence")),
        ("tradeoff", ("--output", "runs")),
        ("word-dropout", ("--output", "runs")),
    ],
)
def test_every_command_has_help(textae: Command, command: str, options: tuple[str, ...]) -> None:
    printed = textae(command, "--help").out
    for option in options:
        assert option in printed


def test_an_unknown_command(textae: Command) -> None:
    error = textae("trian", fails=True).error
    assert "trian" in error
    for command in COMMANDS:
        assert command in error


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "data"])
def test_an_unknown_experiment_lists_the_experiments(textae: Command, command: str) -> None:
    error = textae(command, "--config=dae_yelp", fails=True).error
    assert "dae_yelp" in error
    assert len(experiment_names()) > 5
    for name in experiment_names():
        assert f"\n  {name}" in error


def test_a_bug_keeps_its_traceback(textae: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("experiments.sample_command.run", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        textae("sample")
