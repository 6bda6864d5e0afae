"""Ends of training, and learning rates that fall on the way there, as the papers have them."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.trainer.states import TrainerFn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from callbacks.checkpoints import best_checkpoint
from datamodules.errors import require, require_not_negative
from lightning_modules import TextModel
from lightning_modules.checkpoint import read_checkpoint


class LateEarlyStopping(EarlyStopping):
    """Lightning's early stopping, which does not look before an epoch, such as the last one of an annealing.

    Args:
        first_epoch: The first epoch, counted from 0, whose validation it looks at.
        kwargs: See `pytorch_lightning.callbacks.EarlyStopping`.
    """

    def __init__(self, first_epoch: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in (("first_epoch", first_epoch), ("patience", self.patience)):
            require_not_negative(f"LateEarlyStopping's {name}", value)
        require_not_negative("LateEarlyStopping's min_delta", kwargs.get("min_delta", 0.0))
        self.first_epoch = first_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the monitor, if it is time; Lightning looks here where validation ends each epoch."""
        if trainer.current_epoch >= self.first_epoch:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the monitor, if it is time."""
        if trainer.current_epoch >= self.first_epoch:
            super().on_validation_end(trainer, pl_module)


class DecayOnPlateau(Callback):
    """PyTorch's `ReduceLROnPlateau` on the family's monitor.

    A callback, since Lightning writes a checkpoint before it steps a scheduler of this kind, and a resume would miss
    the step.

    Args:
        factor: Of the learning rates (Kruengkrai 2019: 0.5, Livne et al. 2020: 0.25).
        patience: Validations without an improvement that are allowed: with 0 the first one lowers the rates.
        first_epoch: Validations before this epoch, counted from 0, count for nothing, such as those of an annealing.
        min_lr: No rate falls below this.
        stop_below: Training ends once every rate is below this (the code of Livne et al.: 1e-8).
    """

    def __init__(
        self,
        factor: float = 0.5,
        patience: int = 0,
        first_epoch: int = 0,
        min_lr: float = 0.0,
        stop_below: float = 0.0,
    ) -> None:
        require(0 < factor < 1, f"DecayOnPlateau's factor is {factor}: give a number between 0 and 1")
        for name, value in (
            ("patience", patience),
            ("first_epoch", first_epoch),
            ("min_lr", min_lr),
            ("stop_below", stop_below),
        ):
            require_not_negative(f"DecayOnPlateau's {name}", value)
        self.factor = factor
        self.patience = patience
        self.first_epoch = first_epoch
        self.min_lr = min_lr
        self.stop_below = stop_below
        self.plateaus: list[ReduceLROnPlateau] = []
        self.restored: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes charge of the optimisers."""
        # Threshold 0: any improvement counts.
        self.plateaus = [
            ReduceLROnPlateau(
                optimizer, factor=self.factor, patience=self.patience, threshold=0.0, min_lr=self.min_lr, eps=0.0
            )
            for optimizer in trainer.optimizers
        ]
        for plateau, state in zip(self.plateaus, self.restored, strict=False):
            # Not the options: these are the configuration's, also where a resume has others.
            plateau.load_state_dict({name: state[name] for name in ("best", "num_bad_epochs", "last_epoch")})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares, before this validation's checkpoint is written."""
        assert isinstance(pl_module, TextModel)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if trainer.current_epoch < self.first_epoch:
            return
        for plateau in self.plateaus:
            plateau.step(float(trainer.callback_metrics[pl_module.monitor]))
        rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if max(rates) < self.stop_below:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"plateaus": [plateau.state_dict() for plateau in self.plateaus]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where the checkpoint was; the optimisers are made later."""
        self.restored = state_dict["plateaus"]


class DecayFromBest(Callback):
    """Lowers every learning rate where validation does not improve, and goes on from the best weights.

    (The code of He et al. 2019: from epoch 15 on, after 2 validations in a row that are worse than the best, the rate
    is halved, in optimisers without a past, and the value reached becomes the best to beat; training ends with the
    fifth time.)

    Args:
        factor: Of the learning rates.
        patience: Validations at which the family's monitor is above the best, in a row.
        first_epoch: The first epoch, counted from 0, after which a rate may fall.
        decays: Training ends at this one.
    """

    def __init__(self, factor: float = 0.5, patience: int = 2, first_epoch: int = 15, decays: int = 5) -> None:
        require(0 < factor < 1, f"DecayFromBest's factor is {factor}: give a number between 0 and 1")
        require(patience > 0, f"DecayFromBest's patience is {patience}: give 1 or more")
        require_not_negative("DecayFromBest's first_epoch", first_epoch)
        require(decays > 0, f"DecayFromBest's decays is {decays}: give 1 or more")
        self.factor = factor
        self.patience = patience
        self.first_epoch = first_epoch
        self.decays = decays
        self.best = math.inf
        self.bad = 0
        self.decayed = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares, before this validation's checkpoint is written."""
        assert isinstance(pl_module, TextModel)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[pl_module.monitor])
        if value <= self.best:  # theirs: only a worse one counts
            self.best, self.bad = value, 0
            return
        self.bad += 1
        if self.bad >= self.patience and trainer.current_epoch >= self.first_epoch:
            self.best, self.bad = value, 0
            self._decay(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"best": self.best, "bad": self.bad, "decayed": self.decayed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where the checkpoint was."""
        self.best, self.bad, self.decayed = state_dict["best"], state_dict["bad"], state_dict["decayed"]

    def _decay(self, trainer: Trainer, model: TextModel) -> None:
        self.decayed += 1
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= self.factor
        checkpoint = best_checkpoint(trainer, model.monitor)
        if checkpoint is not None:
            best = read_checkpoint(checkpoint.best_model_path)["state_dict"]
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(best[name])
            for optimizer in trainer.optimizers:
                optimizer.state.clear()  # its moments belong to the weights that are left
        if self.decayed >= self.decays:
            trainer.should_stop = True
