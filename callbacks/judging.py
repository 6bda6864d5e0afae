"""What judges have in common: small models that a study trains for the purpose, beside the trainer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Callback, Trainer
from tokenizers import Tokenizer
from torch.utils.data import DataLoader

from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig, BucketSampler
from datamodules.dataset import SentenceDataset, encode
from datamodules.errors import require


def judge_trainer(device: torch.device, epochs: int, callbacks: Sequence[Callback] = (), **options: Any) -> Trainer:
    """A silent trainer on one device, in this process alone."""
    return Trainer(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        plugins=[LightningEnvironment()],  # also where the caller is one of several ranks
        max_epochs=epochs,
        gradient_clip_val=5.0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **options,
    )


@contextmanager
def training_aside(seed: int) -> Iterator[None]:
    """Gradients, which a test does not keep, random numbers that leave the test's own alone, and no talk of devices."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    log = logging.getLogger("pytorch_lightning")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _without_bars() -> Iterator[None]:
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def sentence_loader(
    sentences: Sequence[str],
    vocabulary: Tokenizer,
    size: int,
    training: bool,
    seed: int = 0,
    labels: Sequence[int] | None = None,
) -> DataLoader[TokenBatch]:
    """Batches of up to `size` of these sentences; empty ones are left out, as in every corpus.

    Raises:
        UsageError: None has a word.
    """
    columns: dict[str, list[Any]] = {"text": list(sentences)} | ({} if labels is None else {"label": list(labels)})
    with _without_bars():
        rows = encode(Dataset.from_dict(columns), vocabulary, None, "drop", desc="sentences to judge")
    encoded = SentenceDataset(rows)
    require(len(encoded) > 0, "there is no sentence with a word to train a judge on, or to judge")
    batching = BatchingConfig(sentences=size, eval_sentences=size)
    sampler = BucketSampler(encoded.lengths, batching, training=training, seed=seed)
    return DataLoader(encoded, sampler=sampler, batch_size=None)
