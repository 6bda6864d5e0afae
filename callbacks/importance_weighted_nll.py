"""The importance-weighted estimate of -log p(x) over a split (Burda et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.progress import track

from callbacks.attached import corpus_of
from callbacks.floor import true_nll
from callbacks.latents import draw_rows, read_batch
from datamodules import Reviews
from datamodules.batch import TokenBatch
from datamodules.bucketing import Rows
from datamodules.errors import require
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.decoding.search import evaluating
from lightning_modules.likelihood import log_weights, rows_within
from lightning_modules.metrics.importance import ImportanceFigures
from lightning_modules.metrics.perplexity import OTHER_CONVENTIONS, require_conventions
from lightning_modules.metrics.sentence_mean import SentenceMean
from lightning_modules.randomness import DRAWS

# Sentences of about one length that are encoded together.
GROUP = 16


class ImportanceWeightedNLL(Callback):
    """`nll_iw` and `perplexity_iw` of a test's split, and on a cadence of the validation split.

    In expectation an upper bound on -log p(x) under the prior N(0, I), nearer the more samples. With it come its
    standard error over sentences, its Monte Carlo error, and a sentence's mean effective number of samples: near 1, one
    sample outweighs the others, and the estimate is far from what more samples would give. Of VAE-AVG `nll_iw_kl_once`
    is also given, in which one latent's ratio of prior and posterior stands for that of all: the paper's count, no
    bound. Nothing is done for a language model, whose NLL is exact, or a model without a posterior density.

    Args:
        samples: K, importance samples of a sentence.
        sentences: At most so many, drawn from the split; all of them where it is null.
        memory: Megabytes that decoding may take at a time, beside some dozens that the libraries keep.
        bf16: Matrix products in bfloat16, which the figures then say; sums and the softmax stay in float32 or better.
        every_n_epochs: Cadence of validations that measure it too; none where it is null.
        conventions: In which a test gives `perplexity_iw_<convention>`, too, and `nll_iw_without_eos` where one of
            them leaves EOS out; of `lightning_modules.metrics.perplexity.CONVENTIONS`.
    """

    def __init__(
        self,
        samples: int = 500,
        sentences: int | None = None,
        memory: float = 512.0,
        bf16: bool = False,
        every_n_epochs: int | None = None,
        conventions: tuple[str, ...] = OTHER_CONVENTIONS,
    ) -> None:
        require(samples > 1, f"ImportanceWeightedNLL's samples is {samples}: give 2 or more")
        require(
            sentences is None or sentences > 0,
            f"ImportanceWeightedNLL's sentences is {sentences}: give 1 or more, or null for all",
        )
        require(memory > 0, f"ImportanceWeightedNLL's memory is {memory}: give a positive number of megabytes")
        require(
            every_n_epochs is None or every_n_epochs > 0,
            f"ImportanceWeightedNLL's every_n_epochs is {every_n_epochs}: give 1 or more",
        )
        require_conventions(conventions)
        self.samples = samples
        self.sentences = sentences
        self.memory = memory
        self.bf16 = bf16
        self.every_n_epochs = every_n_epochs
        self.conventions = tuple(conventions)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Checks, before anything is trained or tested, that a sentence has so many draws.

        Raises:
            UsageError: It has fewer.
        """
        if isinstance(pl_module, TextAutoencoder) and pl_module.stochastic:
            most = DRAWS // pl_module.latents_per_sentence
            require(
                self.samples <= most,
                f"ImportanceWeightedNLL's samples is {self.samples:,}: of this model a sentence has {most:,} at most",
            )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures, if it is time."""
        due = self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and not trainer.sanity_checking:
            self._measure(trainer, pl_module, "valid", "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures."""
        self._measure(trainer, pl_module, "test", "test")

    def _measure(self, trainer: Trainer, module: LightningModule, split: str, stage: str) -> None:
        assert isinstance(module, TextModel)
        if not isinstance(module, TextAutoencoder) or not module.stochastic:
            return
        counts = {"": False} | ({"_kl_once": True} if module.latents_per_sentence > 1 else {})
        conventions = self.conventions if stage == "test" else ()
        figures = {end: ImportanceFigures(module.device, once, conventions) for end, once in counts.items()}
        floor = SentenceMean().to(module.device)
        with evaluating(module), torch.autocast(module.device.type, torch.bfloat16, enabled=self.bf16):
            for batch in self._batches(trainer, module, split):
                found = log_weights(module, batch, self.samples, self.memory)
                for each in figures.values():
                    each.update(found, batch.lengths)
                if (nats_B := true_nll(trainer, module, batch)) is not None:
                    floor.update(nats_B)
        for end, each in figures.items():
            for (quantity, convention, note), value in each.compute().items():
                name = "_".join(filter(None, (f"{stage}/{quantity}_iw{end}", convention)))
                if stage == "val":
                    if not note:
                        module.log(name, value.float(), sync_dist=True)
                    continue
                module.log(name + note, value.float(), sync_dist=True)
                if not note:
                    module.log(f"{name}/samples", float(self.samples), sync_dist=True)
                    module.log(f"{name}/sentences", float(self._count(trainer, split)), sync_dist=True)
                    if self.bf16 and module.dtype != torch.float64:  # which autocast leaves alone
                        module.log(f"{name}/bf16_products", 1.0, sync_dist=True)
            if stage == "test" and isinstance(corpus_of(trainer), Reviews):
                module.log(f"test/nll_iw{end}/floor", floor.compute().float(), sync_dist=True)

    def _batches(self, trainer: Trainer, module: TextAutoencoder, split: str) -> Iterator[TokenBatch]:
        """This rank's part of the split, sentences of about one length together."""
        lengths = corpus_of(trainer).split(split).lengths
        rows = draw_rows(trainer, split, self._count(trainer, split))
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        mine = list(self._groups(module, rows, lengths[rows]))[trainer.global_rank :: trainer.world_size]
        silent = not trainer.is_global_zero or trainer.progress_bar_callback is None
        for group in track(mine, f"importance weights, {split}", disable=silent, transient=True):
            yield read_batch(trainer, module, split, group)

    def _count(self, trainer: Trainer, split: str) -> int:
        size = len(corpus_of(trainer).split(split))
        return min(size, self.sentences or size)

    def _groups(self, module: TextAutoencoder, rows: Rows, lengths: npt.NDArray[np.int32]) -> Iterator[Rows]:
        """Sentences of about one length, no more than the memory allows of the longest one."""
        end = len(rows)
        while end > 0:
            start = max(0, end - min(GROUP, rows_within(self.memory, module, int(lengths[end - 1]) + 1)))
            yield rows[start:end]
            end = start
