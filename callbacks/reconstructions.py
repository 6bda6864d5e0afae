"""How well sentences survive the way through the latent."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.latents import draw_rows, read_batch
from callbacks.tables import log_table
from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.reconstruction import reconstructions
from lightning_modules.decoding.search import evaluating, reconstruct
from lightning_modules.decoding.text import batch_text, to_text
from lightning_modules.metrics.bleu import CorpusBleu, CorpusBleuError
from lightning_modules.metrics.sentence_mean import SentenceError, SentenceMean, grouped


class Reconstructions(Callback):
    """Greedy reconstructions from the posterior's mean.

    At each validation and test: `samples/reconstructions.txt` and a W&B table of some sentences, where there is a
    posterior density also as they come back from a sample of it and from a perturbed one (Livne et al. 2020, Table 11).
    In a test also `test/reconstruction_bleu` (corpus BLEU-4 over the split, not smoothed, 0 to 1) and
    `test/reconstruction_exact` (share of sentences that come back word for word). A language model has no way back
    from a latent: nothing is done.

    Args:
        shown: Sentences in the table.
        perturbation: Of so many times the posterior's standard deviation the perturbed latent is drawn.
    """

    def __init__(self, shown: int = 20, perturbation: float = 10.0) -> None:
        require(
            perturbation > 0,
            f"Reconstructions' perturbation is {perturbation}: give a positive number of standard deviations",
        )
        require(shown >= 0, f"Reconstructions' shown is {shown}: give 0 or more")
        self.shown = shown
        self.perturbation = perturbation
        self.bleu = grouped({"reconstruction_bleu": CorpusBleu(), "reconstruction_bleu/error": CorpusBleuError()})
        self.exact = grouped({"reconstruction_exact": SentenceMean(), "reconstruction_exact/error": SentenceError()})

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows some sentences of the validation split."""
        if not trainer.sanity_checking:
            self._show(trainer, pl_module, "valid")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Decodes every sentence of the test split once."""
        if not isinstance(pl_module, TextAutoencoder):
            return
        sentences = batch_text(pl_module.vocabulary, batch)
        decoded = to_text(pl_module, reconstruct(pl_module, batch))
        self.bleu.to(pl_module.device).update(decoded, sentences)
        same = [float(mine == true) for mine, true in zip(decoded, sentences, strict=True)]
        self.exact.to(pl_module.device).update(torch.tensor(same, device=pl_module.device))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the figures of all ranks' sentences, and shows some."""
        if not isinstance(pl_module, TextAutoencoder):
            return
        for figures in (self.bleu, self.exact):
            for name, value in figures.compute().items():
                pl_module.log(f"test/{name}", value.float(), sync_dist=True)
            figures.reset()
        self._show(trainer, pl_module, "test")

    def _show(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        if not trainer.is_global_zero or not isinstance(pl_module, TextAutoencoder):
            return
        batch = read_batch(trainer, pl_module, split, draw_rows(trainer, split, self.shown))
        with evaluating(pl_module):
            posterior = pl_module.encode(batch)
        samples, perturbation = (1, self.perturbation) if pl_module.stochastic else (0, None)
        ways = reconstructions(pl_module, posterior, batch.index, samples, perturbation, seed=pl_module.seed)
        columns = {"sentence": batch_text(pl_module.vocabulary, batch)} | ways
        log_table(trainer, "reconstructions", list(columns), list(zip(*columns.values(), strict=True)))
