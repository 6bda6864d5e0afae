"""Small models, batches and trainers that the tests share."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest
import pytorch_lightning as pl
import standin
import standin_training
import torch
from filelock import FileLock
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils.data import DataLoader, Dataset

import lightning_modules
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig, BatchRows, BucketSampler
from datamodules.vocabulary import PAD, SPECIAL_TOKENS, closed_vocabulary
from lightning_modules.arae import LearnedPriorConfig
from lightning_modules.backbone.corruption import CorruptionConfig
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.posterior import PosteriorConfig
from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.search import reconstruct, sample
from lightning_modules.lagging_svae import AggressiveConfig
from lightning_modules.optimization import OptimizerConfig
from lightning_modules.randomness import SentenceRandom
from lightning_modules.text_model import TextModel

WORDS = tuple(f"w{number}" for number in range(20))
VOCABULARY = str(closed_vocabulary(WORDS).to_str())
FIRST_WORD = len(SPECIAL_TOKENS)
# An optimiser whose steps are the gradients; what Adam makes of rounding errors has no bound.
PLAIN = {"optimizer": OptimizerConfig("sgd", lr=0.01)}
# Networks that have rates and limits of their own, large enough to see them move in a few steps.
BRISK = {"learned_prior": LearnedPriorConfig(critic_clip=0.2, lr=0.1, weight=0.1, gradient="normalised")}
# The precisions in which families train on the stand-in for a GPU.
ON_STAND_IN = ("32-true", "16-mixed")
# Few of the encoder's own steps, which end after two, four or six.
QUICK = {"aggressive": AggressiveConfig(max_steps=6, window=2)}
# What a family without a latent is not configured with.
WITH_A_LATENT = ("encoder", "posterior", "corruption")

# A fit without validation, of which Lightning warns because the model could be validated.
WITHOUT_VALIDATION = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

needs_stand_in = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch knows no devices in Python",
)

Family = TypeVar("Family", bound=TextModel)
Sentences = Sequence[Sequence[int]]


def small(family: type[Family], **options: Any) -> Family:
    """A small model of a family, in training mode."""
    sizes: dict[str, Any] = {
        "embedding": EmbeddingConfig(12),
        "encoder": EncoderConfig(hidden_size=14),
        "posterior": PosteriorConfig(latent_size=6),
        "decoder": DecoderConfig(hidden_size=13, max_words=12),
    }
    torch.manual_seed(0)
    known = inspect.signature(family).parameters
    quick = {name: value for name, value in QUICK.items() if name in known}
    chosen = {"vocabulary": VOCABULARY} | sizes | quick | options
    if not issubclass(family, TextAutoencoder):
        chosen = {name: value for name, value in chosen.items() if name not in WITH_A_LATENT}
    return family(**chosen)


def plain(family: type[Family], **options: Any) -> Family:
    """A small model whose steps are its gradients, each of its parts at a rate at which it moves."""
    known = inspect.signature(family).parameters
    return small(family, **{**PLAIN, **{name: value for name, value in BRISK.items() if name in known}, **options})


def noisy(family: type[Family], precision: str) -> Family:
    """A small model with corruption and word dropout; plain in full precision, or by Adam, at a falling rate."""
    noise = CorruptionConfig(shuffle=2, drop=0.2, blank=0.1, substitute=0.1)
    options: dict[str, Any] = {"corruption": noise, "decoder": DecoderConfig(13, max_words=12, word_dropout=0.3)}
    model = plain(family, **options)
    if precision == "32-true":
        return model
    schedule = "linear" if model.automatic_optimization else "constant"
    return small(family, **options, optimizer=OptimizerConfig(lr=1e-3, schedule=schedule))


def learner(family: type[Family], **options: Any) -> Family:
    """A model of a family that is large enough to know a few sentences by heart, with an optimiser for that."""
    sizes: dict[str, Any] = {
        "encoder": EncoderConfig(hidden_size=24),
        "posterior": PosteriorConfig(latent_size=12),
        "decoder": DecoderConfig(hidden_size=24, max_words=12),
        "optimizer": OptimizerConfig(lr=1e-2),
    }
    return small(family, **sizes | options)


def families() -> list[type[TextModel]]:
    """Every family of the package, found by importing all of it."""
    for module in pkgutil.walk_packages(lightning_modules.__path__, "lightning_modules."):
        importlib.import_module(module.name)
    found: set[type[TextModel]] = set()
    waiting: list[type[TextModel]] = [TextModel]
    while waiting:
        children = waiting.pop().__subclasses__()
        waiting += children
        found.update(child for child in children if child.__module__.startswith("lightning_modules."))
    return sorted((family for family in found if not inspect.isabstract(family)), key=lambda family: family.__name__)


def left_once(factory: pytest.TempPathFactory, name: str, leave: Callable[[Path], None]) -> Path:
    """A folder in which something is left once, whichever of the processes that share the tests comes first."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    note = root / f"{name}.folder"
    with FileLock(root / f"{name}.lock"):
        if not note.exists():
            folder = factory.mktemp(name)
            leave(folder)
            note.write_text(str(folder))
        return Path(note.read_text())


def sentences(count: int, most: int = 7, least: int = 1, words: int = len(WORDS), seed: int = 0) -> list[list[int]]:
    """Distinct sentences of word ids."""
    rng = np.random.default_rng(seed)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        length = int(rng.integers(least, most + 1))
        drawn[tuple(int(word) + FIRST_WORD for word in rng.integers(words, size=length))] = None
    return [list(sentence) for sentence in drawn]


