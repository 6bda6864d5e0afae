"""Command lines in this process, away from the caller's environment, and one trained run that several tests use."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from comparing import write_tested_run

from experiments.cli import main

# Eight sentences, which a small model learns by heart; two labels.
SENTENCES = (
    "the soup was cold .",
    "the soup was hot .",
    "we love this place !",
    "we hate this place !",
    "service is slow today .",
    "service is great .",
    "never again",
    "great food and great staff",
)
MODEL = """
model:
  class_path: lightning_modules.Autoencoder
  init_args:
    embedding: {size: 16}
    encoder: {cell: gru, hidden_size: 48, direction: bidirectional}
    posterior: {latent_size: 8}
    decoder: {cell: gru, hidden_size: 48, max_words: 12}
    optimizer: {lr: 1.0e-2}
data:
  class_path: datamodules.TextFolder
  init_args:
    batching: {sentences: 8}
"""
QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
SMALL = (
    "--trainer.max_epochs=1",
    "--trainer.logger=false",
    "--model.init_args.encoder.hidden_size=8",
    "--model.init_args.decoder.hidden_size=8",
    "--model.init_args.embedding.size=4",
)


@dataclass(frozen=True)
class Outcome:
    """What a command left on the terminal."""

    code: int
    out: str
    error: str


@dataclass(frozen=True)
class Trained:
    """A run of the memorised sentences, and where its data and configuration are."""

    run: Path
    data: Path
    config: Path


def _write_corpus(folder: Path, sentences: Sequence[str], labels: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
        if labels:
            (folder / f"{split}.labels").write_text("\n".join(str(i % 2) for i in range(len(sentences))) + "\n")
    return folder


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs start in an empty folder; tables on the terminal are not wrapped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture(scope="session")
def sentences() -> tuple[str, ...]:
    return SENTENCES


@pytest.fixture
def write_corpus() -> Callable[..., Path]:
    """Writes a folder whose three splits hold the same sentences."""
    return _write_corpus


@pytest.fixture
def textae(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a command that must end well; `fails=True` one that must end with a message and no traceback."""

    def run(*args: str | Path, fails: bool = False) -> Outcome:
        os.environ.pop("TEXTAE_VERSION", None)  # what a process of its own would not have
        capsys.readouterr()
        code: object = 0
        try:
            main([str(arg) for arg in args])
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        error = printed.err
        if isinstance(code, str):  # Python prints it and exits with 1
            code, error = 1, f"{error}{code}\n"
        outcome = Outcome(int(str(code or 0)), printed.out, error)
        assert (outcome.code != 0) == fails, outcome
        assert "Traceback" not in outcome.out + outcome.error
        return outcome

    return run


@pytest.fixture
def quiet() -> tuple[str, ...]:
    """Options of a run on the CPU that prints little."""
    return QUIET


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An autoencoder that knows its sentences by heart."""
    folder = tmp_path_factory.mktemp("trained")
    data = _write_corpus(folder / "data", SENTENCES, labels=True)
    config = folder / "memory.yaml"
    config.write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TEXTAE_VERSION", raising=False)
        main(
            [
                "fit",
                f"--config={config}",
                f"--runs={folder / 'runs'}",
                f"--data.init_args.data_dir={data}",
                "--trainer.max_epochs=100",
                "--trainer.check_val_every_n_epoch=100",
                "--trainer.logger=false",
                *QUIET,
            ]
        )
    [run] = (folder / "runs" / "memory").iterdir()
    return Trained(run, data, config)


@pytest.fixture
def moved(trained: Trained, tmp_path: Path) -> Path:
    """The run's checkpoint in another folder, and nothing else."""
    run = tmp_path / "elsewhere" / "memory"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(trained.run / "checkpoints" / "best.ckpt", run / "checkpoints" / "best.ckpt")
    return run


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tested run, see `comparing.write_tested_run`."""
    return partial(write_tested_run, tmp_path / "runs")


@pytest.fixture
def compare(textae: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Compares all runs that were written, on a terminal of some width; what was printed, and the rows in the file."""

    def run(*options: str, width: int = 1000) -> tuple[str, list[dict[str, Any]]]:
        monkeypatch.setenv("COLUMNS", str(width))
        folders = sorted((tmp_path / "runs").glob("*"))
        printed = textae("compare", *folders, *options, "--output", "rows.json").out
        return printed, json.loads((tmp_path / "rows.json").read_text())

    return run


@pytest.fixture
def fit(
    textae: Callable[..., Outcome], quiet: tuple[str, ...], write_corpus: Callable[..., Path], tmp_path: Path
) -> Callable[..., str]:
    """A run of `ae_yelp` on a small folder that must fail, with further options; gives the message."""
    write_corpus(tmp_path / "good", ["a b c", "b c", "c a b c"])

    def run(*args: str) -> str:
        folder = f"--data.init_args.data_dir={tmp_path / 'good'}"
        outcome = textae("fit", "--config=ae_yelp", folder, *SMALL, *quiet, *args, fails=True)
        # Nothing is left of a run that has not begun.
        assert not list((tmp_path / "runs").rglob("*.ckpt"))
        return outcome.error

    return run
