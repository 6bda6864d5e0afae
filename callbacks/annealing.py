"""Schedules of a family's weights: the KL weight, word dropout, the mutual information's lambda, the noise of the ARAE.

A schedule ends at the value that the model was configured with, so that the model alone says at what it is evaluated.
Its progress is the number of training batches so far, which a checkpoint restores: a resume goes on where it was.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.attached import callbacks_of, is_logging_step
from datamodules import TextDataModule
from datamodules.errors import require, require_finite, require_not_negative, require_positive
from lightning_modules import TextModel


class Annealing(Callback, ABC):
    """Sets a weight before each training batch, and logs it as `train/<weight>` at the steps that are logged.

    Args:
        weight: Name of the weight: `kl_weight`, `word_dropout`, `mi_weight` or `noise`, as the family has it.
        unit: What its other arguments count: training batches (`step`) or epochs, also in part.
    """

    def __init__(self, weight: str, unit: Literal["step", "epoch"] = "step") -> None:
        self.weight = weight
        self.unit = unit
        self.configured: float | None = None

    @property
    def state_key(self) -> str:
        """One schedule of a kind for each weight."""
        return self._generate_state_key(weight=self.weight)

    @abstractmethod
    def value(self, time: float, configured: float) -> float:
        """The weight after `time` steps or epochs, of a model that was configured with a value."""

    def check(self, trainer: Trainer, model: TextModel, corpus: TextDataModule, stage: str) -> None:
        """Checks that there is such a weight, and one schedule that drives it.

        Raises:
            UsageError: The family has no such weight, or another schedule drives it.
        """
        self._check(trainer, model)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Notes the configured value, after `check`."""
        assert isinstance(pl_module, TextModel)
        self._check(trainer, pl_module)
        if stage == "fit":
            self.configured = pl_module.weights[self.weight]

    def _check(self, trainer: Trainer, model: TextModel) -> None:
        known = ", ".join(sorted(model.weights))
        family = type(model).__name__
        require(self.weight in model.weights, f"{family} has no weight {self.weight} to anneal; it has {known}")
        drivers = [
            other for other in callbacks_of(trainer) if isinstance(other, Annealing) and other.weight == self.weight
        ]
        require(len(drivers) == 1, f"{len(drivers)} schedules drive {self.weight}: leave one in trainer.callbacks")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Sets the weight."""
        assert isinstance(pl_module, TextModel) and self.configured is not None
        batches = float(trainer.num_training_batches)
        time: float = trainer.fit_loop.total_batch_idx
        if self.unit == "epoch":
            time = trainer.current_epoch + batch_idx / batches
        pl_module.weights[self.weight] = self.value(time, self.configured)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Logs the weight where the trainer logs: a GPU would be waited for each time, for what nobody would see."""
        assert isinstance(pl_module, TextModel)
        if is_logging_step(trainer):
            pl_module.log(f"train/{self.weight}", pl_module.weights[self.weight], on_step=True, on_epoch=False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the configured value behind."""
        self._restore(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the configured value behind."""
        self._restore(pl_module)

    def _restore(self, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TextModel)
        if self.configured is not None:
            pl_module.weights[self.weight] = self.configured
            self.configured = None


class LinearAnnealing(Annealing):
    """From `start` at time `begin` in a straight line to the configured value at time `end`.

    Args:
        weight: Name of the weight.
        start: First value.
        begin: Until then it stays at the first value.
        end: From then on it has the configured value.
        unit: Of `begin` and `end`.
    """

    def __init__(
        self, weight: str, end: float, start: float = 0.0, begin: float = 0.0, unit: Literal["step", "epoch"] = "step"
    ) -> None:
        super().__init__(weight, unit)
        require(
            0 <= begin < end < math.inf, f"LinearAnnealing's begin is {begin} and end is {end}: give 0 <= begin < end"
        )
        require_not_negative("LinearAnnealing's start", start)
        require(
            weight != "word_dropout" or start <= 1, f"LinearAnnealing's start is {start}: word_dropout is a probability"
        )
        self.start, self.begin, self.end = start, begin, end

    def value(self, time: float, configured: float) -> float:
        """On the line."""
        share = min(1.0, max(0.0, (time - self.begin) / (self.end - self.begin)))
        return (1 - share) * self.start + share * configured


class SigmoidAnnealing(Annealing):
    """The configured value times 1 / (1 + exp(-rate (time - middle))) (Bowman et al. 2016).

    Args:
        weight: Name of the weight.
        middle: When half of the value is reached.
        rate: Steepness; the codes of Sentence-VAE and SentenceMIM have 0.0025 a step.
        unit: Of `middle` and `rate`.
    """

    def __init__(
        self, weight: str, middle: float, rate: float = 0.0025, unit: Literal["step", "epoch"] = "step"
    ) -> None:
        super().__init__(weight, unit)
        require_finite("SigmoidAnnealing's middle", middle)
        require_positive("SigmoidAnnealing's rate", rate)
        self.middle, self.rate = middle, rate

    def value(self, time: float, configured: float) -> float:
        """On the curve."""
        return configured / (1 + math.exp(min(700.0, -self.rate * (time - self.middle))))


class CyclicalAnnealing(Annealing):
    """Again and again from 0 in a straight line to the configured value, where it stays for the rest of each cycle.

    (Fu et al. 2019.)

    Args:
        weight: Name of the weight.
        cycle: Length of a cycle.
        ramp: Share of the cycle in which it rises.
        cycles: After so many it keeps the configured value; without end where it is null.
        unit: Of `cycle`.
    """

    def __init__(
        self,
        weight: str,
        cycle: float,
        ramp: float = 0.5,
        cycles: int | None = None,
        unit: Literal["step", "epoch"] = "step",
    ) -> None:
        super().__init__(weight, unit)
        require_positive("CyclicalAnnealing's cycle", cycle)
        require(cycles is None or cycles > 0, f"CyclicalAnnealing's cycles is {cycles}: give 1 or more")
        require(0 < ramp <= 1, f"CyclicalAnnealing's ramp is {ramp}: give a share above 0, 1 at most")
        self.cycle, self.ramp, self.cycles = cycle, ramp, cycles

    def value(self, time: float, configured: float) -> float:
        """In its cycle."""
        done, place = divmod(round(time / self.cycle, 9), 1.0)  # 0.3 / 0.1 is to be 3
        if self.cycles is not None and done >= self.cycles:
            return configured
        return configured * min(1.0, place / self.ramp)


class ExponentialDecay(Annealing):
    """The configured value times factor^floor(time / every): the noise on the codes of the ARAE.

    Args:
        weight: Name of the weight.
        factor: Of each decay.
        every: How far apart the decays are.
        unit: Of `every`.
    """

    def __init__(self, weight: str, factor: float, every: float = 1.0, unit: Literal["step", "epoch"] = "step") -> None:
        super().__init__(weight, unit)
        require(0 < factor <= 1, f"ExponentialDecay's factor is {factor}: give a number above 0, 1 at most")
        require_positive("ExponentialDecay's every", every)
        self.factor, self.every = factor, every

    def value(self, time: float, configured: float) -> float:
        """After the decays so far."""
        return float(configured * self.factor ** math.floor(round(time / self.every, 9)))
