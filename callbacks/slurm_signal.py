"""SLURM's signal before a job's end, answered where all ranks are at the same step."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Trainer


class SlurmSignal:
    """Puts off Lightning's answer to the signal, which is to save and to queue the job again.

    The signal finds each rank at another point of its step. Lightning answers there and then, with a checkpoint after
    which the ranks wait for each other; one that waits for the others' gradients at that time waits for ever, and the
    job ends without having been queued. One rank alone could answer at once, but in the middle of a step. There is one
    answer, whether SLURM queues the job or not.
    """

    def __init__(self) -> None:
        self._has_come = False
        self._answers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def put_off(self, trainer: Trainer) -> None:
        """Notes the signal from now on, under SLURM; Lightning must have begun to listen."""
        environment = trainer._accelerator_connector.cluster_environment  # as Lightning; one device's strategy has none
        if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
            return
        assert environment.requeue_signal is not None  # it is on Windows, which SLURM does not know
        number = environment.requeue_signal
        answer = signal.getsignal(number)
        if callable(answer) and answer != self._note:
            self._answers[number] = answer
            signal.signal(number, self._note)

    def has_come(self, trainer: Trainer) -> bool:
        """Whether any rank has had the signal; all must ask at the same point."""
        # After every batch, which costs no more than Lightning's own question whether SIGTERM has come to any rank.
        return bool(self._answers) and trainer.strategy.reduce_boolean_decision(self._has_come, all=False)

    def answer(self) -> None:
        """Lets Lightning answer, on all ranks, and once: some may get the signal only now."""
        answers, self._answers = self._answers, {}
        for number, answer in answers.items():
            answer(number, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._has_come = True
