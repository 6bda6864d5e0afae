from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from models import WITHOUT_VALIDATION, loader, sentences, small, trainer
from pytorch_lightning.callbacks import LambdaCallback, ModelCheckpoint
from pytorch_lightning.loggers.logger import DummyLogger

from callbacks import CyclicalAnnealing, ExponentialDecay, LinearAnnealing, SigmoidAnnealing
from callbacks.annealing import Annealing
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig
from datamodules.errors import UsageError
from lightning_modules import AdversariallyRegularizedAutoencoder, LaggingVAE, SentenceVAE, TextModel
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.lagging_svae import AggressiveConfig

pytestmark = WITHOUT_VALIDATION
SENTENCES = sentences(16)
BATCHES = 4  # in an epoch
configured_values = pytest.mark.parametrize("configured", [0.0, 0.3, 1.0, 7.5])


class Weights(pl.Callback):
    """A weight in each training batch, as the model has it and as it is logged, and the KL weight in the loss."""

    def __init__(self, weight: str = "kl_weight") -> None:
        self.weight = weight
        self.used: list[float] = []
        self.logged: list[float] = []
        self.in_loss: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, TextModel)
        self.used.append(pl_module.weights[self.weight])
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.logged.append(logged[f"train/{self.weight}"])
        if "train/kl" in logged:
            self.in_loss.append((logged["train/loss"] - logged["train/reconstruction"]) / logged["train/kl"])


def run(model: TextModel, *callbacks: pl.Callback, ckpt_path: Path | None = None, **options: Any) -> None:
    """Trains for 3 epochs of 4 batches."""
    data = loader(SENTENCES, BatchingConfig(sentences=4), training=True)
    trainer(max_epochs=3, callbacks=list(callbacks), **options).fit(model, data, ckpt_path=ckpt_path)


def recorded(model: TextModel, *schedules: Annealing, **options: Any) -> list[float]:
    """The first schedule's weight in each batch of a training."""
    seen = Weights(schedules[0].weight)
    run(model, *schedules, seen, **options)
    assert seen.logged == pytest.approx(seen.used)
    return seen.used


@configured_values
@pytest.mark.parametrize("start", [0.0, 0.1, 2.0])
def test_a_line_goes_from_its_start_to_the_configured_value(start: float, configured: float) -> None:
    line = LinearAnnealing("kl_weight", start=start, begin=10, end=30)
    assert [line.value(time, configured) for time in (0, 10)] == [start, start]
    assert line.value(15, configured) == pytest.approx(start + (configured - start) / 4)
    assert line.value(20, configured) == pytest.approx((start + configured) / 2)
    assert [line.value(time, configured) for time in (30, 1000)] == [configured, configured]


@configured_values
def test_a_sigmoid_is_half_in_the_middle_and_climbs_by_a_quarter_of_its_rate(configured: float) -> None:
    curve = SigmoidAnnealing("kl_weight", middle=50, rate=0.2)
    assert curve.value(50, configured) == pytest.approx(configured / 2)
    slope = (curve.value(50.001, configured) - curve.value(49.999, configured)) / 0.002
    assert slope == pytest.approx(0.2 / 4 * configured, rel=1e-6)
    assert curve.value(40, configured) == pytest.approx(configured / (1 + math.e**2))
    assert [curve.value(time, configured) for time in (-1e9, 1e9)] == pytest.approx([0, configured], abs=1e-12)


@configured_values
def test_cycles_rise_stay_and_repeat(configured: float) -> None:
    schedule = CyclicalAnnealing("kl_weight", cycle=8, ramp=0.5)
    one = [0, 1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 1]
    assert [schedule.value(time, configured) for time in range(24)] == pytest.approx([configured * x for x in one * 3])


def test_cycles_end_at_the_configured_value() -> None:
    schedule = CyclicalAnnealing("kl_weight", cycle=4, ramp=1.0, cycles=2)
    expected = [0.6 * share for share in (0, 1 / 4, 2 / 4, 3 / 4, 0, 1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 1, 1)]
    assert [schedule.value(time, 0.6) for time in range(13)] == pytest.approx(expected)


