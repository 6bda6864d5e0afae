"""Perplexities as other papers count them."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from datamodules.batch import TokenBatch
from lightning_modules import TextModel
from lightning_modules.metrics.perplexity import (
    CONVENTIONS,
    OTHER_CONVENTIONS,
    Perplexity,
    PerplexityError,
    require_conventions,
)


class PerplexityConventions(Callback):
    """Each perplexity of the family in other conventions, from the very same likelihoods.

    A test gives `test/<perplexity>_<convention>` and its standard error over sentences, such as
    `test/perplexity_eos_in_neither`. The default, `eos_in_both`, is what `test/perplexity` has anyway;
    `ImportanceWeightedNLL` and `Melbo` have the same setting. A paper that splits words otherwise counts other tokens,
    too: for that the corpus is to be prepared with its tokeniser.

    Args:
        conventions: Names of `lightning_modules.metrics.perplexity.CONVENTIONS`.
    """

    def __init__(self, conventions: tuple[str, ...] = OTHER_CONVENTIONS) -> None:
        require_conventions(conventions)
        self.conventions = tuple(conventions)
        self.metrics: dict[str, tuple[str, Perplexity, PerplexityError]] = {}

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

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the figures of all ranks' sentences."""
        for name, (_, perplexity, error) in self.metrics.items():
            pl_module.log(f"test/{name}", perplexity.compute().float(), sync_dist=True)
            pl_module.log(f"test/{name}/error", error.compute().float(), sync_dist=True)
