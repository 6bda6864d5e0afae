from __future__ import annotations

import logging
from typing import Any, cast

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from callbacks import CollapseWarning
from datamodules.errors import UsageError


class FakeTrainer:
    """As much of a trainer as the callback looks at."""

    def __init__(self, fn: TrainerFn = TrainerFn.FITTING, sanity: bool = False) -> None:
        self.state = type("State", (), {"fn": fn})
        self.sanity_checking = sanity
        self.is_global_zero = True
        self.callback_metrics: dict[str, torch.Tensor] = {}


def warned(
    values: list[float | None], caplog: Any, callback: CollapseWarning | None = None, **options: Any
) -> list[int]:
    """After which of the validations, whose KL these are, there is a warning."""
    callback, trainer, places = callback or CollapseWarning(nats=0.1, patience=2), FakeTrainer(**options), []
    for place, value in enumerate(values):
        trainer.callback_metrics = {} if value is None else {"val/kl": torch.tensor(value)}
        caplog.clear()
        callback.on_validation_end(cast(Any, trainer), cast(Any, None))  # it asks no model
        if caplog.records:
            [record] = caplog.records
            assert record.levelno == logging.WARNING and f"{value:.4f}" in record.getMessage()
            places.append(place)
    return places


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([5.0, 0.01, 0.02, 0.01, 0.001], [2]),  # once, not at each that follows
        ([0.01, 3.0, 0.01, 3.0], []),
        ([0.1, 0.1, 0.1], []),
        ([0.05, 0.05, 2.0, 0.05, 0.03], [1, 4]),
        ([None, None, None], []),  # a family without a KL
    ],
)
def test_two_low_validations_in_a_row(values: list[float | None], places: list[int], caplog: Any) -> None:
    assert warned(values, caplog) == places


def test_only_trainings_are_watched(caplog: Any) -> None:
    low: list[float | None] = [0.0, 0.0, 0.0]
    assert warned(low, caplog, fn=TrainerFn.VALIDATING) == []
    assert warned(low, caplog, sanity=True) == []


def test_a_resume_goes_on_counting(caplog: Any) -> None:
    first, second = CollapseWarning(nats=0.1, patience=3), CollapseWarning(nats=0.1, patience=3)
    assert warned([0.0, 0.0], caplog, first) == []
    second.load_state_dict(first.state_dict())
    assert warned([0.0], caplog, second) == [0]


@pytest.mark.parametrize("options", [{"nats": 0.0}, {"patience": 0}])
def test_settings_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        CollapseWarning(**options)
