"""The work that is done once: encoded rows and vocabularies come from the cache or from a file."""

from __future__ import annotations

import multiprocessing
import random
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import datasets.config
import pytest
from corpora import SENTENCES, SPLITS, everywhere, sentences_of, vocabulary_words, write_folder

import datamodules.dataset
import datamodules.text
from datamodules import TextFolder
from datamodules.errors import UsageError
from datamodules.text import SubsetConfig
from datamodules.vocabulary import VocabularyConfig, build_vocabulary


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


def test_one_process_at_a_time_reads_a_corpus_for_its_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks start together; what one of them reads and tokenises, the others find in the cache."""
    write_folder(tmp_path, everywhere(["a b", "b c"]))
    seen: list[str] = []
    read = datamodules.text.read_folder

    def slow_read(*args: Any) -> Any:
        seen.append("begins")
        time.sleep(0.3)
        found = read(*args)
        seen.append("ends")
        return found

    monkeypatch.setattr(datamodules.text, "read_folder", slow_read)
    modules = [TextFolder(data_dir=str(tmp_path)) for _ in range(2)]
    with ThreadPoolExecutor(2) as ranks:
        first, second = ranks.map(lambda module: module.vocabulary_json, modules)
    assert first == second and seen == ["begins", "ends"] * 2
