"""Optimisers as the papers use them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from datamodules.errors import require, require_not_negative, require_positive


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser.

    Attributes:
        name: Which one.
        lr: Learning rate.
        betas: Decay rates of Adam's two moments.
        momentum: Of SGD.
        weight_decay: Decoupled with `adamw`, an L2 penalty with the others.
        schedule: The learning rate stays `constant`, or falls on a `linear` way to 0 at the last step. One that falls
            with the validation is a callback (`callbacks.DecayOnPlateau`, `callbacks.DecayFromBest`).
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear"] = "constant"

    def __post_init__(self) -> None:
        require_positive("optimizer.lr", self.lr)
        require_betas("optimizer.betas", self.betas)
        require(0 <= self.momentum < 1, f"optimizer.momentum is {self.momentum}: give a number from 0 to 1")
        require_not_negative("optimizer.weight_decay", self.weight_decay)


def require_betas(name: str, betas: tuple[float, float]) -> None:
    """Raises `UsageError` unless these can be Adam's decay rates."""
    require(all(0 <= beta < 1 for beta in betas), f"{name} are {betas}: give two from 0 to 1")


def make_optimizer(groups: Iterable[dict[str, Any]], config: OptimizerConfig, fused: bool = False) -> Optimizer:
    """The optimiser over parameter groups; a group may override an option of it.

    Args:
        groups: Of parameters.
        config: The optimiser.
        fused: Whether a step of Adam is one kernel, rather than a dozen for each parameter.
    """
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=fused or None)
