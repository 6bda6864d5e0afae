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
from lightning_modules.decoding.decode import DecodingConfig, decode
from lightning_modules.decoding.prior import stretched
from lightning_modules.decoding.search import evaluating
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
            assert isinstance(pl_module, TextModel)
            _show(trainer, self._write(pl_module, self.shown))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows some samples and has the grammar judge them, where there is one."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, TextModel)
        corpus = corpus_of(trainer)
        written = self._write(pl_module, self.count if isinstance(corpus, Reviews) else self.shown)
        _show(trainer, {way: sentences[: self.shown] for way, sentences in written.items()})
        if isinstance(corpus, Reviews):
            for name, way in (("prior_grammatical", "greedy"), ("prior_grammatical_sampled", "sampled")):
                share = sum(map(corpus.grammar.is_grammatical, written[way])) / len(written[way])
                log_figure(pl_module, name, share, sentences=len(written[way]))

    def _write(self, model: TextModel, count: int) -> dict[str, list[str]]:
        random = SentenceRandom(torch.arange(count, device=model.device), model.seed, -1)
        with evaluating(model):
            z_BZ = model.prior_latents(random)
        sampling = DecodingConfig(temperature=1.0)
        written = {"greedy": decode(model, z_BZ), "sampled": decode(model, z_BZ, sampling, random)}
        if isinstance(model, TextAutoencoder):
            written["stretched"] = decode(model, stretched(z_BZ[: self.shown], self.stretch, model.seed))
        return written


def _show(trainer: Trainer, written: dict[str, list[str]]) -> None:
    log_table(trainer, "prior", list(written), list(zip(*written.values(), strict=True)))
