"""Folders of text files, and where they are looked for, become the sentences and labels of batches."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora import (
    SENTENCES,
    SPLITS,
    Mine,
    check_batches,
    everywhere,
    loaders,
    sentences_of,
    vocabulary_words,
    write_folder,
)

from datamodules import Everything, TextFolder, Yelp
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig
from datamodules.vocabulary import VocabularyConfig, build_vocabulary


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
