"""Sentences on paths between two sentences."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.latents import batches_of, draw_rows, posterior_means
from callbacks.measured import log_figure
from callbacks.tables import log_table
from datamodules.errors import require
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.interpolation import PathShape, interpolate
from lightning_modules.decoding.smoothness import mean_smoothness
from lightning_modules.decoding.text import batch_text


class Interpolations(Callback):
    """Greedy decodes on paths between posterior means (Bowman et al. 2016, Shen et al. 2020).

    At each validation and test: `samples/interpolations.txt` and a W&B table. A test also says how smooth paths are
    (see `Smoothness`), in the mean over `measured` pairs: `test/interpolation_distance` and `test/interpolation_jump`,
    the mean and the largest normalised edit distance between neighbours on a path, and `test/interpolation_repeated`,
    the share of steps that leave the sentence as it is. Nothing is done for a language model.

    Args:
        pairs: Pairs of sentences in the table, drawn from the split.
        steps: Points on each path, both ends counted.
        path: `linear` or `spherical`.
        measured: Pairs of which a test has the figures, if the split has so many.
    """

    def __init__(self, pairs: int = 5, steps: int = 5, path: PathShape = "linear", measured: int = 100) -> None:
        require(path in ("linear", "spherical"), f"Interpolations' path is {path}: give linear or spherical")
        require(pairs >= 0, f"Interpolations' pairs is {pairs}: give 0 or more")
        require(steps > 1, f"Interpolations' steps is {steps}: give 2 or more, both ends counted")
        require(measured >= 0, f"Interpolations' measured is {measured}: give 0 or more")
        self.pairs = pairs
        self.steps = steps
        self.path = path
        self.measured = measured

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Between sentences of the validation split."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._show(trainer, pl_module, "valid")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Between sentences of the test split."""
        if not trainer.is_global_zero:
            return
        self._show(trainer, pl_module, "test")
        if isinstance(pl_module, TextAutoencoder) and self.measured > 0:
            _, lines = self._paths(trainer, pl_module, "test", self.measured)
            for name, value in asdict(mean_smoothness(lines)).items() if lines else ():
                log_figure(pl_module, f"interpolation_{name}", value, sentences=2 * len(lines))

    def _show(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        if not isinstance(pl_module, TextAutoencoder):
            return
        ends, lines = self._paths(trainer, pl_module, split, self.pairs)
        if not lines:
            return
        columns = ["from", *(f"{place:.2f}" for place in torch.linspace(0, 1, self.steps).tolist()), "to"]
        rows = [[first, *line, last] for (first, last), line in zip(ends, lines, strict=True)]
        log_table(trainer, "interpolations", columns, rows)

    def _paths(
        self, trainer: Trainer, model: TextAutoencoder, split: str, pairs: int
    ) -> tuple[list[tuple[str, str]], list[list[str]]]:
        """Pairs of sentences and the sentences between them; fewer where the split is small."""
        rows = draw_rows(trainer, split, 2 * pairs)
        half = len(rows) // 2
        if half == 0:
            return [], []
        batches = [list(batches_of(trainer, model, split, part)) for part in np.split(rows[: 2 * half], 2)]
        first, last = ([text for batch in part for text in batch_text(model.vocabulary, batch)] for part in batches)
        z_first_BZ, z_last_BZ = (posterior_means(model, part) for part in batches)
        lines = interpolate(model, z_first_BZ, z_last_BZ, self.steps, self.path)
        return list(zip(first, last, strict=True)), lines