@configured_values
def test_a_decay_multiplies_at_once_and_only_then(configured: float) -> None:
    schedule = ExponentialDecay("noise", factor=0.9, every=3)
    powers = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    expected = [configured * 0.9**power for power in powers]
    assert [schedule.value(time, configured) for time in range(10)] == pytest.approx(expected)
    assert schedule.value(2.99, configured) == configured


@pytest.mark.parametrize(
    "kind, options, named",
    [
        (LinearAnnealing, {"begin": -1, "end": 5}, "begin"),
        (LinearAnnealing, {"end": math.nan}, "end"),
        (LinearAnnealing, {"end": 5, "start": -0.1}, "start"),
        (SigmoidAnnealing, {"middle": math.nan}, "middle"),
        (SigmoidAnnealing, {"middle": 5, "rate": 0.0}, "rate"),
        (CyclicalAnnealing, {"cycle": 0}, "cycle"),
        (CyclicalAnnealing, {"cycle": 4, "ramp": 1.5}, "ramp"),
        (CyclicalAnnealing, {"cycle": 4, "cycles": 0}, "cycles"),
        (ExponentialDecay, {"factor": 0.5, "every": math.inf}, "every"),
        (ExponentialDecay, {"factor": 0.0}, "factor"),
    ],
)
def test_impossible_options_are_refused_by_name(kind: type[Annealing], options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"{named} is {options[named]}"):
        kind("kl_weight", **options)


def test_a_word_dropout_above_1_is_refused() -> None:
    with pytest.raises(UsageError, match=r"start is 7\.0: word_dropout is a probability"):
        LinearAnnealing("word_dropout", end=5, start=7.0)


RAMP = [0.5 * share for share in (0, 0, 1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 1, 1, 1, 1)]  # begin 1, end 5


@pytest.mark.parametrize("accumulated", [1, 2, 3])
def test_steps_are_batches_however_many_an_optimiser_step_takes(accumulated: int) -> None:
    seen = Weights()
    schedule = LinearAnnealing("kl_weight", begin=1, end=5)
    run(small(SentenceVAE, kl_weight=0.5), schedule, seen, accumulate_grad_batches=accumulated)
    assert seen.used == pytest.approx(RAMP)
    assert seen.in_loss == pytest.approx(RAMP, abs=1e-3)


@pytest.mark.parametrize("steps", [0, 3])
def test_steps_are_batches_where_an_encoder_steps_more_often(steps: int) -> None:
    model = small(LaggingVAE, kl_weight=0.5, aggressive=AggressiveConfig(max_steps=steps))
    assert recorded(model, LinearAnnealing("kl_weight", begin=1, end=5)) == pytest.approx(RAMP)


