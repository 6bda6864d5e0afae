"""Changing one attribute of a sentence by adding a vector to its latent (Shen et al. 2020)."""

from __future__ import annotations

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.functional.text import bleu_score

from callbacks.latents import batches_of, corpus_of, draw_rows, posterior_means
from callbacks.tables import log_table
from datamodules import Reviews
from datamodules.bucketing import Rows
from datamodules.errors import require
from datamodules.synthetic import PAST, PRESENT
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.search import greedy
from lightning_modules.decoding.text import batch_text, to_text


class TenseTransfer(Callback):
    """Puts present sentences of the test split into the past, judged by the grammar of the corpus `reviews`.

    The tense vector is the mean posterior mean of past training sentences minus that of present ones. A test gives
    `test/tense_accuracy`, the share of decoded sentences in the past tense; `test/tense_bleu`, their corpus BLEU-4
    against each sentence's own past form; and `test/tense_copy_bleu`, the BLEU of copying the input, whose accuracy is
    0; besides `samples/tense.txt` and a W&B table.

    Args:
        scale: Factor on the vector.
        sentences: Training sentences of which the vector is the mean.
        shown: Sentences in the table.
    """

    def __init__(self, scale: float = 1.0, sentences: int = 10_000, shown: int = 20) -> None:
        self.scale = scale
        self.sentences = sentences
        self.shown = shown

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Checks that the corpus has a grammar that knows tense."""
        corpus = corpus_of(trainer)
        require(
            isinstance(corpus, Reviews),
            f"TenseTransfer needs the corpus reviews, not {corpus.corpus}: take it out of trainer.callbacks",
        )
        require(isinstance(pl_module, TextAutoencoder), "TenseTransfer needs a model with a latent")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the vector and changes every present sentence of the test split."""
        corpus = corpus_of(trainer)
        if not trainer.is_global_zero or not isinstance(corpus, Reviews):
            return
        assert isinstance(pl_module, TextAutoencoder)
        present = _with_tense(corpus, "test", np.arange(len(corpus.split("test"))), PRESENT)
        require(len(present) > 0, "TenseTransfer needs present sentences in the test split: use a larger one")
        batches = list(batches_of(trainer, pl_module, "test", present))
        sentences = [sentence for batch in batches for sentence in batch_text(pl_module.vocabulary, batch)]
        moved_BZ = posterior_means(pl_module, batches) + self.scale * self._vector(trainer, pl_module, corpus)
        changed = to_text(pl_module, greedy(pl_module, moved_BZ))
        true = [corpus.grammar.with_tense(sentence, PAST) for sentence in sentences]
        figures = {
            "tense_accuracy": sum(corpus.grammar.tense(sentence) == PAST for sentence in changed) / len(changed),
            "tense_bleu": float(bleu_score(changed, [[sentence] for sentence in true])),
            "tense_copy_bleu": float(bleu_score(sentences, [[sentence] for sentence in true])),
        }
        for name, value in figures.items():
            pl_module.log(f"test/{name}", value, rank_zero_only=True)
        rows = list(zip(sentences, changed, true, strict=True))
        picked = np.random.default_rng(0).permutation(len(rows))[: self.shown]
        log_table(trainer, "tense", ["present", "changed", "its own past"], [rows[i] for i in picked])

    def _vector(self, trainer: Trainer, model: TextAutoencoder, corpus: Reviews) -> Tensor:
        rows = draw_rows(trainer, "train", self.sentences)
        means = [
            posterior_means(model, batches_of(trainer, model, "train", _with_tense(corpus, "train", rows, tense))).mean(
                0
            )
            for tense in (PAST, PRESENT)
        ]
        return means[0] - means[1]


def _with_tense(corpus: Reviews, split: str, rows: Rows, tense: int) -> Rows:
    labels = np.asarray(corpus.split(split).encoded[rows]["label"])
    return rows[labels % 2 == tense]
