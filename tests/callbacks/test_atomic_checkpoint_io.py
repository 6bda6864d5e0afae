"""Checkpoints that are whole or not there, and hold no code."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks import AtomicCheckpointIO
from datamodules.errors import UsageError


def test_what_is_written_is_read_and_replaces_what_was_there(tmp_path: Path) -> None:
    writer, file = AtomicCheckpointIO(), tmp_path / "new" / "last.ckpt"
    for number in (1, 2):
        writer.save_checkpoint({"weights": torch.full((3,), float(number))}, file)
        assert writer.load_checkpoint(file)["weights"].tolist() == [number] * 3
    assert [each.name for each in file.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos")])
def test_a_write_that_fails_loses_nothing(
    error: Exception, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, file = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    if there:
        writer.save_checkpoint({"step": 1}, file)

    def half(checkpoint: Any, opened: Any) -> None:
        opened.write(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(UsageError, match="RESUME=1") as caught:
            writer.save_checkpoint({"step": 2}, file)
    assert str(tmp_path) in str(caught.value) and ("is whole" in str(caught.value)) == there
    assert [each.name for each in tmp_path.iterdir()] == (["last.ckpt"] if there else [])
    if there:
        assert writer.load_checkpoint(file) == {"step": 1}


def test_what_is_whole_beside_it_is_named_and_a_full_disk_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, tmp_path / "last.ckpt")

    def failing(checkpoint: Any, opened: Any) -> None:
        raise RuntimeError("unexpected pos 404096 vs 403984")

    monkeypatch.setattr(torch, "save", failing)
    for free, reason in ((1000, "No space left on device"), (10**9, "unexpected pos")):
        monkeypatch.setattr("shutil.disk_usage", lambda folder, free=free: SimpleNamespace(free=free))
        with pytest.raises(UsageError, match=rf"{reason}.*; last.ckpt of before is whole"):
            writer.save_checkpoint({"step": 2}, tmp_path / "best.ckpt")


def test_an_interruption_while_it_writes_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(checkpoint: Any, opened: Any) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("unexpected pos")  # as PyTorch's writer does when it is closed

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


class Bomb:
    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (self.file,)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"step": Bomb(str(tmp_path / "gone off"))}, tmp_path / "bomb.ckpt")
    for asked in (True, False, None):
        with pytest.raises(pickle.UnpicklingError):
            AtomicCheckpointIO().load_checkpoint(tmp_path / "bomb.ckpt", weights_only=asked)
    assert not (tmp_path / "gone off").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    try:
        made = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("this user cannot mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up(small_disk: Path) -> None:
    writer, file = AtomicCheckpointIO(), small_disk / "last.ckpt"
    writer.save_checkpoint({"weights": torch.zeros(20_000)}, file)
    with pytest.raises(UsageError, match="is whole"):
        writer.save_checkpoint({"weights": torch.ones(200_000)}, file)
    assert [each.name for each in small_disk.iterdir()] == ["last.ckpt"]
    assert writer.load_checkpoint(file)["weights"].tolist() == [0.0] * 20_000
