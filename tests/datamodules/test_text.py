"""Tests of corpora in folders, from text files to batches."""

from __future__ import annotations

import multiprocessing
import pickle
import random
import time
from collections.abc import Mapping
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets.config
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import datamodules.dataset
import datamodules.text
from datamodules import Everything, TextDataModule, TextFolder, Yelp
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig, BatchRows, BucketSampler
from datamodules.errors import UsageError
from datamodules.text import SubsetConfig
from datamodules.vocabulary import VocabularyConfig, build_vocabulary, vocabulary_words

SPLITS = ("train", "valid", "test")
# Words 1 to 9 in a sentence, none of them the same; every word is in the training split.
SENTENCES = {
    split: [" ".join(f"w{(start + 7 * k) % 60}" for k in range(1 + start % 9)) for start in range(first, last)]
    for split, (first, last) in {"train": (0, 60), "valid": (60, 85), "test": (85, 100)}.items()
}


class Mine(TextDataModule):
    """A corpus with its own folder below DATA_DIR."""

    corpus = "mine"
    label_names = ("even", "odd")


def write_folder(folder: Path, splits: Mapping[str, list[str] | bytes], labels: bool = False) -> str:
    """Writes text files; the label of a sentence is the parity of its number of words."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, lines in splits.items():
        content = lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode()
        (folder / f"{split}.txt").write_bytes(content)
        if labels and not isinstance(lines, bytes):
            (folder / f"{split}.labels").write_text("".join(f"{len(line.split()) % 2}\n" for line in lines))
    return str(folder)


def everywhere(content: list[str] | bytes) -> dict[str, list[str] | bytes]:
    """The same content in every split."""
    return {split: content for split in SPLITS}


def sentences_of(module: TextDataModule, split: str) -> list[str]:
    """The encoded split as text, by position."""
    words, encoded = vocabulary_words(module.vocabulary), module.split(split).encoded
    return [" ".join(words[token] for token in ids) for ids in encoded["ids"][:]]


def loaders(module: TextDataModule) -> dict[str, DataLoader[TokenBatch]]:
    return {
        "train": module.train_dataloader(),
        "valid": module.val_dataloader(),
        "test": module.test_dataloader(),
    }


def check_batches(module: TextDataModule, split: str, expected: list[str], batches: list[TokenBatch]) -> None:
    """Every sentence comes once, under its position in the split."""
    words = vocabulary_words(module.vocabulary)
    seen: list[int] = []
    for batch in batches:
        for row, index in enumerate(batch.index.tolist()):
            targets = batch.targets[row, : batch.lengths[row]].tolist()
            assert " ".join(words[token] for token in targets) == f"{expected[index]} <eos>"
            if batch.labels is not None:
                assert int(batch.labels[row]) == len(expected[index].split()) % 2
            seen.append(index)
    assert sorted(seen) == list(range(len(expected))), split


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return write_folder(tmp_path / "corpus", SENTENCES, labels=True)


def test_folder_becomes_batches_of_its_sentences(folder: str) -> None:
    module = TextFolder(data_dir=folder, batching=BatchingConfig(sentences=7, eval_sentences=4))
    module.prepare_data()
    module.setup("fit")
    module.setup("test")
    assert len(vocabulary_words(module.vocabulary)) == 5 + 60
    for split, loader in loaders(module).items():
        batches = list(loader)
        assert all(isinstance(batch, TokenBatch) and batch.labels is not None for batch in batches)
        assert len(batches) == len(loader)
        check_batches(module, split, SENTENCES[split], batches)
    assert [b.index.tolist() for b in module.predict_dataloader()] == [
        b.index.tolist() for b in module.test_dataloader()
    ]


def test_subclass_without_labels_files(tmp_path: Path) -> None:
    module = Mine(data_dir=write_folder(tmp_path, SENTENCES))
    for split, loader in loaders(module).items():
        batches = list(loader)
        assert all(batch.labels is None for batch in batches)
        check_batches(module, split, SENTENCES[split], batches)


def test_vocabulary_json_is_the_vocabulary_of_the_training_split(tmp_path: Path) -> None:
    module = TextFolder(data_dir=write_folder(tmp_path, {"train": ["b a", "b"], "valid": ["c b"], "test": ["d"]}))
    assert module.vocabulary_json == build_vocabulary(["b a", "b"], VocabularyConfig()).to_str()
    assert sentences_of(module, "valid") == ["<unk> b"]


def test_blank_lines_are_dropped_and_labels_stay_aligned(tmp_path: Path) -> None:
    lines = ["", "a", " ", "a b", "\t", "", "a b c", ""]
    module = Mine(data_dir=write_folder(tmp_path, everywhere(lines), labels=True))
    for split, loader in loaders(module).items():
        check_batches(module, split, ["a", "a b", "a b c"], list(loader))


@pytest.mark.parametrize("overflow", ["drop", "truncate"])
def test_max_words(folder: str, overflow: Any) -> None:
    module = TextFolder(data_dir=folder, subset=SubsetConfig(max_words=4, overflow=overflow))
    for split in SPLITS:
        if overflow == "drop":
            expected = [line for line in SENTENCES[split] if len(line.split()) <= 4]
        else:
            expected = [" ".join(line.split()[:4]) for line in SENTENCES[split]]
        assert sentences_of(module, split) == expected
        assert max(len(line.split()) for line in expected) == 4
        labels = module.split(split).encoded["label"]
        of_whole = [
            len(line.split()) % 2 for line in SENTENCES[split] if overflow == "truncate" or len(line.split()) < 5
        ]
        assert list(labels) == of_whole


def test_subset_is_drawn_by_seed(folder: str) -> None:
    def drawn(seed: int) -> dict[str, list[str]]:
        module = TextFolder(data_dir=folder, subset=SubsetConfig(train=20, valid=10, test=99), seed=seed)
        for split, loader in loaders(module).items():
            if split == "valid":  # its labels went along
                for batch in loader:
                    assert batch.labels is not None
                    assert batch.labels.tolist() == [(length - 1) % 2 for length in batch.lengths.tolist()]
        return {split: list(module.read_split(split)["text"]) for split in SPLITS}

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert one == again
    for split, size in (("train", 20), ("valid", 10)):
        for lines in (one[split], other[split]):
            assert len(lines) == len(set(lines)) == size
            assert set(lines) < set(SENTENCES[split])
        assert set(one[split]) != set(other[split])
    assert one["test"] == other["test"] == SENTENCES["test"]  # asked for more than there are


def test_vocabulary_is_of_the_subset(folder: str) -> None:
    module = TextFolder(data_dir=folder, subset=SubsetConfig(train=5))
    words = {word for text in module.read_split("train")["text"] for word in text.split()}
    assert set(vocabulary_words(module.vocabulary)[5:]) == words
    assert len(words) < 60


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_windows_files_and_a_last_line_without_its_end(tmp_path: Path, ending: str, mark: str, last: bool) -> None:
    lines = ["naïve 日本 word", "two words", "three"]
    content = (mark + ending.join(lines) + ending * last).encode()
    module = Mine(data_dir=write_folder(tmp_path, everywhere(content)))
    for split in SPLITS:
        (tmp_path / f"{split}.labels").write_bytes((mark + ending.join(["1", "0", "1"]) + ending * last).encode())
    for split, loader in loaders(module).items():
        check_batches(module, split, lines, list(loader))
        assert next(iter(loader)).labels is not None


def test_data_dir_of_the_environment_is_a_root_of_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "root" / "mine", everywhere(["from the root"]))
    write_folder(tmp_path / "root" / "yelp", everywhere(["yelp of the root"]))
    own = write_folder(tmp_path / "own", everywhere(["from the argument"]))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "root"))
    assert sentences_of(Mine(), "train") == ["from the root"]
    assert sentences_of(Yelp(), "valid") == ["yelp of the root"]  # rather than its hub source
    assert sentences_of(Mine(data_dir=own), "train") == ["from the argument"]
    monkeypatch.chdir(tmp_path)
    assert sentences_of(Mine(data_dir="own"), "train") == ["from the argument"]


@pytest.mark.parametrize("by_environment", [False, True])
def test_everything_takes_a_root_of_four_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    parts = {name: [f"{name} one", f"{name} two"] for name in ("ptb", "yahoo", "yelp15", "wikitext103")}
    for name, lines in parts.items():
        write_folder(tmp_path / name, everywhere(lines), labels=name == "yahoo")
    if by_environment:
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
    module = Everything() if by_environment else Everything(data_dir=str(tmp_path))
    for split in SPLITS:
        assert sorted(sentences_of(module, split)) == sorted(line for lines in parts.values() for line in lines)
    assert all(batch.labels is None for batch in module.train_dataloader())


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, int]:
    """Counts rows encoded and vocabularies built, with an empty cache."""
    done = {"rows": 0, "vocabularies": 0}
    encode_rows, build = datamodules.dataset._encode_rows, datamodules.dataset.build_vocabulary

    def counting_encode(rows: Any, **kwargs: Any) -> Any:
        done["rows"] += len(rows["text"])
        return encode_rows(rows, **kwargs)

    def counting_build(*args: Any) -> Any:
        done["vocabularies"] += 1
        return build(*args)

    monkeypatch.setattr(datamodules.dataset, "_encode_rows", counting_encode)
    monkeypatch.setattr(datamodules.dataset, "build_vocabulary", counting_build)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return done


def test_second_start_finds_everything_in_the_cache(folder: str, work: dict[str, int]) -> None:
    def start(**kwargs: Any) -> dict[str, list[str]]:
        work.update(rows=0, vocabularies=0)
        module = TextFolder(data_dir=folder, **kwargs)
        module.prepare_data()
        return {split: sentences_of(module, split) for split in SPLITS}

    assert start() == SENTENCES
    assert work == {"rows": 100, "vocabularies": 1}
    assert start() == SENTENCES
    assert work == {"rows": 0, "vocabularies": 0}
    # Whatever decides the result is part of what the cache is found by.
    shorter = start(subset=SubsetConfig(max_words=3))
    assert work == {"rows": 100, "vocabularies": 0}
    assert max(len(line.split()) for line in shorter["train"]) == 3
    assert "<unk>" in " ".join(start(vocabulary=VocabularyConfig(size=10))["train"]).split()
    assert work == {"rows": 100, "vocabularies": 1}
    subset = SubsetConfig(train=30)
    first = start(subset=subset)
    assert start(subset=subset) == first
    assert work == {"rows": 0, "vocabularies": 0}
    assert set(start(subset=subset, seed=1)["train"]) != set(first["train"])
    Path(folder, "train.txt").write_text("all new\n" * 60)
    Path(folder, "train.labels").write_text("0\n" * 60)
    assert start()["train"] == ["all new"] * 60
    assert work["vocabularies"] == 1


def test_vocabulary_file_is_used_instead_of_counting(folder: str, work: dict[str, int], tmp_path: Path) -> None:
    file = tmp_path / "vocabulary.json"
    file.write_text(build_vocabulary(["w1 w2 w3"], VocabularyConfig()).to_str())
    module = TextFolder(data_dir=folder, vocabulary=VocabularyConfig(file=str(file)))
    assert vocabulary_words(module.vocabulary)[5:] == ["w1", "w2", "w3"]
    known = {"w1", "w2", "w3"}
    expected = [" ".join(w if w in known else "<unk>" for w in line.split()) for line in SENTENCES["test"]]
    assert sentences_of(module, "test") == expected
    assert work["vocabularies"] == 0
    with pytest.raises(UsageError, match=r"missing\.json"):
        TextFolder(data_dir=folder, vocabulary=VocabularyConfig(file=str(tmp_path / "missing.json"))).prepare_data()


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


def test_loaders_of_several_ranks_share_each_split(folder: str) -> None:
    modules = []
    for rank in range(2):
        module = TextFolder(data_dir=folder, batching=BatchingConfig(sentences=5, eval_sentences=3), seed=4)
        module.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]  # a stand-in
        modules.append(module)
    for split, lines in SENTENCES.items():
        one, other = (list(loaders(module)[split]) for module in modules)
        check_batches(modules[0], split, lines, [batch for batch in [*one, *other] if batch.share > 0])
        assert one
        assert other


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


def prepare(module: TextDataModule) -> str:
    """The message of the one UsageError that preparing the corpus ends in."""
    with pytest.raises(UsageError) as caught:
        module.prepare_data()
    return str(caught.value)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in prepare(TextFolder(data_dir=str(tmp_path / "nowhere")))
    (tmp_path / "file").write_text("x\n")
    assert str(tmp_path / "file") in prepare(TextFolder(data_dir=str(tmp_path / "file")))


@pytest.mark.parametrize("split", SPLITS)
def test_missing_split_is_named(tmp_path: Path, split: str) -> None:
    folder = write_folder(tmp_path, {name: ["a b"] for name in SPLITS if name != split})
    message = prepare(TextFolder(data_dir=folder))
    assert folder in message
    assert f"has no {split}.txt" in message


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n", b"\n \n\t\r\n\n", b"\xef\xbb\xbf\n"])
def test_file_without_a_sentence_is_named(tmp_path: Path, split: str, content: bytes) -> None:
    folder = write_folder(tmp_path, {**everywhere(["a b"]), split: content})
    assert str(tmp_path / f"{split}.txt") in prepare(TextFolder(data_dir=folder))


def test_file_of_too_long_sentences_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"train": ["a"], "valid": ["a b c", "a b c d"], "test": ["a"]})
    assert str(tmp_path / "valid.txt") in prepare(TextFolder(data_dir=folder, subset=SubsetConfig(max_words=2)))


@pytest.mark.parametrize("split", SPLITS)
def test_file_that_is_not_utf8_is_named_with_line_and_byte(tmp_path: Path, split: str) -> None:
    content = "fine\nauch schön\n".encode() + "caf\xe9 au lait\n".encode("latin-1")
    message = prepare(TextFolder(data_dir=write_folder(tmp_path, {**everywhere(["a b"]), split: content})))
    assert str(tmp_path / f"{split}.txt") in message
    assert "line 3, byte 4" in message


@pytest.mark.parametrize("content", [b"0\n1\n", b"0\n1\n0\n1\n", b""])
def test_labels_of_another_length_are_named(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path, everywhere(["a", "b", "c"]))
    (tmp_path / "valid.labels").write_bytes(content)
    message = prepare(TextFolder(data_dir=folder))
    assert str(tmp_path / "valid.labels") in message
    if content:
        assert f"{content.count(10)} lines" in message
        assert "valid.txt has 3" in message


@pytest.mark.parametrize("label", ["good", "1.5", ""])
def test_labels_that_are_no_integers_are_named(tmp_path: Path, label: str) -> None:
    folder = write_folder(tmp_path, everywhere(["a", "b"]))
    (tmp_path / "test.labels").write_text(f"0\n{label}\n")
    message = prepare(TextFolder(data_dir=folder))
    assert str(tmp_path / "test.labels") in message
    assert "integer" in message


def test_neither_hub_nor_folder_is_said() -> None:
    message = prepare(TextFolder())
    assert "TextFolder" in message
    assert "data_dir" in message


@pytest.mark.parametrize("name", [*SPLITS, "max_words"])
def test_subset_out_of_range_is_a_usage_error(name: str) -> None:
    setting: dict[str, Any] = {name: 0}
    with pytest.raises(UsageError, match=f"subset.{name} is 0"):
        SubsetConfig(**setting)


def ask_for_vocabulary(folder: Path, name: str, start: Barrier) -> None:
    module = TextFolder(data_dir=str(folder))
    module.read_split("train")
    start.wait(timeout=30)
    (folder / f"{name}.json").write_text(module.vocabulary_json)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12: this test forks
def test_two_processes_at_once_build_one_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [" ".join(random.Random(seed).choices("abcdefghij", k=8)) for seed in range(50)]
    write_folder(tmp_path, everywhere(lines))

    def slow_build(*args: Any) -> Any:
        with (tmp_path / "built").open("a") as log:
            log.write("once\n")
        time.sleep(0.5)  # time enough for the other to arrive
        return build_vocabulary(*args)

    monkeypatch.setattr(datamodules.dataset, "build_vocabulary", slow_build)
    processes = multiprocessing.get_context("fork")
    barrier = processes.Barrier(2)
    asking = [processes.Process(target=ask_for_vocabulary, args=(tmp_path, name, barrier)) for name in ("one", "two")]
    for process in asking:
        process.start()
    for process in asking:
        process.join(timeout=60)
        process.kill()
        process.join()
    assert [process.exitcode for process in asking] == [0, 0]
    expected = build_vocabulary(lines, VocabularyConfig()).to_str()
    assert [(tmp_path / f"{name}.json").read_text() for name in ("one", "two")] == [expected, expected]
    assert (tmp_path / "built").read_text() == "once\n"
