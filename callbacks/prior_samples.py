"""What a model writes when its latent is drawn from the prior."""

from __future__ import annotations

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.attached import corpus_of
from callbacks.measured import log_figure
from callbacks.tables import log_table
from datamodules import Reviews
from datamodules.errors import require
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.decoding.decode import decode
from lightning_modules.decoding.prior import stretched
from lightning_modules.decoding.search import evaluating, greedy, sample
from lightning_modules.decoding.text import to_text
from lightning_modules.randomness import SentenceRandom


class PriorSamples(Callback):
    """Sentences decoded from the family's prior, N(0, I) for most, greedily and by sampling.

    At each validation and test: `samples/prior.txt` and a W&B table, which also have greedy ones from improbable
    regions: the same z under a map that stretches it (Bowman et al. 2016, Table 6; see `stretched`). On the corpus
    `reviews`, whose grammar can judge them, a test also gives `test/prior_grammatical` and
    `test/prior_grammatical_sampled`, shares of `count` sentences.

    Args:
        shown: Sentences in the table.
        count: Sentences that are judged.
        stretch: The map's largest factor.
    """

    def __init__(self, shown: int = 20, count: int = 1000, stretch: float = 4.0) -> None:
        require(stretch > 0, f"PriorSamples' stretch is {stretch}: give a positive factor")
        require(count > 0, f"PriorSamples' count is {count}: give 1 or more")
        require(0 <= shown, f"PriorSamples' shown is {shown}: give 0 or more")
        self.shown = shown
        self.count = count
        self.stretch = stretch

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows some samples."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._show(trainer, pl_module, *self._write(pl_module, self.shown))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows some samples and has the grammar judge them, where there is one."""
        if not trainer.is_global_zero:
            return
        corpus = corpus_of(trainer)
        judged = isinstance(corpus, Reviews)
        decoded, sampled = self._write(pl_module, self.count if judged else self.shown)
        self._show(trainer, pl_module, decoded[: self.shown], sampled[: self.shown])
        if isinstance(corpus, Reviews):
            for name, sentences in (("prior_grammatical", decoded), ("prior_grammatical_sampled", sampled)):
                share = sum(map(corpus.grammar.is_grammatical, sentences)) / len(sentences)
                log_figure(pl_module, name, share, sentences=len(sentences))

    def _write(self, pl_module: LightningModule, count: int) -> tuple[list[str], list[str]]:
        assert isinstance(pl_module, TextModel)
        random = SentenceRandom(torch.arange(count, device=pl_module.device), pl_module.seed, -1)
        z_BZ = pl_module.prior_latents(random)
        return to_text(pl_module, greedy(pl_module, z_BZ)), to_text(pl_module, sample(pl_module, z_BZ, random))

    def _show(self, trainer: Trainer, model: LightningModule, decoded: list[str], sampled: list[str]) -> None:
        columns = {"greedy": decoded, "sampled": sampled}
        if isinstance(model, TextAutoencoder):
            random = SentenceRandom(torch.arange(len(decoded), device=model.device), model.seed, -1)
            with evaluating(model):
                z_BZ = stretched(model.prior_latents(random), self.stretch, model.seed)
            columns["stretched"] = decode(model, z_BZ)
        log_table(trainer, "prior", list(columns), list(zip(*columns.values(), strict=True)))
