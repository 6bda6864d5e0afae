"""A folder that is no corpus: the message names the file, and the line where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora import SPLITS, everywhere, message_of, write_folder

from datamodules import TextFolder
from datamodules.errors import UsageError
from datamodules.text import SubsetConfig


def test_missing_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in message_of(TextFolder(data_dir=str(tmp_path / "nowhere")))
    (tmp_path / "file").write_text("x\n")
    assert str(tmp_path / "file") in message_of(TextFolder(data_dir=str(tmp_path / "file")))


@pytest.mark.parametrize("split", SPLITS)
def test_missing_split_is_named(tmp_path: Path, split: str) -> None:
    folder = write_folder(tmp_path, {name: ["a b"] for name in SPLITS if name != split})
    message = message_of(TextFolder(data_dir=folder))
    assert folder in message
    assert f"has no {split}.txt" in message


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n", b"\n \n\t\r\n\n", b"\xef\xbb\xbf\n"])
def test_file_without_a_sentence_is_named(tmp_path: Path, split: str, content: bytes) -> None:
    folder = write_folder(tmp_path, {**everywhere(["a b"]), split: content})
    assert str(tmp_path / f"{split}.txt") in message_of(TextFolder(data_dir=folder))


def test_file_of_too_long_sentences_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"train": ["a"], "valid": ["a b c", "a b c d"], "test": ["a"]})
    assert str(tmp_path / "valid.txt") in message_of(TextFolder(data_dir=folder, subset=SubsetConfig(max_words=2)))


@pytest.mark.parametrize("split", SPLITS)
def test_file_that_is_not_utf8_is_named_with_line_and_byte(tmp_path: Path, split: str) -> None:
    content = "fine\nauch schön\n".encode() + "caf\xe9 au lait\n".encode("latin-1")
    message = message_of(TextFolder(data_dir=write_folder(tmp_path, {**everywhere(["a b"]), split: content})))
    assert str(tmp_path / f"{split}.txt") in message
    assert "line 3, byte 4" in message


@pytest.mark.parametrize("before", [0, 5_000, 2**20 - 1, 2**20, 3 * 2**20])
def test_binary_file_is_named_wherever_its_first_nul_byte_is(tmp_path: Path, before: int) -> None:
    """Also beyond the pieces in which a file is looked through."""
    lines = b"fine words\n" * (before // 11) + b"x" * (before % 11)
    message = message_of(TextFolder(data_dir=write_folder(tmp_path, {**everywhere(["a"]), "valid": lines + b"\0y\n"})))
    assert str(tmp_path / "valid.txt") in message
    assert "NUL" in message


@pytest.mark.parametrize("number", [-1, 10**6])
def test_number_of_workers_that_no_machine_has_is_named(number: int) -> None:
    with pytest.raises(UsageError, match=f"num_workers is {number}"):
        TextFolder(data_dir=".", num_workers=number)


@pytest.mark.parametrize("content", [b"0\n1\n", b"0\n1\n0\n1\n", b""])
def test_labels_of_another_length_are_named(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path, everywhere(["a", "b", "c"]))
    (tmp_path / "valid.labels").write_bytes(content)
    message = message_of(TextFolder(data_dir=folder))
    assert str(tmp_path / "valid.labels") in message
    if content:
        assert f"{content.count(10)} lines" in message
        assert "valid.txt has 3" in message


@pytest.mark.parametrize("label", ["good", "1.5", ""])
def test_labels_that_are_no_integers_are_named(tmp_path: Path, label: str) -> None:
    folder = write_folder(tmp_path, everywhere(["a", "b"]))
    (tmp_path / "test.labels").write_text(f"0\n{label}\n")
    message = message_of(TextFolder(data_dir=folder))
    assert str(tmp_path / "test.labels") in message
    assert "integer" in message


def test_neither_hub_nor_folder_is_said() -> None:
    message = message_of(TextFolder())
    assert "TextFolder" in message
    assert "data_dir" in message
