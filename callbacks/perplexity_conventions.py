"""Likelihoods and perplexities as other papers count them."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from datamodules.batch import TokenBatch
from lightning_modules import TextModel
from lightning_modules.metrics.perplexity import (
    CONVENTIONS,
    OTHER_CONVENTIONS,
    WITHOUT_EOS,
    Perplexity,
    PerplexityError,
    require_conventions,
)
from lightning_modules.metrics.sentence_mean import SentenceError, SentenceMean


class PerplexityConventions(Callback):
    """Each perplexity of the family in other conventions, from the very same likelihoods.

    A test gives `test/<perplexity>_<convention>`, such as `test/perplexity_eos_in_neither`, and, where one of the
    conventions leaves EOS out of the likelihood, `test/<likelihood>_without_eos` in nats a sentence, such as
    `test/negative_elbo_without_eos`; each with its standard error over sentences. The default, `eos_in_both`, is what
    `test/perplexity` has anyway; `ImportanceWeightedNLL` and `Melbo` have the same setting. A paper that splits words
    otherwise counts other tokens, too: for that the corpus is to be prepared with its tokeniser.

    Args:
        conventions: Names of `lightning_modules.metrics.perplexity.CONVENTIONS`.
    """

    def __init__(self, conventions: tuple[str, ...] = OTHER_CONVENTIONS) -> None:
        require_conventions(conventions)
        self.conventions = tuple(conventions)
        self.metrics: dict[str, tuple[str, Perplexity, PerplexityError]] = {}
        self.without_eos: dict[str, tuple[SentenceMean, SentenceError]] = {}

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts anew."""
        assert isinstance(pl_module, TextModel)
        self.metrics = {
            f"{name}_{convention}": (
                convention,
                Perplexity().to(pl_module.device),
                PerplexityError().to(pl_module.device),
            )
            for name in pl_module.perplexities
            for convention in self.conventions
        }
        left_out = any(not CONVENTIONS[convention].end_in_nll for convention in self.conventions)
        self.without_eos = {
            term: (SentenceMean().to(pl_module.device), SentenceError().to(pl_module.device))
            for term in (pl_module.perplexities.values() if left_out else ())
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
        """Adds a batch's sentences."""
        assert isinstance(pl_module, TextModel)
        for name, (convention, *metrics) in self.metrics.items():
            counted = CONVENTIONS[convention]
            nll_B = outputs[pl_module.perplexities[name.removesuffix(f"_{convention}")]]
            for metric in metrics:
                metric.update(counted.nats(nll_B, outputs["end"]), counted.tokens(batch.lengths))
        for term, pair in self.without_eos.items():
            for each in pair:
                each.update(outputs[term] - outputs["end"])

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the figures of all ranks' sentences."""
        for name, (_, perplexity, error) in self.metrics.items():
            pl_module.log(f"test/{name}", perplexity.compute().float(), sync_dist=True)
            pl_module.log(f"test/{name}/error", error.compute().float(), sync_dist=True)
        for term, (mean, of_mean) in self.without_eos.items():
            pl_module.log(f"test/{term}_{WITHOUT_EOS}", mean.compute().float(), sync_dist=True)
            pl_module.log(f"test/{term}_{WITHOUT_EOS}/error", of_mean.compute().float(), sync_dist=True)
