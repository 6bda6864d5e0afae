"""What the latent is used for."""

from __future__ import annotations

import csv
import math
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics import MetricCollection

from callbacks.tables import log_picture, run_folder
from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules import TextAutoencoder
from lightning_modules.metrics.active_units import ActiveUnits
from lightning_modules.metrics.entropy import NearestNeighborEntropy, nearest_neighbor_entropy
from lightning_modules.metrics.mutual_information import (
    AggregatePosteriorKL,
    AggregatePosteriorKLError,
    MutualInformation,
    MutualInformationError,
)
from lightning_modules.metrics.sentence_mean import SentenceMean, grouped


class LatentDiagnostics(Callback):
    """What is in z, over the test split. Nothing is done for a language model.

    - `test/active_units`: dimensions whose posterior mean varies by more than `threshold`;
    - `test/latent_entropy`: entropy of the codes (samples of z), nats, beside `test/prior_entropy`, that of N(0, I),
      and `test/prior_entropy_estimate`, the same estimate of as many draws from N(0, I), for its bias grows with Z;
    - `test/mutual_information`: I(x; z) with the aggregate posterior of the whole split, nats, beside its ceiling
      `test/mutual_information_ceiling`, the logarithm of the number of sentences;
    - `test/aggregate_posterior_kl`: how far the aggregate posterior is from the prior N(0, I), nats;
    - `plots/kl_per_dimension.png` and `.csv`: each dimension's KL and the variance of its posterior mean.

    The last three need a posterior density, which a deterministic model has not; its codes are its latents.

    Args:
        threshold: Of the variance of an active unit's posterior mean.
        neighbors: Of the entropy's estimate; of a split of no more sentences than that the entropy is left out.
    """

    def __init__(self, threshold: float = 0.01, neighbors: int = 3) -> None:
        require(threshold >= 0, f"LatentDiagnostics' threshold is {threshold}: give 0 or more")
        require(neighbors > 0, f"LatentDiagnostics' neighbors is {neighbors}: give 1 or more")
        self.threshold = threshold
        self.neighbors = neighbors
        self.units = ActiveUnits(0)
        self.entropy = NearestNeighborEntropy()
        self.kl = SentenceMean()
        self.information = MetricCollection([])

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts anew."""
        if isinstance(pl_module, TextAutoencoder):
            device = pl_module.device
            self.units = ActiveUnits(pl_module.latent_size, self.threshold).to(device)
            self.entropy = NearestNeighborEntropy(self.neighbors).to(device)
            self.kl = SentenceMean(pl_module.latent_size).to(device)
            figures = {
                "mutual_information": MutualInformation(),
                "mutual_information/error": MutualInformationError(),
                "aggregate_posterior_kl": AggregatePosteriorKL(),
                "aggregate_posterior_kl/error": AggregatePosteriorKLError(),
            }
            self.information = grouped(figures).to(device)

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
        if not isinstance(pl_module, TextAutoencoder):
            return
        with torch.no_grad():
            posterior = pl_module.encode(batch)
            z_BZ = pl_module.sample_latent(batch, posterior) if pl_module.stochastic else posterior.mean
            self.units.update(posterior.mean)
            self.entropy.update(z_BZ)
            if pl_module.stochastic:
                self.kl.update(posterior.kl_from_standard_normal())
                self.information.update(posterior, z_BZ)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the figures of all ranks' sentences."""
        if not isinstance(pl_module, TextAutoencoder):
            return
        size = pl_module.latent_size
        with self.units.sync_context():
            variances_Z, count = self.units.variances(), self.units.count.clone()
        prior_NZ = torch.randn(int(count), size, generator=torch.Generator().manual_seed(0))
        figures = {
            "prior_entropy_estimate": nearest_neighbor_entropy(prior_NZ, self.neighbors),
            "prior_entropy_estimate/neighbors": torch.tensor(float(self.neighbors)),
            "active_units": self.units.compute().float(),
            "active_units/threshold": torch.tensor(self.threshold),
            "latent_entropy": self.entropy.compute(),
            "latent_entropy/neighbors": torch.tensor(float(self.neighbors)),
            "prior_entropy": torch.tensor(0.5 * size * math.log(2 * math.pi * math.e)),
        }
        if pl_module.stochastic:
            kl_Z = self.kl.compute()
            figures |= self.information.compute()
            figures["mutual_information_ceiling"] = count.log().float()
            if trainer.is_global_zero:
                _write(trainer, kl_Z.cpu(), variances_Z.cpu())
        for name, value in figures.items():
            pl_module.log(f"test/{name}", value, sync_dist=True)


def _write(trainer: Trainer, kl_Z: Tensor, variances_Z: Tensor) -> None:
    """The dimensions by number in the table, by KL in the picture."""
    file = run_folder(trainer, "plots", "kl_per_dimension.csv")
    with file.open("w", newline="", encoding="utf-8") as lines:
        table = csv.writer(lines)
        table.writerow(["dimension", "kl_nats", "variance_of_mean"])
        for dimension, row in enumerate(zip(kl_Z.tolist(), variances_Z.tolist(), strict=True)):
            table.writerow([dimension, *row])
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(kl_Z)), kl_Z.sort(descending=True).values.numpy(), width=1.0)
    axes.set(xlabel="dimensions of z, by their KL", ylabel="KL(q(z|x) || N(0, I)), nats")
    picture = file.with_suffix(".png")
    figure.savefig(picture, dpi=120)
    log_picture(trainer, "kl_per_dimension", picture)
