"""Arguments of callbacks that mean nothing are refused when they are given, not when a test has been measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import callbacks
from callbacks.classifier_judge import ClassifierConfig
from callbacks.language_judge import JudgeConfig
from datamodules.errors import UsageError


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (callbacks.NeighborPurity, {"sentences": 0}),
        (callbacks.NeighborPurity, {"neighbors": 0}),
        (callbacks.LatentMap, {"sentences": -1}),
        (callbacks.Interpolations, {"pairs": -1}),
        (callbacks.Interpolations, {"steps": 1}),
        (callbacks.Reconstructions, {"shown": -1}),
        (callbacks.PriorSamples, {"count": 0}),
        (callbacks.PriorSamples, {"shown": -1}),
        (callbacks.Melbo, {"meet": math.inf}),
        (callbacks.LastCheckpoint, {"every_n_train_steps": 0}),
        (callbacks.Throughput, {"every_n_steps": 0}),
        (JudgeConfig, {"dropout": 1.0}),
        (JudgeConfig, {"lr": -1.0}),
        (JudgeConfig, {"lr": math.nan}),
        (ClassifierConfig, {"epochs": 0}),
        (ClassifierConfig, {"dropout": 1.0}),
        (ClassifierConfig, {"lr": math.nan}),
    ],
)
def test_it_is_named(make: Callable[..., Any], arguments: dict[str, float]) -> None:
    [(name, value)] = arguments.items()
    with pytest.raises(UsageError) as caught:
        make(**arguments)
    assert name in str(caught.value) and str(value) in str(caught.value) and "give" in str(caught.value)
