"""What Lightning attaches to a trainer without declaring it, with the types that it has.

These are documented attributes, which `Trainer` gets from its connectors, so that a type checker does not know them.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pytorch_lightning import Callback, Trainer

from datamodules import TextDataModule
from lightning_modules import TextModel


@runtime_checkable
class Checked(Protocol):
    """A callback that can tell, before anything is started or written, whether it fits what it is to work with."""

    def check(self, trainer: Trainer, model: TextModel, corpus: TextDataModule, stage: str) -> None:
        """Raises a UsageError where it does not."""
        ...


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """The trainer's callbacks themselves: a change of the list is one of the trainer's."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning attaches it, untyped
    return callbacks


def corpus_of(trainer: Trainer) -> TextDataModule:
    """The trainer's data module."""
    corpus = trainer.datamodule  # type: ignore[attr-defined]  # Lightning attaches it, untyped
    assert isinstance(corpus, TextDataModule), "studies need a TextDataModule"
    return corpus


def is_logging_step(trainer: Trainer) -> bool:
    """Whether the trainer logs figures of the optimiser step that a training batch is of, as Lightning decides it."""
    # Not by arithmetic on its counters: it logs, too, where a fit is about to stop. Lightning's own monitors ask so.
    logs: bool = trainer._logger_connector.should_update_logs
    return logs


def is_logging(trainer: Trainer) -> bool:
    """Whether the trainer logs figures at the end of this training batch."""
    if not is_logging_step(trainer):
        return False
    # An epoch's last step may be of fewer batches.
    return not (trainer.fit_loop._should_accumulate() and trainer.lightning_module.automatic_optimization)


def logging_interval(trainer: Trainer) -> int:
    """Every how many steps the trainer logs figures."""
    steps: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning attaches it, untyped
    return steps
