"""A loss that is no number ends the training, before it is in a checkpoint."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from callbacks.attached import callbacks_of, logging_interval
from callbacks.checkpoints import LastCheckpoint
from datamodules import TextDataModule
from datamodules.batch import TokenBatch
from datamodules.errors import UsageError, require
from lightning_modules import TextModel
from lightning_modules.decoding.text import batch_text

SHOWN = 3  # sentences of the batch that are named
KEPT = 50  # losses on a GPU that are not looked at yet, where no figures are logged


class DivergedError(UsageError):
    """The loss of a training is no finite number."""


class FiniteLoss(Callback):
    """Stops where the loss is infinite or no number, and says at which step, at which sentences, and what is left.

    On a CPU every step's loss is looked at; on a GPU, which would have to be waited for, only when figures are logged
    and before a checkpoint is written, so that every checkpoint is one of finite losses.

    Args:
        otherwise: `stop`, or `skip`: the step is left out if its gradient is not finite, which waits for the GPU in
            every step; their number is logged as `train/skipped_steps`. Families that step their optimisers
            themselves (ARAE, lagging inference) can only stop.
    """

    def __init__(self, otherwise: Literal["stop", "skip"] = "stop") -> None:
        self.otherwise = otherwise
        self.skipped = 0
        self.losses: list[tuple[int, TokenBatch, Tensor]] = []

    def check(self, trainer: Trainer, model: TextModel, corpus: TextDataModule, stage: str) -> None:
        """Refuses what cannot skip.

        Raises:
            UsageError: The family steps its optimisers itself.
        """
        name = type(model).__name__
        require(
            self.otherwise == "stop" or model.automatic_optimization,
            f"FiniteLoss.otherwise is skip, but {name} takes several steps in a batch, each by itself: give stop",
        )

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Leaves a step out, if that is asked for."""
        if self.otherwise == "stop":
            return
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        if gradients and not bool(torch.nn.utils.get_total_norm(gradients).isfinite()):
            optimizer.zero_grad(set_to_none=True)
            self.skipped += 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Looks at the loss, now or later."""
        if self.otherwise == "skip":
            pl_module.log("train/skipped_steps", float(self.skipped))
            return
        assert isinstance(pl_module, TextModel) and pl_module.last_loss is not None
        if pl_module.device.type == "cpu" and trainer.world_size == 1 and math.isfinite(pl_module.last_loss.item()):
            return
        self.losses.append((trainer.global_step, batch, pl_module.last_loss))
        if pl_module.device.type == "cpu" or len(self.losses) >= (logging_interval(trainer) or KEPT):
            self._look(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the losses before anything is made of them."""
        self._look(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Looks at the losses before they are in a checkpoint."""
        self._look(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """How many steps were left out."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting."""
        self.skipped = state_dict["skipped"]

    def _look(self, trainer: Trainer, module: LightningModule) -> None:
        if not self.losses:
            return
        finite = torch.stack([loss for _, _, loss in self.losses]).isfinite().tolist()
        seen = list(zip(self.losses, finite, strict=True))
        self.losses = []
        wrong = next(((step, batch, loss) for (step, batch, loss), is_finite in seen if not is_finite), None)
        # All ranks stop, or the others would wait for this one.
        if not trainer.strategy.reduce_boolean_decision(wrong is not None, all=False):
            return
        assert isinstance(module, TextModel)
        where = "on another rank" if wrong is None else _place(module, *wrong)
        kept = [
            each for each in callbacks_of(trainer) if isinstance(each, LastCheckpoint) and each.file(trainer).exists()
        ]
        good = f"the last good checkpoint is {kept[0].file(trainer)}" if kept else "there is no checkpoint yet"
        raise DivergedError(
            f"the loss is no finite number {where}; {good}. Lower --model.init_args.optimizer.lr, {_clip(module)}"
        )


def _clip(module: TextModel) -> str:
    if module.automatic_optimization:
        return "clip with --trainer.gradient_clip_val, train in more precision, or let callbacks.FiniteLoss skip it"
    return "clip with --model.init_args.clip, or train in more precision"


def _place(module: TextModel, step: int, batch: TokenBatch, loss: Tensor) -> str:
    sentences = batch_text(module.vocabulary, batch)
    rows = [f"{row}: {text!r}" for row, text in zip(batch.index.tolist(), sentences, strict=True)]
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"({float(loss)}) at step {step}, at the training sentences {', '.join(rows[:SHOWN])}{more}"
