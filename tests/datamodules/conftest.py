"""A corpus in a folder, and a hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from corpora import SENTENCES, write_folder
from hub import HubStandIn, point_hub_at


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Of the shared sentences, with labels."""
    return write_folder(tmp_path / "corpus", SENTENCES, labels=True)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A running hub without repositories, and empty caches."""
    with HubStandIn(tmp_path / "hub") as stand_in:
        point_hub_at(monkeypatch, stand_in.endpoint, tmp_path / "cache")
        yield stand_in
