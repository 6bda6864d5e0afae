"""`textae transfer`, from a checkpoint that has lost its data and its configuration."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.checkpoint import load_model
from lightning_modules.decoding.search import greedy
from lightning_modules.decoding.text import text_batch, to_text

Command = Callable[..., Any]
FROM, TO = (
    ["the soup was cold .", "we hate this place !"],
    ["the soup was hot .", "we love this place !", "never again"],
)


@pytest.fixture
def checkpoint(trained: Any, tmp_path: Path) -> Path:
    """The run's checkpoint in another folder, and nothing else."""
    return Path(shutil.copy(trained.run / "checkpoints" / "best.ckpt", tmp_path / "model.ckpt"))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, sentences in (("from", FROM), ("to", TO)):
        (tmp_path / name).write_text("\n".join(sentences) + "\n")
    return ["--from", str(tmp_path / "from"), "--to", str(tmp_path / "to")]


@pytest.fixture
def transfer(textae: Command, checkpoint: Path, files: list[str], tmp_path: Path) -> Command:
    """The changed sentences that the command writes as JSON, once it is known that it prints them."""

    def run(*args: str) -> list[str]:
        file = tmp_path / "rows.json"
        printed = textae("transfer", "--checkpoint", checkpoint, *files, "--output", file, *args).out
        rows = json.loads(file.read_text())
        for row in rows:
            assert list(row) == ["sentence", "changed"]
            assert row["sentence"] in printed and row["changed"] in printed
        return [row["changed"] for row in rows]

    return run


@pytest.mark.parametrize(("options", "scale"), [((), 1), (("--scale=1.5",), 1.5), (("--scale", "2", "--reverse"), -2)])
def test_by_hand(transfer: Command, checkpoint: Path, options: Sequence[str], scale: float) -> None:
    model = load_model(checkpoint)

    def mean(sentences: Sequence[str]) -> torch.Tensor:
        with torch.no_grad():
            rows = [model.encode(text_batch(model.vocabulary, [sentence])).mean[0] for sentence in sentences]
        return torch.stack(rows).mean(0)

    z = mean(["service is slow today ."]) + scale * (mean(TO) - mean(FROM))
    assert transfer(*options, "service is slow today .") == to_text(model, greedy(model, z[None]))


def test_scale_zero_reconstructs(transfer: Command, sentences: tuple[str, ...]) -> None:
    assert transfer("--scale=0", *sentences) == list(sentences)


def test_sentences_from_standard_input(
    transfer: Command, sentences: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(sentences[:3]) + "\n"))
    assert transfer("--scale=0") == list(sentences[:3])


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("zebras xylophone",), ("sentence 1", "no word", "zebras xylophone")),
        (("never again", ""), ("sentence 2", "empty")),
        (("--to=no.txt", "never again"), ("no.txt", "cannot be read")),
        (("--to=blank", "never again"), ("blank", "line 2", "empty")),
        (("--to=void", "never again"), ("void", "empty")),
        (("--from=foreign", "never again"), ("foreign", "no sentence")),
        (("--scale=far", "never again"), ("--scale", "far")),
    ],
)
def test_what_is_wrong_is_named(
    textae: Command, checkpoint: Path, files: list[str], tmp_path: Path, args: Sequence[str], named: Sequence[str]
) -> None:
    (tmp_path / "blank").write_text("never again\n\nthe soup\n")
    (tmp_path / "void").write_text("")
    (tmp_path / "foreign").write_text("zebras xylophone\n")
    error = textae("transfer", "--checkpoint", checkpoint, *files, *args, fails=True).error
    assert all(name in error for name in named), error
    assert len(error.strip().splitlines()) <= 2


def test_both_files_are_asked_for(textae: Command, checkpoint: Path, files: list[str]) -> None:
    for given in (files[:2], files[2:], []):
        error = textae("transfer", "--checkpoint", checkpoint, *given, "never again", fails=True).error
        assert "--from FILE --to FILE" in error


def test_a_language_model_has_no_latent(
    textae: Command, files: list[str], quiet: tuple[str, ...], tmp_path: Path, write_corpus: Command
) -> None:
    data = write_corpus(tmp_path / "data", FROM)
    options = ["--trainer.max_epochs=1", "--trainer.logger=false", "--test_after_fit=false", *quiet]
    textae("fit", "--config=lm_reviews", "--data=TextFolder", f"--data.init_args.data_dir={data}", *options)
    error = textae("transfer", "--run=runs/lm_reviews", *files, "never again", fails=True).error
    assert "LanguageModel" in error and "latent" in error and len(error.strip().splitlines()) <= 2
