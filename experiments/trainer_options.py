"""Options of Lightning's trainer that cannot do here what they say."""

from __future__ import annotations

import os

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Trainer

from datamodules.errors import require
from lightning_modules import TextModel

# Variables without which Lightning takes a node for the first one, and for its own head.
NODE, HEAD = {"NODE_RANK", "GROUP_RANK"}, {"MASTER_ADDR", "MASTER_PORT"}


def require_trainable(trainer: Trainer, model: TextModel) -> None:
    """Checks the options against the model and the machine.

    Raises:
        UsageError: One cannot be followed, and it says what to give instead.
    """
    require(
        trainer.strategy.root_device.type != "mps",
        "--trainer.accelerator mps: figures are summed in float64, which Apple's GPU lacks: give cpu",
    )
    require(
        getattr(trainer, "overfit_batches", 0) == 0,
        "--trainer.overfit_batches puts Lightning's sampler for ours: sentences are drawn by --data.init_args.subset."
        "train N",
    )
    # Lightning would wait for the others.
    environment = getattr(trainer.strategy, "cluster_environment", None)
    known = bool(NODE & os.environ.keys()) and os.environ.keys() >= HEAD
    unknown = isinstance(environment, LightningEnvironment) and not known
    require(
        trainer.num_nodes == 1 or not unknown,
        f"--trainer.num_nodes is {trainer.num_nodes}, but nothing says which this is and where the first one is: "
        "start it by `make submit` or torchrun, or with MASTER_ADDR, MASTER_PORT and NODE_RANK on each node",
    )
    if model.automatic_optimization:
        return
    family = type(model).__name__
    require(
        trainer.gradient_clip_val is None,
        f"{family} clips by itself: give --model.init_args.clip instead of --trainer.gradient_clip_val",
    )
    require(
        trainer.accumulate_grad_batches == 1,
        f"{family} takes several steps in a batch, each at once: give larger batches (--data.init_args.batching) "
        "instead of --trainer.accumulate_grad_batches",
    )
