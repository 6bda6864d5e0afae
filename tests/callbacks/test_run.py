"""The run folder's lock and mark, the throughput and the summary."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from callbacks import EntropyFloor, LatentDiagnostics, Reconstructions, RunFolder, Summary, Throughput
from datamodules.errors import UsageError
from datamodules.vocabulary import read_vocabulary

Make = Callable[..., Any]


class Failing(Callback):
    """Breaks a training off in its second batch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            raise self.error


@pytest.fixture
def fit(fresh: Make, corpus: Make, trainer: Make) -> Make:
    def run(*callbacks: Callback, **options: Any) -> None:
        data = corpus()
        settings = {"max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 1} | options
        trainer(*callbacks, **settings).fit(fresh(data.vocabulary_json), datamodule=data)

    return run


def test_a_second_writer_is_refused(fit: Make, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(UsageError, match="another process trains") as refused:
        fit(RunFolder())
    assert str(tmp_path) in str(refused.value)
    assert not (tmp_path / "vocabulary.json").exists()
    fit(RunFolder())  # once the other has ended
    assert (tmp_path / "vocabulary.json").exists()


def test_the_lock_is_held_while_it_trains(fit: Make, tmp_path: Path) -> None:
    refused: list[str] = []

    class Rival(Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            if not refused:
                with pytest.raises(UsageError) as error:
                    fit(RunFolder())
                refused.append(str(error.value))

    fit(RunFolder(), Rival())
    assert refused


def test_a_fit_that_failed_leaves_no_lock(fit: Make) -> None:
    with pytest.raises(ZeroDivisionError):
        fit(RunFolder(), Failing(ZeroDivisionError()))
    fit(RunFolder())


@pytest.mark.filterwarnings("ignore:.*Attempting graceful shutdown")
def test_an_interrupted_fit_leaves_no_lock(fit: Make) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            fit(RunFolder(), Failing(KeyboardInterrupt()))
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
    fit(RunFolder())


def test_the_vocabulary_is_kept(fit: Make, corpus: Make, tmp_path: Path) -> None:
    fit(RunFolder())
    kept = read_vocabulary(tmp_path / "vocabulary.json")
    assert kept.get_vocab() == corpus().vocabulary.get_vocab()


def test_what_a_killed_process_left_is_removed(fit: Make, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".last.ckpt.4711").write_text("half")
    (tmp_path / "checkpoints" / "mine.ckpt").write_text("kept")
    fit(RunFolder())
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["mine.ckpt"]


def test_a_test_leaves_the_folder_alone(model: Any, corpus: Make, trainer: Make, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"):
        trainer(RunFolder()).test(model, datamodule=corpus(), verbose=False)
    assert {file.name for file in tmp_path.iterdir()} <= {".lock"}


@pytest.mark.parametrize(
    ("precision", "rate", "said"),
    [("bf16-mixed", 1e9, True), ("bf16-mixed", 3e9, False), ("bf16-mixed", 1.8e9, False), ("32-true", 1e9, False)],
)
def test_a_processor_that_is_slow_in_bfloat16_is_named(
    fit: Make,
    precision: str,
    rate: float,
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rates = {torch.bfloat16: rate, torch.float32: 2e9}
    monkeypatch.setattr("callbacks.throughput.matrix_rate", lambda device, dtype=torch.float32: rates[dtype])
    fit(Throughput(), precision=precision)
    assert ("at 1 GFLOP/s in bfloat16 and at 2 in float32: train with" in capsys.readouterr().err) == said


def test_the_summary_says_how_fast_the_fit_was(
    fresh: Make, corpus: Make, trainer: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, measure = corpus(), Throughput()
    model = fresh(data.vocabulary_json)
    fitting = trainer(measure, Summary(), max_epochs=1, limit_train_batches=2, limit_val_batches=0)
    fitting.fit(model, datamodule=data)
    fitting.test(model, datamodule=data, verbose=False)
    training = json.loads((tmp_path / "test_metrics.json").read_text())["training"]
    assert training == measure.summary() and len(training) == 5
    assert f"training: {training['tokens_per_second']:,.0f} tokens" in capsys.readouterr().out
    # Wherever it stands among the callbacks, in a fit that ends before anything was logged.
    measure = Throughput()
    fitting = trainer(Summary(), measure, max_epochs=1, limit_train_batches=2, limit_val_batches=0)
    fitting.fit(model, datamodule=data)
    fitting.test(model, datamodule=data, verbose=False)
    training = json.loads((tmp_path / "test_metrics.json").read_text())["training"]
    assert training == measure.summary() and len(training) == 5 and training["peak_memory_mb"] > 0
    # A later test did not see the fit, and keeps what was noted.
    trainer(Summary()).test(model, datamodule=data, verbose=False)
    assert json.loads((tmp_path / "test_metrics.json").read_text())["training"] == training


def test_the_summary_holds_every_figure(
    model: Any, corpus: Make, trainer: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [logged] = trainer(Reconstructions(), Summary()).test(model, datamodule=corpus(), verbose=False)
    figures = {name: value for name, value in logged.items() if not name.endswith("error")}
    assert len(figures) >= 3
    record = json.loads((tmp_path / "test_metrics.json").read_text())
    assert {name: figure["value"] for name, figure in record["metrics"].items()} == figures
    reconstruction = record["metrics"]["test/reconstruction"]
    assert reconstruction["error"] == logged["test/reconstruction/error"] > 0
    assert reconstruction["kind"] == "part" and reconstruction["convention"] == "eos_in_both"
    assert record["metrics"]["test/reconstruction_bleu"]["kind"] == "score"
    assert record["corpus"] == "reviews"
    assert record["sentences"] == 90
    assert record["seed"] == model.seed
    printed = capsys.readouterr().out
    for name, value in figures.items():
        assert name.removeprefix("test/") in printed and f"{value:.4f}" in printed
    assert str(tmp_path) in printed
    assert "samples/reconstructions.txt" in printed


def test_a_test_of_a_part_does_not_replace_the_figures_of_the_whole(
    model: Any, corpus: Make, trainer: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = corpus(eval_sentences=40)
    trainer(Summary()).test(model, datamodule=data, verbose=False)
    whole = (tmp_path / "test_metrics.json").read_text()
    [first, *_] = data.test_dataloader()
    trainer(Summary(), limit_test_batches=1).test(model, datamodule=data, verbose=False)
    assert (tmp_path / "test_metrics.json").read_text() == whole
    part = json.loads((tmp_path / "partial_test_metrics.json").read_text())
    assert part["sentences"] == len(first) < 90
    assert f"{len(first)} of 90 test sentences" in capsys.readouterr().out
    assert part["metrics"]["test/reconstruction"] != json.loads(whole)["metrics"]["test/reconstruction"]


def test_of_one_sentence_there_are_no_errors(model: Any, corpus: Make, trainer: Make, tmp_path: Path) -> None:
    trainer(Summary(), LatentDiagnostics(), limit_test_batches=1).test(
        model, datamodule=corpus(eval_sentences=1), verbose=False
    )
    text = (tmp_path / "partial_test_metrics.json").read_text()
    metrics = json.loads(text, parse_constant=pytest.fail)["metrics"]  # no NaN, which JSON does not have
    assert metrics["test/reconstruction"]["value"] > 0 and metrics["test/reconstruction"]["sentences"] == 1
    assert not any("error" in figure for figure in metrics.values())


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create")
def test_a_lesser_test_of_the_same_checkpoint_does_not_replace_a_fuller_one(
    fresh: Make, corpus: Make, trainer: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = corpus()
    keep = ModelCheckpoint(tmp_path / "checkpoints", filename="best", monitor="val/reconstruction")
    fitting = trainer(keep, enable_checkpointing=True, max_epochs=1, limit_train_batches=1)
    fitting.fit(fresh(data.vocabulary_json), datamodule=data)

    def measured(*callbacks: Callback) -> tuple[set[str], set[str]]:
        """The figures in the file of the whole, and in that of a part."""
        trainer(Summary(), *callbacks).test(
            fresh(data.vocabulary_json), datamodule=data, ckpt_path=keep.best_model_path, verbose=False
        )
        files = [tmp_path / f"{name}test_metrics.json" for name in ("", "partial_")]
        return tuple(set(json.loads(file.read_text())["metrics"]) if file.is_file() else set() for file in files)

    plain, _ = measured()
    fuller, part = measured(EntropyFloor())
    assert fuller == plain | {"test/floor"} and not part
    assert measured() == (fuller, plain)
    # Fewer sentences of one figure are less, too.
    part = json.loads((tmp_path / "test_metrics.json").read_text())
    part["metrics"]["test/floor"]["sentences"] += 1
    (tmp_path / "test_metrics.json").write_text(json.dumps(part))
    before = (tmp_path / "test_metrics.json").read_text()
    measured(EntropyFloor())
    assert (tmp_path / "test_metrics.json").read_text() == before
    # Those of another corpus are others.
    part["corpus"] = "wikitext2"
    (tmp_path / "test_metrics.json").write_text(json.dumps(part))
    capsys.readouterr()
    measured(EntropyFloor())
    assert json.loads((tmp_path / "test_metrics.json").read_text()) == part
    assert "test_metrics.json has those of the corpus wikitext2" in capsys.readouterr().out
    # As are those of another folder, whichever checkpoint it was.
    part |= {"corpus": data.corpus, "data_folder": "ptb", "checkpoint": "last.ckpt"}
    (tmp_path / "test_metrics.json").write_text(json.dumps(part))
    measured(EntropyFloor())
    assert json.loads((tmp_path / "test_metrics.json").read_text()) == part
    assert f"those of the corpus {data.corpus} ptb: delete it first" in capsys.readouterr().out
    (tmp_path / "test_metrics.json").write_text(before)
    # Another checkpoint makes all that was measured of the old one worthless.
    Path(keep.best_model_path).touch()
    os.utime(keep.best_model_path, (0, 0))
    assert measured()[0] == plain


def test_the_summary_names_the_checkpoint(fresh: Make, corpus: Make, trainer: Make, tmp_path: Path) -> None:
    data = corpus()
    keep = ModelCheckpoint(tmp_path / "checkpoints", filename="best", monitor="val/reconstruction")
    fitting = trainer(Summary(), keep, enable_checkpointing=True, max_epochs=1, limit_train_batches=1)
    fitting.fit(fresh(data.vocabulary_json), datamodule=data)
    assert not (tmp_path / "test_metrics.json").exists()
    fitting.test(datamodule=data, ckpt_path="best", verbose=False)
    record = json.loads((tmp_path / "test_metrics.json").read_text())
    assert Path(record["checkpoint"]).name == "best.ckpt"
