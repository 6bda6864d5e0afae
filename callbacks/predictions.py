"""What `textae predict` leaves behind."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.tables import run_folder
from datamodules.batch import TokenBatch
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.search import greedy
from lightning_modules.decoding.text import to_text


class Predictions(Callback):
    """Writes the greedy reconstruction of every sentence to `samples/predictions.txt`, in the order of the split.

    Of a language model, which has no latent, it writes each sentence's -log p(x) in nats instead.

    Blank lines and sentences of more than `subset.max_words` words are no part of a split, and have no line here.

    With several ranks, each writes its own sentences to `samples/predictions.<rank>.txt`, behind their row numbers.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Decodes a batch."""
        if isinstance(pl_module, TextAutoencoder):
            lines = to_text(pl_module, greedy(pl_module, outputs.mean))
        else:
            lines = [f"{nll:.4f}" for nll in outputs.tolist()]
        self.lines += zip(batch.index.tolist(), lines, strict=True)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file."""
        several = trainer.world_size > 1
        name = f"predictions.{trainer.global_rank}.txt" if several else "predictions.txt"
        lines = [f"{row}\t{text}" if several else text for row, text in sorted(self.lines)]
        run_folder(trainer, "samples", name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.lines = []
