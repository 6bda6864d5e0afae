"""Files that are there whole, or as they were before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from callbacks.whole_files import write_whole


def test_a_text_takes_the_place_of_another(tmp_path: Path) -> None:
    file = tmp_path / "new" / "config.yaml"
    for text in ("long " * 1000, "caf\u00e9"):
        write_whole(file, text)
        assert file.read_text(encoding="utf-8") == text
    assert [each.name for each in file.parent.iterdir()] == ["config.yaml"]


def test_a_full_disk_leaves_the_one_before_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    write_whole(file, "before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(file, "after")
    assert caught.value.filename == str(file) and caught.value.errno == errno.ENOSPC
    assert file.read_text() == "before" and len(list(tmp_path.iterdir())) == 1