@pytest.mark.parametrize("unit, every, batches", [("step", 2, 2), ("epoch", 1, BATCHES)])
def test_the_noise_of_the_arae_decays_by_batches_or_epochs(unit: Any, every: int, batches: int) -> None:
    schedule = ExponentialDecay("noise", factor=0.5, every=every, unit=unit)
    expected = [0.2 * 0.5 ** (batch // batches) for batch in range(3 * BATCHES)]
    assert recorded(small(AdversariallyRegularizedAutoencoder, noise=0.2), schedule) == pytest.approx(expected)


def test_epochs_count_in_part() -> None:
    schedule = LinearAnnealing("kl_weight", begin=0.5, end=2.5, unit="epoch")
    expected = [min(1.0, max(0.0, (batch / BATCHES - 0.5) / 2)) for batch in range(3 * BATCHES)]
    assert recorded(small(SentenceVAE), schedule, accumulate_grad_batches=2) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("unit, cycle", [("step", 5), ("epoch", 1.25)])
@pytest.mark.parametrize("family", [SentenceVAE, LaggingVAE])
def test_a_resume_goes_on_with_the_sequence(family: type[SentenceVAE], unit: Any, cycle: float, tmp_path: Path) -> None:
    def schedule() -> Annealing:
        return CyclicalAnnealing("kl_weight", cycle=cycle, unit=unit)

    options = {"aggressive": AggressiveConfig(max_steps=2)} if family is LaggingVAE else {}
    kept = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1)
    seen = Weights()
    run(small(family, **options), schedule(), seen, kept, enable_checkpointing=True)
    assert len(set(seen.used)) > 3
    for step in (3, BATCHES, 6, 2 * BATCHES):  # in the middle of an epoch, and after one
        resumed = recorded(small(family, **options), schedule(), ckpt_path=tmp_path / f"step={step}.ckpt")
        assert resumed == seen.used[step:]


def test_an_unknown_weight_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="SentenceVAE has no weight noise to anneal; it has kl_weight, word_dropout"):
        run(small(SentenceVAE), LinearAnnealing("noise", end=5))


def test_evaluation_does_not_know_the_weights() -> None:
    batch = TokenBatch.from_ids(SENTENCES)
    model = small(SentenceVAE, decoder=DecoderConfig(hidden_size=13, word_dropout=0.5))
    trained = model.objective(batch).terms["reconstruction"]
    model.eval()
    expected = model.objective(batch).terms
    model.weights |= {"kl_weight": 0.0, "word_dropout": 0.0}
    found = model.objective(batch).terms
    assert all(torch.equal(found[term], value) for term, value in expected.items())
    model.train()
    assert not torch.equal(model.objective(batch).terms["reconstruction"], trained)


def test_two_schedules_run_side_by_side_and_leave_the_configured_values() -> None:
    model = small(SentenceVAE, kl_weight=0.5, decoder=DecoderConfig(hidden_size=13, word_dropout=0.4))
    kl, dropout = Weights(), Weights("word_dropout")
    schedules = LinearAnnealing("kl_weight", end=100), LinearAnnealing("word_dropout", start=0.8, end=2 * BATCHES)
    run(model, *schedules, kl, dropout)
    assert kl.used == pytest.approx([0.5 * batch / 100 for batch in range(12)])
    assert dropout.used == pytest.approx([0.8 - 0.4 * min(1.0, batch / 8) for batch in range(12)])
    assert model.weights == {"kl_weight": 0.5, "word_dropout": 0.4}


def test_a_broken_fit_leaves_the_configured_value_and_another_model_has_its_own() -> None:
    first, second, schedule = small(SentenceVAE, kl_weight=0.5), small(SentenceVAE), LinearAnnealing("kl_weight", end=2)
    with pytest.raises(ZeroDivisionError):
        run(first, schedule, LambdaCallback(on_train_batch_end=lambda *_: 1 // 0))
    assert first.weights["kl_weight"] == 0.5
    assert recorded(second, schedule) == pytest.approx([0, 0.5] + [1] * 10)


def test_each_weight_that_is_logged_is_that_of_its_step_even_where_a_fit_is_about_to_stop() -> None:
    rows: list[dict[str, float]] = []

    class Kept(DummyLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            rows.append(metrics | {"step": -1 if step is None else step})

    class Stop(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            trainer.should_stop = trainer.global_step >= 5

    data = loader(sentences(40), BatchingConfig(sentences=4), training=True)
    schedule = LinearAnnealing("kl_weight", begin=0, end=20)
    options: dict[str, Any] = {"max_epochs": 1, "min_steps": 9, "log_every_n_steps": 4}
    trainer(callbacks=[Stop(), schedule], logger=Kept(), **options).fit(small(SentenceVAE), data)
    logged = [(row["step"], row["train/kl_weight"]) for row in rows if "train/kl_weight" in row]
    assert len(logged) > 3
    for step, weight in logged:
        assert weight == pytest.approx(step / 20)
