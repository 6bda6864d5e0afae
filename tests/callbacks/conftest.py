"""A small model that knows some of the grammar, and what a callback makes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_lightning as pl
import torch

from datamodules import Reviews, TextFolder
from datamodules.bucketing import BatchingConfig
from datamodules.text import SubsetConfig
from lightning_modules import Autoencoder, TextAutoencoder
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.posterior import PosteriorConfig
from lightning_modules.decoding.search import greedy
from lightning_modules.decoding.text import text_batch, to_text
from lightning_modules.optimization import OptimizerConfig

STEPS = 80
Array = npt.NDArray[np.float64]


def reviews(eval_sentences: int = 256) -> Reviews:
    """A small sample of the built-in corpus."""
    return Reviews(
        subset=SubsetConfig(train=600, valid=40, test=90),
        batching=BatchingConfig(sentences=50, eval_sentences=eval_sentences),
    )


def untrained(vocabulary: str, latent_size: int = 6, latent: Literal["mean", "sample"] = "mean") -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(
        latent,
        vocabulary=vocabulary,
        embedding=EmbeddingConfig(32),
        encoder=EncoderConfig(cell="gru", hidden_size=48),
        posterior=PosteriorConfig(latent_size=latent_size),
        decoder=DecoderConfig(cell="gru", hidden_size=48, max_words=16),
        optimizer=OptimizerConfig(lr=1e-2),
    )


def quiet_trainer(folder: Path, callbacks: Sequence[pl.Callback] = (), **options: object) -> pl.Trainer:
    """A silent trainer on the CPU."""
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": str(folder),
        "callbacks": list(callbacks),
    }
    return pl.Trainer(**(settings | options))


@pytest.fixture(scope="session")
def model() -> Autoencoder:
    """Trained on the test split, for as long as it takes to write some of its sentences well and others not."""
    data = reviews()
    trained = untrained(data.vocabulary_json)
    batch = text_batch(trained.vocabulary, list(data.read_split("test")["text"]))
    optimizer = torch.optim.Adam(trained.parameters(), lr=1e-2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        trained.objective(batch).loss.mean().backward()
        optimizer.step()
    return trained.eval()


@pytest.fixture
def corpus() -> Callable[..., Reviews]:
    """Makes the small sample, in batches of a given size."""
    return reviews


@pytest.fixture
def fresh() -> Callable[..., Autoencoder]:
    """Makes an untrained model of a vocabulary."""
    return untrained


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    """Makes a trainer with callbacks, whose run folder is `tmp_path`."""

    def make(*callbacks: pl.Callback, **options: object) -> pl.Trainer:
        return quiet_trainer(tmp_path, callbacks, **options)

    return make


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TextFolder]:
    """Makes a corpus of these sentences, in all splits, with labels if they are given."""

    def make(sentences: Sequence[str], labels: Sequence[int] | None = None) -> TextFolder:
        place = tmp_path_factory.mktemp("text")
        for split in ("train", "valid", "test"):
            (place / f"{split}.txt").write_text("\n".join(sentences) + "\n")
            if labels is not None:
                (place / f"{split}.labels").write_text("\n".join(map(str, labels)) + "\n")
        return TextFolder(data_dir=str(place))

    return make


@pytest.fixture
def test_sentences() -> list[str]:
    """The test split as text, in its order."""
    return list(reviews().read_split("test")["text"])


@pytest.fixture
def means() -> Callable[[TextAutoencoder, Sequence[str]], Array]:
    """Posterior means, of one sentence at a time."""

    def encode(model: TextAutoencoder, sentences: Sequence[str]) -> Array:
        with torch.no_grad():
            rows = [model.encode(text_batch(model.vocabulary, [sentence])).mean for sentence in sentences]
        return torch.cat(rows).double().numpy()

    return encode


@pytest.fixture
def decode() -> Callable[[TextAutoencoder, Array], list[str]]:
    """Greedy sentences of latents, one at a time."""

    def write(model: TextAutoencoder, latents: Array) -> list[str]:
        return [to_text(model, greedy(model, torch.from_numpy(z)[None].float()))[0] for z in latents]

    return write


@pytest.fixture
def bleu() -> Callable[[Sequence[str], Sequence[str]], float]:
    """Corpus BLEU-4 with one reference a sentence, by its definition (Papineni et al. 2002)."""

    def compute(written: Sequence[str], true: Sequence[str]) -> float:
        logarithms = 0.0
        for n in range(1, 5):
            matched = total = 0
            for mine, reference in zip(written, true, strict=True):
                grams, allowed = (
                    Counter(zip(*(sentence.split()[start:] for start in range(n)), strict=False))
                    for sentence in (mine, reference)
                )
                matched += (grams & allowed).total()
                total += grams.total()
            if matched == 0:
                return 0.0
            logarithms += math.log(matched / total) / 4
        mine, reference = (sum(len(sentence.split()) for sentence in side) for side in (written, true))
        return math.exp(logarithms + min(0.0, 1 - reference / mine))

    return compute
