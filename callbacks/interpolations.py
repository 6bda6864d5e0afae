"""Sentences on the line between two sentences."""

from __future__ import annotations

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.latents import draw_rows, read_batch
from callbacks.tables import log_table
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.interpolation import interpolate
from lightning_modules.decoding.text import batch_text


class Interpolations(Callback):
    """Greedy decodes along straight lines between posterior means (Bowman et al. 2016, Shen et al. 2020).

    At each validation and test: `samples/interpolations.txt` and a W&B table. Nothing is done for a language model.

    Args:
        pairs: Pairs of sentences, drawn from the split.
        steps: Points on each line, both ends counted.
    """

    def __init__(self, pairs: int = 5, steps: int = 5) -> None:
        self.pairs = pairs
        self.steps = steps

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Between sentences of the validation split."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._show(trainer, pl_module, "valid")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Between sentences of the test split."""
        if trainer.is_global_zero:
            self._show(trainer, pl_module, "test")

    def _show(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        if not isinstance(pl_module, TextAutoencoder):
            return
        rows = draw_rows(trainer, split, 2 * self.pairs)
        half = len(rows) // 2
        if half == 0:
            return
        ends = [read_batch(trainer, pl_module, split, part) for part in (rows[:half], rows[half : 2 * half])]
        lines = interpolate(pl_module, ends[0], ends[1], self.steps)
        sentences = [batch_text(pl_module.vocabulary, end) for end in ends]
        columns = ["from", *(f"{place:.2f}" for place in torch.linspace(0, 1, self.steps).tolist()), "to"]
        log_table(
            trainer,
            "interpolations",
            columns,
            [[first, *line, last] for first, line, last in zip(sentences[0], lines, sentences[1], strict=True)],
        )
