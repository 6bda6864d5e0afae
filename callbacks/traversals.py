"""What single latent dimensions say."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.latents import draw_rows, posterior_means, read_batch
from callbacks.tables import log_table
from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.text import batch_text
from lightning_modules.decoding.traversal import traversal_offsets, traverse
from lightning_modules.metrics.active_units import ActiveUnits
from lightning_modules.metrics.sentence_mean import SentenceMean


class Traversals(Callback):
    """Greedy decodes of latents that differ in one dimension from a center.

    The centers are the prior's mean and posterior means of some sentences; the dimensions those of the largest mean
    KL(q(z|x) || N(0, I)) over the test split, or, of a deterministic model, of the largest variance of the latent.

    A test writes `samples/traversals.txt` and a W&B table. Nothing is done for a language model.

    Args:
        dimensions: How many, the first ones by rank.
        sentences: Centers, drawn from the split, besides the prior's mean.
        reach: The farthest offset, in standard deviations of the prior.
        steps: Offsets of each dimension, from -reach to +reach.
    """

    def __init__(self, dimensions: int = 5, sentences: int = 3, reach: float = 3.0, steps: int = 7) -> None:
        require(dimensions > 0, f"Traversals' dimensions is {dimensions}: give 1 or more")
        require(sentences >= 0, f"Traversals' sentences is {sentences}: give 0 or more")
        self.dimensions = dimensions
        self.sentences = sentences
        self.offsets = traversal_offsets(reach, steps)
        self.kl = SentenceMean()
        self.units = ActiveUnits(0)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts anew."""
        if isinstance(pl_module, TextAutoencoder):
            self.kl = SentenceMean(pl_module.latent_size).to(pl_module.device)
            self.units = ActiveUnits(pl_module.latent_size).to(pl_module.device)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Adds the batch to the KL of each dimension, or to its variance."""
        if not isinstance(pl_module, TextAutoencoder):
            return
        with torch.no_grad():
            posterior = pl_module.encode(batch)
            if pl_module.stochastic:
                self.kl.update(posterior.kl_from_standard_normal())
            else:
                self.units.update(posterior.mean)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ranks the dimensions by all ranks' sentences; the first rank decodes."""
        if not isinstance(pl_module, TextAutoencoder):
            return
        score_Z = self._scores(pl_module)
        if trainer.is_global_zero:
            self._show(trainer, pl_module, score_Z)

    def _scores(self, model: TextAutoencoder) -> Tensor:
        if model.stochastic:
            return self.kl.compute()
        with self.units.sync_context():
            return self.units.variances().clone()

    def _show(self, trainer: Trainer, model: TextAutoencoder, score_Z: Tensor) -> None:
        batch = read_batch(trainer, model, "test", draw_rows(trainer, "test", self.sentences))
        centers = [torch.zeros(model.latent_size, device=model.device), *posterior_means(model, [batch])]
        names = ["the prior's mean", *batch_text(model.vocabulary, batch)]
        chosen = score_Z.argsort(descending=True, stable=True)[: self.dimensions].tolist()
        rows = [
            [name, dimension, f"{float(score_Z[dimension]):.4f}", *line]
            for name, center_Z in zip(names, centers, strict=True)
            for dimension, line in zip(chosen, traverse(model, center_Z, chosen, self.offsets), strict=True)
        ]
        score = "KL (nats)" if model.stochastic else "variance"
        columns = ["around", "dimension", score, *(f"{offset:+.2f}" for offset in self.offsets)]
        log_table(trainer, "traversals", columns, rows)