def widened(batch: TokenBatch, columns: int) -> TokenBatch:
    """The same batch with more padding behind every sentence."""
    padding = torch.full((len(batch), columns), PAD)
    wide = replace(
        batch, inputs=torch.cat((batch.inputs, padding), dim=1), targets=torch.cat((batch.targets, padding), dim=1)
    )
    return replace(wide, positions=wide.mask.flatten().nonzero().squeeze(1))


def one_by_one(sentences: Sentences) -> list[TokenBatch]:
    """Each sentence as a batch of its own, numbered as in a batch of all."""
    return [TokenBatch.from_ids([sentence], index=[row]) for row, sentence in enumerate(sentences)]


def enlarge(module: nn.Module, factor: float = 4.0) -> None:
    """Makes a fresh network's output vary much with its input."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor)


def before_end(ids: Tensor, end: int) -> list[int]:
    """A row up to its first `end`, without it."""
    row: list[int] = ids.tolist()
    return row[: row.index(end)] if end in row else row


def written(model: TextModel, batch: TokenBatch) -> Tensor:
    """What it makes of a batch, or, without a latent, what it writes by itself."""
    if isinstance(model, TextAutoencoder):
        return reconstruct(model, batch)
    index_5 = torch.arange(5, device=model.device)
    return sample(model, torch.zeros(5, 0, device=model.device), SentenceRandom(index_5, 0, -1))


class Corpus(Dataset[TokenBatch]):
    """Sentences in memory; an "index" is one rank's part of a batch, as in a data module."""

    def __init__(self, sentences: Sentences) -> None:
        self.sentences = sentences

    def __getitem__(self, batch: BatchRows) -> TokenBatch:
        return TokenBatch.from_ids([self.sentences[row] for row in batch.rows], index=batch.rows, share=batch.share)


def loader(
    sentences: Sentences, batching: BatchingConfig, training: bool, rank: int = 0, world_size: int = 1
) -> DataLoader[TokenBatch]:
    """What a data module hands to the trainer."""
    lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int32)
    sampler = BucketSampler(lengths, batching, training=training, rank=rank, world_size=world_size)
    return DataLoader(Corpus(sentences), sampler=sampler, batch_size=None)


def trainer(**options: Any) -> pl.Trainer:
    """A silent trainer on the CPU that leaves no files."""
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "accelerator": "cpu",
        "devices": 1,
    }
    return pl.Trainer(**quiet | options)


def command_line(device: str, **options: Any) -> Any:
    """What Lightning's command line is to its own methods before a fit or a test on a device."""
    strategy = SimpleNamespace(root_device=torch.device(device))
    config = {"fit": SimpleNamespace(**{"tf32": True} | options)}
    return SimpleNamespace(trainer=SimpleNamespace(strategy=strategy), config=config)


def fit(model: TextModel, sentences: Sentences, epochs: int, batch: int = 32) -> pl.Trainer:
    """Trains on the sentences."""
    fitting = trainer(max_epochs=epochs)
    fitting.fit(model, loader(sentences, BatchingConfig(sentences=batch), training=True))
    return fitting


def train_on_a_rank(
    rank: int, world_size: int, folder: str, sentences: Sentences, batching: BatchingConfig, epochs: int
) -> None:
    """Trains every family on one rank under Lightning's `ddp`; leaves its parameters, or its error, in the folder."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    # A file rather than a port, which another test might hold.
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/ranks", rank=rank, world_size=world_size, timeout=timedelta(seconds=60)
    )
    for family in families():
        try:
            model = plain(family)
            strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group_backend="gloo")
            fitting = trainer(max_epochs=epochs, strategy=strategy, devices=world_size)
            fitting.fit(model, loader(sentences, batching, training=True, rank=rank, world_size=world_size))
            torch.save(model.state_dict(), f"{folder}/{family.__name__}.{rank}.pt")
        except Exception:
            Path(f"{folder}/{family.__name__}.{rank}.error").write_text(traceback.format_exc())
    torch.distributed.destroy_process_group()


def as_data_modules_do(batch: TokenBatch, device: torch.device, loader: int) -> TokenBatch:
    """Moves a batch without waiting for the device."""
    return batch.to(device, non_blocking=True)


def train_on_a_stand_in(
    process: int, folder: str, sentences: Sentences, batching: BatchingConfig, batch: TokenBatch
) -> None:
    """Trains every family for an epoch on the stand-in for a GPU, in each precision.

    Leaves in the folder its parameters, what it then makes of the batch and where its steps waited for the
    device, or its error.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    standin.register()
    for family, precision in product(families(), ON_STAND_IN):
        name = f"{folder}/{family.__name__}.{precision}"
        try:
            model, steps = noisy(family, precision), standin_training.WaitsInSteps()
            vars(model)["transfer_batch_to_device"] = as_data_modules_do
            # What is logged is copied to the device and back.
            options = {"log_every_n_steps": 1000, "callbacks": [steps], **standin_training.on_stand_in(precision)}
            fitting = trainer(max_epochs=1, **options)
            fitting.fit(model, loader(sentences, batching, training=True))
            left = {"state": model.state_dict(), "waits": sorted(steps.places)}
            left["afterwards"] = dict(model.eval().objective(batch).terms)  # on the CPU, where Lightning leaves it
            model.to(f"{standin.NAME}:0")
            moved = batch.to(model.device)
            left["terms"] = dict(model.objective(moved).terms)
            left["written"] = written(model, moved)
            torch.save(left, f"{name}.pt")
        except Exception:
            Path(f"{name}.error").write_text(traceback.format_exc())
