"""What the latent is used for."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.latents import corpus_of
from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules import TextAutoencoder
from lightning_modules.metrics.active_units import ActiveUnits
from lightning_modules.metrics.mutual_information import MutualInformation


class LatentDiagnostics(Callback):
    """Active units and mutual information over the test split. Nothing is done for a language model.

    `test/active_units` is the number of dimensions whose posterior mean varies by more than `threshold`;
    `test/mutual_information` the estimate of I(x; z), nats, with the aggregate posterior of the whole split, beside its
    ceiling `test/mutual_information_ceiling`, the logarithm of the split's size. A deterministic model has no posterior
    density, so no mutual information.

    Args:
        threshold: Of the variance of an active unit's posterior mean.
    """

    def __init__(self, threshold: float = 0.01) -> None:
        require(threshold >= 0, f"threshold is {threshold}: give 0 or more")
        self.threshold = threshold
        self.units: ActiveUnits | None = None
        self.information = MutualInformation()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts anew."""
        if isinstance(pl_module, TextAutoencoder):
            self.units = ActiveUnits(pl_module.latent_size, self.threshold).to(pl_module.device)
            self.information = MutualInformation().to(pl_module.device)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Encodes the batch."""
        if self.units is None or not isinstance(pl_module, TextAutoencoder):
            return
        with torch.no_grad():
            posterior = pl_module.encode(batch)
            self.units.update(posterior.mean)
            if pl_module.stochastic:
                self.information.update(posterior, pl_module.sample_latent(batch, posterior))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the figures of all ranks' sentences."""
        if self.units is None or not isinstance(pl_module, TextAutoencoder):
            return
        pl_module.log("test/active_units", self.units.compute().float(), sync_dist=True)
        if pl_module.stochastic:
            pl_module.log("test/mutual_information", self.information.compute(), sync_dist=True)
            ceiling = math.log(len(corpus_of(trainer).split("test")))
            pl_module.log("test/mutual_information_ceiling", ceiling, sync_dist=True)
