"""Forward and reverse perplexity: whether samples are like the corpus, and the corpus like the samples."""

from __future__ import annotations

import sys

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.attached import corpus_of
from callbacks.language_judge import JudgeConfig, judged_perplexity, train_judge
from callbacks.latents import batches_of, draw_rows
from callbacks.measured import log_figure
from callbacks.text_quality import prior_sentences
from datamodules.errors import require
from lightning_modules import TextModel
from lightning_modules.decoding.text import batch_text, text_batches


class SamplePerplexity(Callback):
    """Perplexities of language models that a test trains for the purpose (Zhao et al. 2018, Shen et al. 2020).

    - `test/forward_perplexity`: of sentences sampled from p(x|z), z from the prior, under a language model of sentences
      of the training split: low where samples are like the corpus, also where they are all alike.
    - `test/reverse_perplexity`: of the test split under a language model of the samples: low only where the samples are
      like the corpus and as various.
    - `test/data_perplexity`: of the test split under the first language model, with which both are to be compared.

    Both language models are of one size and see equally many sentences, but for samples without a word, of which none
    can learn; their perplexity counts. The first rank alone trains them, with a fixed seed, which takes minutes.

    Args:
        samples: Sentences that are sampled, and drawn from the training split (all of it, if it has fewer).
        language_model: Of which there are two.
    """

    def __init__(self, samples: int = 10_000, language_model: JudgeConfig = JudgeConfig()) -> None:
        require(samples > 0, f"SamplePerplexity's samples is {samples}: give 1 or more")
        self.samples = samples
        self.language_model = language_model

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Samples, trains and measures."""
        assert isinstance(pl_module, TextModel)
        if not trainer.is_global_zero:
            return
        words = pl_module.vocabulary
        drawn = batches_of(trainer, pl_module, "train", draw_rows(trainer, "train", self.samples))
        data = [sentence for batch in drawn for sentence in batch_text(words, batch)]
        written = prior_sentences(pl_module, len(data))
        if not any(written):
            print("SamplePerplexity: every sample is empty, and says nothing to measure", file=sys.stderr)
            return
        of_data, of_samples = (
            train_judge(sentences, words, self.language_model, pl_module.device, pl_module.seed)
            for sentences in (data, written)
        )
        test = list(batches_of(trainer, pl_module, "test", np.arange(len(corpus_of(trainer).split("test")))))
        figures = {
            "forward_perplexity": judged_perplexity(of_data, text_batches(words, written)),
            "reverse_perplexity": judged_perplexity(of_samples, test),
            "data_perplexity": judged_perplexity(of_data, test),
        }
        for name, value in figures.items():
            counted = len(written) if name == "forward_perplexity" else None
            log_figure(pl_module, name, value, sentences=counted, samples=len(written))
