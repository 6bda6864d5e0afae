"""The loaders of a corpus: rows of several parts, worker processes, ranks, and the epochs of a Trainer."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from corpora import SENTENCES, Mine, check_batches, loaders, vocabulary_words, write_folder
from torch import Tensor

from datamodules import TextFolder
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig, BatchRows, BucketSampler, ResumableLoader
from datamodules.dataset import SentenceDataset
from datamodules.errors import UsageError


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12: the loader forks
def test_rows_of_a_corpus_of_several_parts(tmp_path: Path) -> None:
    """The library keeps a thousand rows together; a batch has rows of several such parts, in any order."""
    lines = [" ".join(f"w{(row + k) % 97}" for k in range(1 + row % 11)) for row in range(2500)]
    module = Mine(write_folder(tmp_path, {"train": lines, "valid": lines[:3], "test": lines[:3]}, labels=True))
    split, words = module.split("train"), vocabulary_words(module.vocabulary)
    assert len(split.encoded.data.column("ids").chunks) > 2
    rows = np.random.default_rng(0).permutation(2500)[:300]
    for data in (split, pickle.loads(pickle.dumps(split))):
        batch = data[BatchRows(rows, 0.5)]
        found = [
            " ".join(words[token] for token in target[: length - 1])
            for target, length in zip(batch.targets.tolist(), batch.lengths.tolist(), strict=True)
        ]
        assert found == [lines[row] for row in rows]
        assert batch.labels is not None and batch.labels.tolist() == [len(lines[row].split()) % 2 for row in rows]
        assert batch.share == 0.5 and batch.index.tolist() == rows.tolist()
    assert len(pickle.dumps(split)) < 50_000  # the names of the files, and not what they hold


def test_worker_processes_read_the_same_batches(folder: str) -> None:
    batching = BatchingConfig(sentences=4, eval_sentences=4)
    here, there = (
        loaders(TextFolder(data_dir=folder, batching=batching, seed=3, num_workers=number)) for number in (0, 2)
    )
    for split in ("train", "valid"):
        assert there[split].num_workers == 2
        batches = list(zip(here[split], there[split], strict=True))
        assert len(batches) > 3
        for one, other in batches:
            for name, value in vars(one).items():
                same = torch.equal(value, getattr(other, name)) if isinstance(value, Tensor) else value == other.share
                assert same, name


@pytest.mark.parametrize("taken", [0, 5, 16, 17, 59])
def test_a_loader_goes_on_behind_the_batches_that_were_taken(taken: int, folder: str) -> None:
    """Batches are read some at a time; those of them that nobody has taken yet are not lost."""
    module = TextFolder(data_dir=folder, batching=BatchingConfig(sentences=1), seed=3)
    before, after = module.train_dataloader(), module.train_dataloader()
    assert isinstance(before, ResumableLoader) and isinstance(after, ResumableLoader)
    whole = [batch.index.tolist() for batch in module.train_dataloader()]
    batches = iter(before)
    assert [next(batches).index.tolist() for _ in range(taken)] == whole[:taken]
    after.load_state_dict(before.state_dict())
    assert [batch.index.tolist() for batch in after] == whole[taken:]


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set")  # where there is no GPU nothing is pinned
@pytest.mark.parametrize(("pinned", "read"), [(False, 16), (True, 1)])
def test_a_training_on_a_cpu_reads_some_batches_at_a_time(
    pinned: bool, read: int, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = TextFolder(data_dir=folder, batching=BatchingConfig(sentences=1)).train_dataloader()
    loader.pin_memory = pinned  # as for a GPU
    numbers, whole = list[int](), SentenceDataset.__getitem__
    monkeypatch.setattr(
        SentenceDataset, "__getitem__", lambda data, batch: numbers.append(len(batch.rows)) or whole(data, batch)
    )
    batches = iter(loader)
    next(batches)
    assert numbers == [1] * read
    assert len(list(batches)) == 59 and len(numbers) == 60


def test_loaders_of_several_ranks_share_each_split(folder: str) -> None:
    modules = []
    for rank in range(2):
        module = TextFolder(data_dir=folder, batching=BatchingConfig(sentences=5, eval_sentences=3), seed=4)
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        stand_in = SimpleNamespace(global_rank=rank, world_size=2, strategy=strategy)
        module.trainer = stand_in  # type: ignore[assignment]  # what a loader asks of it
        modules.append(module)
    for split, lines in SENTENCES.items():
        one, other = (list(loaders(module)[split]) for module in modules)
        check_batches(modules[0], split, lines, [batch for batch in [*one, *other] if batch.share > 0])
        assert one
        assert other


def test_a_rank_that_would_have_no_batch_is_refused(folder: str) -> None:
    module = TextFolder(data_dir=folder, batching=BatchingConfig(eval_sentences=2))
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    for ranks in (2, 3):
        stand_in = SimpleNamespace(global_rank=0, world_size=ranks, strategy=strategy)
        module.trainer = stand_in  # type: ignore[assignment]  # what a loader asks of it
        with pytest.raises(UsageError, match="eval_sentences is 2 for 3 processes") if ranks == 3 else nullcontext():
            module.val_dataloader()


class Recorder(pl.LightningModule):
    """Notes what a Trainer hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.train_indices: list[tuple[int, list[int]]] = []
        self.eval_indices: list[int] = []

    def training_step(self, batch: TokenBatch) -> None:
        assert isinstance(batch, TokenBatch)
        self.train_indices.append((self.current_epoch, batch.index.tolist()))

    def validation_step(self, batch: TokenBatch) -> None:
        self.eval_indices += batch.index.tolist()

    def test_step(self, batch: TokenBatch) -> None:
        self.eval_indices += batch.index.tolist()

    def configure_optimizers(self) -> None:
        return None


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*configure_optimizers")
def test_trainer_takes_the_epochs_of_the_sampler(folder: str, tmp_path: Path) -> None:
    module = TextFolder(data_dir=folder, batching=BatchingConfig(sentences=8, eval_sentences=8), seed=6)
    recorder = Recorder()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(recorder, datamodule=module)
    lengths = np.array([len(line.split()) for line in SENTENCES["train"]], dtype=np.int32)
    sampler = BucketSampler(lengths, module.batching, training=True, seed=6)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        assert [rows for at, rows in recorder.train_indices if at == epoch] == [b.rows.tolist() for b in sampler]
    assert sorted(recorder.eval_indices) == sorted(2 * list(range(25)))
    recorder.eval_indices.clear()
    trainer.test(recorder, datamodule=module, verbose=False)
    assert sorted(recorder.eval_indices) == list(range(15))


def test_a_gpu_is_given_batches_without_being_waited_for(folder: str) -> None:
    module = TextFolder(data_dir=folder)
    given: list[tuple[object, bool]] = []
    batch = next(iter(module.val_dataloader()))

    class Batch(TokenBatch):
        def to(self, device: torch.device | str, non_blocking: bool = False) -> TokenBatch:
            given.append((device, non_blocking))
            return super().to(device, non_blocking)

    moved = module.transfer_batch_to_device(Batch(**vars(batch)), torch.device("meta"), 0)
    assert given == [(torch.device("meta"), True)]
    assert {value.device.type for value in vars(moved).values() if isinstance(value, Tensor)} == {"meta"}
    for device, pinned in (("cuda", True), ("cpu", False)):
        trainer = SimpleNamespace(
            world_size=1, global_rank=0, strategy=SimpleNamespace(root_device=torch.device(device))
        )
        module.trainer = trainer  # type: ignore[assignment]  # what a loader asks of it
        assert all(loader.pin_memory is pinned for loader in loaders(module).values())
