from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from models import WITHOUT_VALIDATION, loader, sentences, small, trainer
from torch import nn

from callbacks import FiniteLoss
from datamodules.bucketing import BatchingConfig
from datamodules.errors import UsageError
from lightning_modules import Autoencoder
from lightning_modules.optimization import OptimizerConfig, make_optimizer

pytestmark = WITHOUT_VALIDATION
START, GRADIENT = 2.0, 0.5


def after_steps(config: OptimizerConfig, steps: int, fused: bool = False, **options: Any) -> float:
    """Where a parameter ends after steps along a constant gradient."""
    parameter = nn.Parameter(torch.tensor([START]))
    optimizer = make_optimizer([{"params": [parameter], **options}], config, fused)
    for _ in range(steps):
        parameter.grad = torch.tensor([GRADIENT])
        optimizer.step()
    return float(parameter.detach())


def adam(lr: float, betas: tuple[float, float], steps: int, l2: float = 0.0, decay: float = 0.0) -> float:
    """Kingma and Ba's algorithm, and Loshchilov and Hutter's decoupled decay."""
    value, first, second = START, 0.0, 0.0
    for step in range(1, steps + 1):
        gradient = GRADIENT + l2 * value
        value -= lr * decay * value
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        value -= lr * (first / (1 - betas[0] ** step)) / (math.sqrt(second / (1 - betas[1] ** step)) + 1e-8)
    return value


@pytest.mark.parametrize("fused", [False, True])
def test_adam_takes_its_rate_and_betas_and_an_l2_penalty(fused: bool) -> None:
    config = OptimizerConfig("adam", lr=0.1, betas=(0.5, 0.6), weight_decay=0.7)
    assert after_steps(config, 3, fused) == pytest.approx(adam(0.1, (0.5, 0.6), 3, l2=0.7), abs=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_adamw_decays_weights_apart_from_the_gradient(fused: bool) -> None:
    config = OptimizerConfig("adamw", lr=0.1, betas=(0.5, 0.6), weight_decay=0.7)
    assert after_steps(config, 3, fused) == pytest.approx(adam(0.1, (0.5, 0.6), 3, decay=0.7), abs=1e-5)


def test_sgd_takes_its_rate_momentum_and_penalty() -> None:
    config = OptimizerConfig("sgd", lr=0.1, momentum=0.5, weight_decay=0.2)
    value, velocity = START, 0.0
    for _ in range(3):
        velocity = 0.5 * velocity + GRADIENT + 0.2 * value
        value -= 0.1 * velocity
    assert after_steps(config, 3) == pytest.approx(value, abs=1e-6)


def test_a_group_overrides_an_option() -> None:
    config = OptimizerConfig("adam", lr=0.1)
    assert after_steps(config, 3, lr=0.01, betas=(0.1, 0.2)) == pytest.approx(adam(0.01, (0.1, 0.2), 3), abs=1e-5)


class Rates(pl.Callback):
    """The learning rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize(
    "schedule, expected",
    [("constant", [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]), ("linear", [0.1, 0.1 * 5 / 6, 0.1 * 4 / 6, 0.05, 0.1 / 3, 0.1 / 6])],
)
def test_the_rate_stays_or_falls_to_0_behind_the_last_step(schedule: Any, expected: list[float]) -> None:
    seen = Rates()
    model = small(Autoencoder, optimizer=OptimizerConfig("sgd", lr=0.1, schedule=schedule))
    data = loader(sentences(12), BatchingConfig(sentences=4), training=True)
    trainer(max_epochs=2, callbacks=[seen]).fit(model, data)
    assert seen.rates == pytest.approx(expected, abs=1e-9)


def test_a_resume_for_more_epochs_falls_to_0_behind_the_new_last_step(tmp_path: Path) -> None:
    seen, file = Rates(), tmp_path / "last.ckpt"
    data = loader(sentences(12), BatchingConfig(sentences=4), training=True)
    for epochs, path in ((1, None), (2, file)):
        model = small(Autoencoder, optimizer=OptimizerConfig("sgd", lr=0.1, schedule="linear"))
        fitting = trainer(max_epochs=epochs, callbacks=[seen])
        fitting.fit(model, data, ckpt_path=path)
        fitting.save_checkpoint(file)
    # Three steps on the way to the third; the last three of six.
    assert seen.rates[4:] == pytest.approx([0.1 * 2 / 6, 0.1 / 6], abs=1e-9) and min(seen.rates[3:]) > 0


def test_a_rate_that_would_never_reach_0_is_refused() -> None:
    model = small(Autoencoder, optimizer=OptimizerConfig("sgd", lr=0.1, schedule="linear"))
    with pytest.raises(UsageError, match=r"schedule linear.*max_epochs"):
        trainer(max_epochs=-1).fit(model, loader(sentences(4), BatchingConfig(sentences=4), training=True))


def test_a_training_that_logs_nothing() -> None:
    fitting = trainer(max_epochs=1, log_every_n_steps=0, callbacks=[FiniteLoss()])
    fitting.fit(small(Autoencoder), loader(sentences(4), BatchingConfig(sentences=2), training=True))
    assert "train/loss" not in fitting.callback_metrics


@pytest.mark.parametrize("name, value", [("lr", 0.0), ("betas", (0.9, 1.0)), ("momentum", 1.0), ("weight_decay", -0.1)])
def test_impossible_options_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"optimizer.{name}"):
        OptimizerConfig(**{name: value})


@pytest.mark.parametrize(
    ("options", "fused"),
    [
        ({}, True),
        ({"gradient_clip_val": 0.1}, True),
        ({"precision": "bf16-mixed"}, True),
        ({"precision": "bf16-mixed", "gradient_clip_val": 0.1}, False),  # Lightning would refuse it
    ],
)
def test_steps_are_fused_where_lightning_lets_them(options: dict[str, Any], fused: bool) -> None:
    model = small(Autoencoder)
    fit = trainer(max_steps=2, **options)
    fit.fit(model, loader(sentences(8), BatchingConfig(sentences=4), training=True))
    assert fit.global_step == 2
    assert bool(fit.optimizers[0].defaults["fused"]) == fused
