"""Optimisers as the papers use them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pytorch_lightning.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, ReduceLROnPlateau

from datamodules.errors import require


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser.

    Attributes:
        name: Which one.
        lr: Learning rate.
        betas: Decay rates of Adam's two moments.
        momentum: Of SGD.
        weight_decay: Decoupled with `adamw`, an L2 penalty with the others.
        schedule: The learning rate stays `constant`, falls on a `linear` way to 0 at the last step, or at each
            `plateau` of the family's monitor.
        factor: By which it falls at a plateau (Kruengkrai 2019: 0.5, Livne et al. 2020: 0.25).
        patience: Validations without an improvement that a plateau allows: with 0 the first one lowers it.
        wait: As many epochs from the start lower nothing, such as those of an annealing.
        min_lr: It never falls below this.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear", "plateau"] = "constant"
    factor: float = 0.5
    patience: int = 0
    wait: int = 0
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        require(0 < self.lr < math.inf, f"optimizer.lr is {self.lr}: give a positive learning rate")
        require(all(0 <= beta < 1 for beta in self.betas), f"optimizer.betas are {self.betas}: give two from 0 to 1")
        require(0 <= self.momentum < 1, f"optimizer.momentum is {self.momentum}: give a number from 0 to 1")
        require(self.weight_decay >= 0, f"optimizer.weight_decay is {self.weight_decay}: give 0 or more")
        require(0 < self.factor < 1, f"optimizer.factor is {self.factor}: give a number between 0 and 1")
        require(self.patience >= 0, f"optimizer.patience is {self.patience}: give 0 or more")
        require(self.wait >= 0, f"optimizer.wait is {self.wait}: give 0 or more epochs")
        require(self.min_lr >= 0, f"optimizer.min_lr is {self.min_lr}: give 0 or more")


def make_optimizer(groups: Iterable[dict[str, Any]], config: OptimizerConfig) -> Optimizer:
    """The optimiser over parameter groups; a group may override an option of it."""
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def make_schedule(
    optimizer: Optimizer, config: OptimizerConfig, steps: int, monitor: str
) -> LRSchedulerConfigType | None:
    """The learning rate's schedule as Lightning takes it; none where it is constant.

    Args:
        optimizer: Whose rate it is.
        config: The optimiser.
        steps: Of the whole training, after which a linear schedule is at 0.
        monitor: The validation quantity whose plateaus count.
    """
    if config.schedule == "constant":
        return None
    if config.schedule == "linear":
        decay = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)
        return {"scheduler": decay, "interval": "step"}
    # Threshold 0: any improvement counts.
    plateau = ReduceLROnPlateau(
        optimizer, factor=config.factor, patience=config.patience, threshold=0.0, min_lr=config.min_lr
    )
    plateau.cooldown_counter = config.wait  # PyTorch's rest after a reduction, here before the first
    return {"scheduler": plateau, "interval": "epoch", "monitor": monitor}
