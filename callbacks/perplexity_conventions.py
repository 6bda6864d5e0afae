"""Likelihoods and perplexities as other papers count them."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from datamodules.batch import TokenBatch
from lightning_modules import TextModel
from lightning_modules.metrics.figures import Figures
from lightning_modules.metrics.perplexity import (
    CONVENTIONS,
    OTHER_CONVENTIONS,
    WITHOUT_EOS,
    require_conventions,
)


class PerplexityConventions(Callback):
    """Each perplexity of the family in other conventions, from the very same likelihoods.

    A test gives `test/<perplexity>_<convention>`, such as `test/perplexity_eos_in_neither`, and, where one of the
    conventions leaves EOS out of the likelihood, `test/<likelihood>_without_eos` in nats a sentence, such as
    `test/negative_elbo_without_eos`; each with its errors over sentences and of the draws. The default, `eos_in_both`,
    is what `test/perplexity` has anyway; `ImportanceWeightedNLL` and `Melbo` have the same setting. A paper that splits
    words otherwise counts other tokens, too: for that the corpus is to be prepared with its tokeniser.

    Args:
        conventions: Names of `lightning_modules.metrics.perplexity.CONVENTIONS`.
    """

    def __init__(self, conventions: tuple[str, ...] = OTHER_CONVENTIONS) -> None:
        require_conventions(conventions)
        self.conventions = tuple(conventions)
        self.figures: dict[str, Figures] = {}

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts anew."""
        assert isinstance(pl_module, TextModel)
        options = {"errors": True, "sampled": pl_module.draws_latents}
        self.figures = {
            convention: Figures(
                (),
                {f"{name}_{convention}": term for name, term in pl_module.perplexities.items()},
                **options,
            )
            for convention in self.conventions
        }
        if any(not CONVENTIONS[convention].end_in_nll for convention in self.conventions):
            names = [f"{term}_{WITHOUT_EOS}" for term in pl_module.perplexities.values()]
            self.figures[WITHOUT_EOS] = Figures(names, {}, **options)
        for each in self.figures.values():
            each.to(pl_module.device)

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
        second = {name.removeprefix("second_"): nats for name, nats in outputs.items() if name.startswith("second_")}
        draws = [draw for draw in (outputs, second) if draw]
        terms = pl_module.perplexities.values()
        for name, figures in self.figures.items():
            if name == WITHOUT_EOS:
                nats = [{f"{term}_{name}": draw[term] - draw["end"] for term in terms} for draw in draws]
                figures.update(nats[0], batch.lengths, nats[-1])
            else:
                counted = CONVENTIONS[name]
                nats = [{term: counted.nats(draw[term], draw["end"]) for term in terms} for draw in draws]
                figures.update(nats[0], counted.tokens(batch.lengths), nats[-1])

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the figures of all ranks' sentences."""
        for figures in self.figures.values():
            for name, metric in figures.items():
                pl_module.log(f"test/{name}", metric.compute().float(), sync_dist=True)
