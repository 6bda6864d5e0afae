"""What is downloaded from the hub, once, and the ways out that are named where it cannot be had."""

from __future__ import annotations

from pathlib import Path

import datasets.config
import huggingface_hub.constants
import pytest
from corpora import message_of
from hub import CONVERTED, HubStandIn, point_hub_at, unreachable_endpoint
from hub_corpora import (
    CASES,
    EVERY_CORPUS,
    PTB_ID,
    STRING,
    WIKITEXT_ID,
    make,
    publish,
    publish_ptb,
    publish_wikitext,
    read,
    table,
)

from datamodules import PTB, Everything, TextDataModule, WikiText2


def test_only_files_of_the_configuration_are_downloaded(hub: HubStandIn) -> None:
    publish_wikitext(hub)
    make(WikiText2).prepare_data()
    files = {request.split("/", 2)[-1] for request in hub.requests if request.endswith(".parquet")}
    assert len(files) == 3
    assert all("/wikitext-2-v1/" in file for file in files)


@pytest.mark.parametrize("kind", EVERY_CORPUS)
@pytest.mark.parametrize("offline", [False, True])
def test_downloaded_once_it_loads_without_the_hub(
    kind: type[TextDataModule], offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubStandIn(tmp_path / "hub") as stand_in:
        point_hub_at(monkeypatch, stand_in.endpoint, tmp_path / "cache")
        publish(stand_in, kind)
        before = read(make(kind))
        assert stand_in.requests
    point_hub_at(monkeypatch, unreachable_endpoint(), tmp_path / "cache")
    if offline:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    # Even where what was derived from the download is gone.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "other" / "datasets")
    assert read(make(kind)) == before


def assert_names_the_ways_out(message: str, repository: str, corpus: str) -> None:
    for part in (repository, f"DATA_DIR=FOLDER, where FOLDER/{corpus}/ holds", "EXP=daae_reviews"):
        assert part in message


@pytest.mark.parametrize("kind", EVERY_CORPUS)
def test_unreachable_hub_names_the_ways_out(
    kind: type[TextDataModule], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_hub_at(monkeypatch, unreachable_endpoint(), tmp_path / "cache")
    first = PTB if kind is Everything else kind  # the part that is missed first
    assert_names_the_ways_out(message_of(make(kind)), CASES[first].repository, first.corpus)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("how", ["unknown", "gated", "offline"])
def test_refused_repository_names_the_ways_out(
    kind: type[TextDataModule], how: str, hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "gated":
        publish(hub, kind)
        hub.gated.add(CASES[kind].repository)
    elif how == "offline":
        publish(hub, kind)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert_names_the_ways_out(message_of(make(kind)), CASES[kind].repository, kind.corpus)
    assert (hub.requests == []) == (how == "offline")


def test_missing_revision_names_the_ways_out(hub: HubStandIn) -> None:
    hub.add(PTB_ID, {"train": table({"sentence": ["a"]}, sentence=STRING)}, "penn_treebank")  # on main alone
    assert_names_the_ways_out(message_of(PTB()), PTB_ID, "ptb")


def test_missing_split_names_the_ways_out(hub: HubStandIn) -> None:
    publish_ptb(hub, splits=("train",))
    message = message_of(PTB())
    assert_names_the_ways_out(message, PTB_ID, "ptb")
    assert "validation" in message


def test_damaged_file_names_the_ways_out(hub: HubStandIn) -> None:
    publish_ptb(hub)
    hub.write(PTB_ID, "penn_treebank/train/0000.parquet", b"PAR1 but no more", CONVERTED)
    assert_names_the_ways_out(message_of(PTB()), PTB_ID, "ptb")


def test_missing_configuration_names_the_ways_out(hub: HubStandIn) -> None:
    hub.add(WIKITEXT_ID, dict.fromkeys(("train", "validation", "test"), table({"text": ["a"]}, text=STRING)), "other")
    message = message_of(WikiText2())
    assert_names_the_ways_out(message, WIKITEXT_ID, "wikitext2")
    assert "wikitext-2-v1" in message
