"""What a sweep tries: files in the words of W&B, drawn by Optuna."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from datamodules.errors import UsageError
from experiments.grid_command import published_lists
from experiments.search_space import SPACES, read_space, suggest


def test_an_experiments_own_space_comes_before_the_papers_lists(tmp_path: Path) -> None:
    assert "model.init_args.optimizer.lr" in read_space(None, "svae_reviews")
    lists = published_lists("smim_ptb")
    assert read_space(None, "smim_ptb") == {option: {"values": values} for option, values in lists.items()}
    assert read_space("bowman", "svae_reviews") == read_space("bowman", "smim_ptb")
    file = tmp_path / "mine.yaml"
    file.write_text("a.b: {values: [1, x]}\n")
    assert read_space(str(file), "svae_reviews") == {"a.b": {"values": [1, "x"]}}


def test_values_are_drawn_from_what_is_said() -> None:
    space = {
        "a": {"values": [1, "x"]},
        "b": {"distribution": "uniform", "min": 0.25, "max": 0.5},
        "c": {"distribution": "int_uniform", "min": 3, "max": 5},
        "d": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [suggest(study.ask(), space) for _ in range(400)]
    assert {each["a"] for each in drawn} == {1, "x"}
    assert {each["c"] for each in drawn} == {3, 4, 5} and all(isinstance(each["c"], int) for each in drawn)
    assert all(0.25 <= each["b"] <= 0.5 for each in drawn)
    # Half of the draws lie below the middle of the logarithm; evenly drawn it would be a hundredth of them.
    assert 150 < sum(each["d"] < 1e-2 for each in drawn) < 250


@pytest.mark.parametrize("file", sorted(SPACES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_spaces_that_come_with_the_project(file: Path) -> None:
    if file.stem != "published":
        assert read_space(file.stem, "anything")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "no options"),
        ("- a", "no options"),
        ("a: {", "no YAML"),
        ("a: 3", "a is 3"),
        ("a: {values: []}", "list"),
        ("a: {values: 3}", "list"),
        ("a: {distribution: normal, min: 0, max: 1}", "normal"),
        ("a: {min: 0, max: 1}", "distribution"),
        ("a: {distribution: uniform, min: 1, max: 1}", "1 and 1"),
        ("a: {distribution: uniform, min: 1}", "None"),
        ("a: {distribution: int_uniform, min: 0.5, max: 2}", "whole"),
        ("a: {distribution: log_uniform_values, min: 0, max: 1}", "logarithm"),
    ],
)
def test_what_is_wrong_is_named(content: str, named: str, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=named) as caught:
        read_space(str(file), "svae_reviews")
    assert str(file) in str(caught.value)


def test_a_space_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"nowhere.*bowman"):
        read_space("nowhere", "svae_reviews")
    with pytest.raises(UsageError, match=r"lm_reviews.*bowman"):
        read_space(None, "lm_reviews")
