"""Latents of sentences of a split, for the studies that need some or all of them. B sentences, Z latent size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from callbacks.attached import corpus_of
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchRows, Rows
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.decoding.search import evaluating

CHUNK = 512


def draw_rows(trainer: Trainer, split: str, count: int, seed: int = 0) -> Rows:
    """Rows of a split, drawn without replacement; all of them, in order, where `count` is not less."""
    size = len(corpus_of(trainer).split(split))
    if count >= size:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).choice(size, size=count, replace=False))


def read_batch(trainer: Trainer, model: TextModel, split: str, rows: Rows) -> TokenBatch:
    """These rows of a split, on the model's device."""
    return corpus_of(trainer).split(split)[BatchRows(rows, 1.0)].to(model.device)


def batches_of(trainer: Trainer, model: TextModel, split: str, rows: Rows) -> Iterable[TokenBatch]:
    """These rows of a split in their order, a chunk at a time."""
    return (read_batch(trainer, model, split, rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK))


def posterior_means(model: TextAutoencoder, batches: Iterable[TokenBatch]) -> Tensor:
    """(B, Z) means of q(z|x), on the model's device."""
    with evaluating(model):
        means = [model.encode(batch).mean for batch in batches]
    return torch.cat(means).clone()


def labelled_means(trainer: Trainer, model: TextAutoencoder, split: str, count: int) -> tuple[Tensor, Tensor | None]:
    """(B, Z) posterior means of up to `count` sentences drawn from a split, and their labels (B,) where it has any."""
    batches = list(batches_of(trainer, model, split, draw_rows(trainer, split, count)))
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return posterior_means(model, batches), torch.cat(labels) if labels else None
