from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from models import loader, sentences, small, trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

from callbacks import DecayFromBest, DecayOnPlateau, LateEarlyStopping
from datamodules.bucketing import BatchingConfig
from datamodules.errors import UsageError
from lightning_modules import AdversariallyRegularizedAutoencoder, Autoencoder, LaggingVAE, TextModel
from lightning_modules.checkpoint import read_checkpoint
from lightning_modules.lagging_svae import AggressiveConfig
from lightning_modules.optimization import OptimizerConfig

MONITOR = "val/script"


class Scripted(TextModel):
    """Each epoch's validation gives what a script says."""

    monitor = MONITOR
    script: Sequence[float]

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log(MONITOR, float(self.script[self.current_epoch]))


class ScriptedAutoencoder(Scripted, Autoencoder): ...


class ScriptedLagging(Scripted, LaggingVAE): ...


class ScriptedAdversarial(Scripted, AdversariallyRegularizedAutoencoder): ...


class Diary(pl.Callback):
    """Each epoch's learning rates, parameters and optimisers' memory at its start, and parameters at its validation."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.started: list[list[Tensor]] = []
        self.validated: list[list[Tensor]] = []
        self.remembered: list[bool] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rates.append([group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups])
        self.started.append([parameter.detach().clone() for parameter in pl_module.parameters()])
        self.remembered.append(any(len(optimizer.state) > 0 for optimizer in trainer.optimizers))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validated.append([parameter.detach().clone() for parameter in pl_module.parameters()])


def run(
    script: Sequence[float],
    *callbacks: pl.Callback,
    family: type[Scripted] = ScriptedAutoencoder,
    ckpt_path: Path | None = None,
    every: int = 1,
    **options: Any,
) -> Diary:
    """Trains as long as the script, one batch an epoch, unless a callback stops it."""
    model = small(family, **{"optimizer": OptimizerConfig("sgd", lr=0.5, momentum=0.5), **options})
    model.script, diary = script, Diary()
    fitting = trainer(
        max_epochs=len(script),
        callbacks=[diary, *callbacks],
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        check_val_every_n_epoch=every,
    )
    data = [loader(sentences(4), BatchingConfig(), training=training) for training in (True, False)]
    fitting.fit(model, *data, ckpt_path=ckpt_path)
    return diary


def same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# Rises while something is annealed, then falls, and rests.
RISING = [1, 2, 3, 4, 9, 8, 7, 7, 6, 7, 7, 7, 7, 5, 5]


@pytest.mark.parametrize("first, every, epochs", [(0, 1, 3), (4, 1, 11), (4, 2, 12), (0, 2, 6), (14, 1, 15)])
def test_late_early_stopping_looks_from_its_first_epoch_on(first: int, every: int, epochs: int) -> None:
    stopping = LateEarlyStopping(first_epoch=first, monitor=MONITOR, patience=2)
    assert len(run(RISING, stopping, every=every).rates) == epochs


@pytest.mark.parametrize("first", [0, 2, 5, 9])
def test_late_early_stopping_then_stops_as_lightning_does_at_a_start_there(first: int) -> None:
    own = len(run(RISING[first:], EarlyStopping(MONITOR, patience=2)).rates)
    assert len(run(RISING, LateEarlyStopping(first_epoch=first, monitor=MONITOR, patience=2)).rates) == first + own


def he_et_al(losses: Sequence[float], factor: float, patience: int, first_epoch: int, decays: int) -> list[float]:
    """The share of the learning rate that is left in each epoch until the end of training, as their text.py has it."""
    rates, rate, best_loss, not_improved, decayed = [], 1.0, 1e4, 0, 0
    for epoch, loss in enumerate(losses):
        rates.append(rate)
        if loss > best_loss:
            not_improved += 1
            if not_improved >= patience and epoch >= first_epoch:
                best_loss, not_improved = loss, 0
                rate, decayed = rate * factor, decayed + 1
        else:
            best_loss, not_improved = loss, 0
        if decayed == decays:
            break
    return rates


@pytest.mark.parametrize("family", [ScriptedAutoencoder, ScriptedLagging, ScriptedAdversarial])
@pytest.mark.parametrize("seed, patience, first_epoch", [(0, 1, 0), (1, 2, 3), (2, 3, 6), (3, 2, 0)])
def test_rates_fall_and_the_best_weights_return_as_in_the_code_of_he_et_al(
    seed: int, patience: int, first_epoch: int, family: type[Scripted], tmp_path: Path
) -> None:
    losses = np.random.default_rng(seed).integers(2, 7, size=16).tolist()
    options = {"aggressive": AggressiveConfig(max_steps=2)} if family is ScriptedLagging else {}
    decay = DecayFromBest(patience=patience, first_epoch=first_epoch, decays=3)
    diary = run(losses, decay, ModelCheckpoint(tmp_path, monitor=MONITOR), family=family, **options)

    shares = he_et_al(losses, 0.5, patience, first_epoch, decays=3)
    assert len(set(shares)) > 1
    assert diary.rates == [pytest.approx([share * rate for rate in diary.rates[0]]) for share in shares]
    for epoch in range(1, len(shares)):
        decayed = shares[epoch] < shares[epoch - 1]
        origin = int(np.argmin(losses[:epoch])) if decayed else epoch - 1
        assert same(diary.started[epoch], diary.validated[origin])
        assert diary.remembered[epoch] is not decayed


def test_the_defaults_are_those_of_he_et_al(tmp_path: Path) -> None:
    """Where nothing improves, the rate falls after epochs 15, 17, 19, 21 and 23, and training ends with the last."""
    diary = run(range(40), DecayFromBest(), ModelCheckpoint(tmp_path, monitor=MONITOR))
    expected = [1.0] * 16 + [share for share in (1 / 2, 1 / 4, 1 / 8, 1 / 16) for _ in range(2)]
    assert [rates[0] for rates in diary.rates] == pytest.approx([0.5 * share for share in expected])
    assert same(diary.started[16], diary.validated[0]) and not same(diary.started[16], diary.validated[15])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize("family", [ScriptedAutoencoder, ScriptedLagging])
def test_a_resume_decays_as_an_unbroken_training(family: type[Scripted], tmp_path: Path) -> None:
    """Resumed before the first validation that is worse, between two, after a decay, and before the last one."""
    losses = [5, 4, 6, 7, 5, 3, 8, 9, 9, 10, 11, 12, 13]
    options = {"aggressive": AggressiveConfig(max_steps=2)} if family is ScriptedLagging else {}

    def callbacks() -> list[pl.Callback]:
        kept = ModelCheckpoint(tmp_path, "{epoch}", monitor=MONITOR, save_top_k=-1, enable_version_counter=False)
        return [DecayFromBest(patience=2, first_epoch=0, decays=3), kept]

    unbroken = run(losses, *callbacks(), family=family, **options)
    assert len(unbroken.rates) == len(he_et_al(losses, 0.5, 2, 0, 3)) == 11
    for epoch in (1, 2, 3, 8):
        resumed = run(losses, *callbacks(), family=family, ckpt_path=tmp_path / f"epoch={epoch}.ckpt", **options)
        assert resumed.rates == unbroken.rates[epoch + 1 :]
        assert same(resumed.validated[-1], unbroken.validated[-1])


def plateaus(
    losses: Sequence[float], lr: float, factor: float, patience: int, first_epoch: int, min_lr: float
) -> list[float]:
    """The rate of each epoch: it falls after more than `patience` epochs in a row, none of the first ones."""
    rates, since = [], 0
    for epoch, loss in enumerate(losses):
        rates.append(lr)
        improved = all(loss < before for before in losses[first_epoch:epoch])
        since = 0 if improved or epoch < first_epoch else since + 1
        if since > patience:
            lr, since = max(min_lr, factor * lr), 0
    return rates


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize(
    "options",
    [
        {"factor": 0.25, "patience": 1, "first_epoch": 0, "min_lr": 0.02},
        {"factor": 0.5, "patience": 0, "first_epoch": 6, "min_lr": 0.0},
        {"factor": 0.1, "patience": 2, "first_epoch": 3, "min_lr": 1e-3},
    ],
)
def test_the_rate_falls_at_plateaus_of_the_family_s_monitor(options: dict[str, Any], tmp_path: Path) -> None:
    losses = [5, 6, 6, 4, 4, 5, 4, 3, 3, 3, 3, 2.999, 3, 3, 3, 3]
    expected = plateaus(losses, lr=0.5, **options)
    assert len(set(expected)) > 1

    def callbacks() -> list[pl.Callback]:
        kept = ModelCheckpoint(tmp_path, "{epoch}", monitor=MONITOR, save_top_k=-1, enable_version_counter=False)
        return [DecayOnPlateau(**options), kept]

    unbroken = run(losses, *callbacks())
    assert [rates[0] for rates in unbroken.rates] == pytest.approx(expected)
    for epoch in (0, 1, 4, 7, 9, 12):
        resumed = run(losses, *callbacks(), ckpt_path=tmp_path / f"epoch={epoch}.ckpt")
        assert resumed.rates == unbroken.rates[epoch + 1 :]
        assert same(resumed.validated[-1], unbroken.validated[-1])


def test_the_end_comes_when_the_rate_is_below_its_limit() -> None:
    """Falls after epochs 1, 2 and 3; 0.5 / 4^3 is the first below 0.01."""
    diary = run([3, 4, 5, 6, 7, 8, 9], DecayOnPlateau(factor=0.25, stop_below=0.01))
    assert [rates[0] for rates in diary.rates] == pytest.approx([0.5, 0.5, 0.125, 0.03125])


def test_all_rates_of_a_family_with_several_optimisers_fall() -> None:
    diary = run([3, 4, 5], DecayOnPlateau(factor=0.5), family=ScriptedAdversarial)
    assert len(diary.rates[0]) == 3
    assert diary.rates[2] == pytest.approx([0.5 * rate for rate in diary.rates[0]])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resume_takes_the_options_that_it_is_given(tmp_path: Path) -> None:
    """One worse validation before the checkpoint, one after it."""

    def kept() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path, "{epoch}", monitor=MONITOR, save_top_k=-1, enable_version_counter=False)

    run([3, 4], DecayOnPlateau(factor=0.5, patience=1), kept())
    resumed = run([3, 4, 5, 6], DecayOnPlateau(factor=0.1, patience=1), kept(), ckpt_path=tmp_path / "epoch=1.ckpt")
    assert [rates[0] for rates in resumed.rates] == pytest.approx([0.5, 0.05])


def test_the_best_weights_are_by_the_familys_monitor_whatever_else_is_kept(tmp_path: Path) -> None:
    other = ModelCheckpoint(tmp_path / "user", monitor="val/reconstruction", mode="max")
    best = ModelCheckpoint(tmp_path / "best", monitor=MONITOR)
    diary = run([3, 2, 4, 5], DecayFromBest(patience=1, first_epoch=2), other, best)
    assert same(diary.started[3], diary.validated[1])
    assert other.best_model_path and read_checkpoint(Path(best.best_model_path))["epoch"] == 1


OPTIONS = [("factor", 1.0), ("factor", 0.0), ("patience", -1), ("first_epoch", -1), ("min_lr", math.nan)]


@pytest.mark.parametrize("name, value", [*OPTIONS, ("stop_below", -1.0)])
def test_impossible_options_of_a_plateau_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value}"):
        DecayOnPlateau(**{name: value})


def test_an_impossible_first_epoch_is_refused() -> None:
    with pytest.raises(UsageError, match="first_epoch is -1"):
        LateEarlyStopping(first_epoch=-1, monitor=MONITOR)


REFUSED = [("factor", 1.0), ("factor", 0.0), ("patience", 0), ("decays", 0), ("first_epoch", -1)]


@pytest.mark.parametrize("name, value", REFUSED)
def test_impossible_options_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value}"):
        DecayFromBest(**{name: value})
