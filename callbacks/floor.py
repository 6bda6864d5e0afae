"""The entropy floor: on a corpus whose distribution is known, no likelihood can be better than the truth."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.attached import corpus_of
from datamodules import Reviews
from datamodules.batch import TokenBatch
from lightning_modules import TextModel
from lightning_modules.decoding.text import batch_text
from lightning_modules.metrics.sentence_mean import SentenceError, SentenceMean

# A normalised model exceeds p* by t nats in total with probability exp(-t) at most: 14 nats, once in a million.
NATS = 14.0


class EntropyFloor(Callback):
    """`test/floor`: the mean of -log p*(x) over the very sentences of the test, on the corpus `reviews`.

    p* is the grammar's own probability. The summary compares every figure that claims to say something of -log p(x)
    with it.
    """

    def __init__(self) -> None:
        self.mean = SentenceMean()
        self.error = SentenceError()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Adds a batch's sentences."""
        assert isinstance(pl_module, TextModel)
        nats_B = true_nll(trainer, pl_module, batch)
        if nats_B is not None:
            for metric in (self.mean, self.error):
                metric.to(pl_module.device).update(nats_B)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs it."""
        if isinstance(corpus_of(trainer), Reviews):
            pl_module.log("test/floor", self.mean.compute(), sync_dist=True)
            pl_module.log("test/floor/error", self.error.compute(), sync_dist=True)
        self.mean.reset()
        self.error.reset()


def true_nll(trainer: Trainer, model: TextModel, batch: TokenBatch) -> Tensor | None:
    """(B,) -log p*(x) of sentences of the corpus `reviews`, nats; of no other corpus the truth is known."""
    corpus = corpus_of(trainer)
    if not isinstance(corpus, Reviews):
        return None
    sentences = batch_text(model.vocabulary, batch)
    nats = [-corpus.grammar.log_probability(sentence) for sentence in sentences]
    return torch.tensor(nats, dtype=torch.float64).to(model.device)


def is_below(gap: float, sentences: int, monte_carlo_error: float | None) -> bool:
    """Whether a figure lies further below the floor than a normalised model could by chance.

    Args:
        gap: The figure minus the floor, nats a sentence.
        sentences: Of which both are means.
        monte_carlo_error: Of the figure, where latents were drawn; it may err by three of them.
    """
    return gap * sentences < -NATS - 3 * (monte_carlo_error or 0.0) * sentences
