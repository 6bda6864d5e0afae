"""A word while a training runs: its latent is not used."""

from __future__ import annotations

import logging
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from datamodules.errors import require

log = logging.getLogger(__name__)


class CollapseWarning(Callback):
    """Warns in training where the posterior collapses: where z comes to say next to nothing about the sentence.

    That is so where `val/kl` is below `nats` in `patience` validations in a row (the mutual information is at most the
    KL). Families that have no KL get no warning.

    Args:
        nats: A sentence.
        patience: Validations.
    """

    def __init__(self, nats: float = 0.1, patience: int = 2) -> None:
        require(nats > 0, f"CollapseWarning's nats is {nats}: give a positive number")
        require(patience > 0, f"CollapseWarning's patience is {patience}: give 1 or more")
        self.nats = nats
        self.patience = patience
        self.low = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts, and warns."""
        kl = trainer.callback_metrics.get("val/kl")
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or kl is None:
            return
        self.low = self.low + 1 if float(kl) < self.nats else 0
        if self.low == self.patience and trainer.is_global_zero:
            log.warning(
                "posterior collapse: the KL is %.4f nats a sentence, so the decoder writes without z. Known remedies: "
                "a KL weight that rises slowly (callbacks.LinearAnnealing) or stays low (model.init_args.kl_weight), "
                "model.init_args.free_bits, word dropout in the decoder, or the family LaggingVAE",
                float(kl),
            )

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"low": self.low}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where the checkpoint was."""
        self.low = state_dict["low"]
