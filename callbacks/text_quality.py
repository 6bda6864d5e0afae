"""How well a model writes: reconstructions and new sentences. B sentences, Z latent size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from pytorch_lightning import Callback, LightningModule, Trainer
from torchmetrics import MetricCollection

from callbacks.attached import corpus_of
from callbacks.latents import draw_rows
from callbacks.measured import log_figure
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchRows
from datamodules.errors import require
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.decoding.decode import DecodingConfig, decode
from lightning_modules.decoding.search import evaluating, greedy, sample
from lightning_modules.decoding.text import batch_text, to_text
from lightning_modules.metrics.bleu import ORDERS, CorpusBleu, CorpusBleuError
from lightning_modules.metrics.sentence_mean import SentenceError, SentenceMean, grouped
from lightning_modules.randomness import SentenceRandom


class TextQuality(Callback):
    """What reconstructions and samples are worth, in a test.

    Reconstructions are decoded `greedy` or `sampled`, from the posterior's `mean` or from a draw of the `posterior`;
    of each of these four ways, as `<way>` in `greedy_mean`, `sampled_mean`, `greedy_posterior`, `sampled_posterior`:

    - `test/bleu_1_<way>` to `test/bleu_4_<way>`: corpus BLEU over the split (not smoothed, 0 to 1);
    - `test/exact_<way>`: share of sentences that come back word for word.

    A deterministic model has no posterior to draw from, a language model no reconstructions at all.

    Of sentences sampled from p(x|z), z from the prior:

    - `test/distinct_1`, `test/distinct_2`: distinct n-grams over n-grams, of all sentences together (Li et al. 2016);
      `test/distinct_1_data`, `test/distinct_2_data` of as many sentences of the split (all, if it has fewer), since
      they fall with the number of sentences;
    - `test/self_bleu`: the mean BLEU-4 of a sentence against all the others (Zhu et al. 2018), by NLTK; an order
      without a match counts 0.1 matches (Chen & Cherry 2014, method 1). It takes long, so that it is the mean over no
      more than `hypotheses` of the sentences, drawn with a fixed seed; the others are always all of them.

    Args:
        samples: Sentences sampled from the prior.
        hypotheses: Sentences whose BLEU makes up self-BLEU, at most.
    """

    def __init__(self, samples: int = 1000, hypotheses: int = 200) -> None:
        require(samples > 1, f"TextQuality's samples is {samples}: give 2 or more")
        require(hypotheses > 0, f"TextQuality's hypotheses is {hypotheses}: give 1 or more")
        self.samples = samples
        self.hypotheses = hypotheses
        self.bleu: dict[str, MetricCollection] = {}
        self.exact: dict[str, MetricCollection] = {}

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts anew."""
        ways = _ways(pl_module)
        orders = range(1, ORDERS + 1)
        self.bleu = {
            way: grouped(
                {f"bleu_{order}_{way}": CorpusBleu(order) for order in orders}
                | {f"bleu_{order}_{way}/error": CorpusBleuError(order) for order in orders}
            )
            for way in ways
        }
        self.exact = {
            way: grouped({f"exact_{way}": SentenceMean(), f"exact_{way}/error": SentenceError()}) for way in ways
        }

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Decodes every sentence of the test split once each way."""
        if not isinstance(pl_module, TextAutoencoder):
            return
        sentences = batch_text(pl_module.vocabulary, batch)
        for way, decoded in reconstructions(pl_module, batch).items():
            # On the CPU, where BLEU counts n-gram by n-gram, until they are reduced over ranks.
            self.bleu[way].update(decoded, sentences)
            same = [float(mine == true) for mine, true in zip(decoded, sentences, strict=True)]
            self.exact[way].update(torch.tensor(same))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the figures of all ranks' sentences; the first rank samples new ones."""
        assert isinstance(pl_module, TextModel)
        for figures in (*self.bleu.values(), *self.exact.values()):
            for name, value in figures.to(pl_module.device).compute().items():
                pl_module.log(f"test/{name}", value.float(), sync_dist=True)
        if not trainer.is_global_zero:
            return
        written = prior_sentences(pl_module, self.samples)
        rows = BatchRows(draw_rows(trainer, "test", self.samples), 1.0)
        true = batch_text(pl_module.vocabulary, corpus_of(trainer).split("test")[rows])
        for order in (1, 2):
            log_figure(pl_module, f"distinct_{order}", distinct(written, order), sentences=len(written))
            log_figure(pl_module, f"distinct_{order}_data", distinct(true, order), sentences=len(true))
        scored = min(self.hypotheses, len(written))
        log_figure(pl_module, "self_bleu", self_bleu(written, self.hypotheses), sentences=scored, samples=len(written))


def reconstructions(model: TextAutoencoder, batch: TokenBatch) -> dict[str, list[str]]:
    """The sentences of the batch, decoded each way; of a deterministic model only from the mean."""
    written = {}
    with evaluating(model):
        posterior, random = model.encode(batch), model.random(batch)
        for way in _ways(model):
            how, start = way.split("_")
            z = posterior.mean if start == "mean" else model.draw_latents(posterior, random)
            written[way] = to_text(model, greedy(model, z) if how == "greedy" else sample(model, z, random))
    return written


def prior_sentences(model: TextModel, count: int) -> list[str]:
    """Sentences sampled from latents of the prior, each a function of the model's seed and its number alone."""
    random = SentenceRandom(torch.arange(count, device=model.device), model.seed, -1)
    with evaluating(model):
        z_BZ = model.prior_latents(random)
    return decode(model, z_BZ, DecodingConfig(temperature=1.0), random)


def distinct(sentences: Sequence[str], order: int) -> float:
    """Distinct n-grams over n-grams of n = `order`, all sentences together; 0 where there are none."""
    words = [sentence.split() for sentence in sentences]
    grams = [tuple(row[i : i + order]) for row in words for i in range(len(row) - order + 1)]
    return len(set(grams)) / max(1, len(grams))


def self_bleu(sentences: Sequence[str], hypotheses: int, seed: int = 0) -> float:
    """The mean BLEU-4 of up to `hypotheses` sentences, drawn by seed, each against all other sentences."""
    words = [sentence.split() for sentence in sentences]
    drawn = np.random.default_rng(seed).permutation(len(words))[:hypotheses]
    smoothing = SmoothingFunction().method1
    scores = [sentence_bleu(words[:row] + words[row + 1 :], words[row], smoothing_function=smoothing) for row in drawn]
    return float(np.mean(scores))


def _ways(model: LightningModule) -> list[str]:
    if not isinstance(model, TextAutoencoder):
        return []
    starts = ("mean", "posterior") if model.stochastic else ("mean",)
    return [f"{how}_{start}" for start in starts for how in ("greedy", "sampled")]
