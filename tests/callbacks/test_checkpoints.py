from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from models import loader, sentences, small, trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from callbacks import BestCheckpoint, LastCheckpoint
from callbacks.checkpoints import best_checkpoint
from datamodules.bucketing import BatchingConfig
from lightning_modules import Autoencoder
from lightning_modules.checkpoint import read_checkpoint

MONITOR = "val/script"
# The best one is neither the first nor the last.
SCRIPT = [5.0, 3.0, 6.0, 7.0, 4.0, 8.0]


class Scripted(Autoencoder):
    """Each epoch's validation gives what a script says."""

    script: Sequence[float]

    def on_validation_epoch_end(self) -> None:
        self.log(MONITOR, self.script[self.current_epoch])


def run(folder: Path, epochs: int, ckpt_path: Path | None = None, every: float = 1.0) -> pl.Trainer:
    model = small(Scripted)
    model.script = SCRIPT
    came_from = None if ckpt_path is None else str(ckpt_path.parent)
    kept = [BestCheckpoint(str(folder), resumed_from=came_from, monitor=MONITOR), LastCheckpoint(str(folder))]
    fitting = trainer(max_epochs=epochs, callbacks=kept, enable_checkpointing=True, val_check_interval=every)
    data = [loader(sentences(8), BatchingConfig(sentences=4), training=training) for training in (True, False)]
    fitting.fit(model, *data, ckpt_path=ckpt_path)
    return fitting


@pytest.mark.parametrize("epochs, best", [(1, 0), (3, 1), (6, 1)])
def test_the_last_checkpoint_is_the_last_epochs_and_the_best_the_bests(epochs: int, best: int, tmp_path: Path) -> None:
    run(tmp_path, epochs)
    assert {file.name for file in tmp_path.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == epochs - 1
    assert read_checkpoint(tmp_path / "best.ckpt")["epoch"] == best


def test_within_an_epoch_the_last_checkpoint_is_that_of_the_last_validation(tmp_path: Path) -> None:
    run(tmp_path, 1, every=0.5)
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 2


@pytest.mark.parametrize(("epochs", "last"), [(1, 2), (5, 10), (6, 12)])
def test_epochs_without_a_validation_are_saved_too(epochs: int, last: int, tmp_path: Path) -> None:
    kept = [LastCheckpoint(str(tmp_path))]
    fitting = trainer(max_epochs=epochs, callbacks=kept, enable_checkpointing=True, check_val_every_n_epoch=3)
    data = [loader(sentences(8), BatchingConfig(sentences=4), training=training) for training in (True, False)]
    fitting.fit(small(Autoencoder), *data)
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == last


def test_epochs_between_validations_are_resumed_exactly(tmp_path: Path) -> None:
    data = [loader(sentences(8), BatchingConfig(sentences=4), training=training) for training in (True, False)]

    def weights(epochs: int, name: str, ckpt_path: Path | None = None) -> dict[str, torch.Tensor]:
        options = {"max_epochs": epochs, "enable_checkpointing": True, "check_val_every_n_epoch": 3}
        fitting = trainer(callbacks=[LastCheckpoint(str(tmp_path / name))], **options)
        fitting.fit(small(Autoencoder), *data, ckpt_path=ckpt_path)
        return dict(read_checkpoint(tmp_path / name / "last.ckpt")["state_dict"])

    whole = weights(7, "whole")
    weights(4, "broken")
    resumed = weights(7, "resumed", tmp_path / "broken" / "last.ckpt")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize("broken", [1, 2, 4])
def test_a_fit_continued_elsewhere_takes_the_best_along(broken: int, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 6)
    run(tmp_path / "broken", broken)
    resumed = run(tmp_path / "resumed", 6, ckpt_path=tmp_path / "broken" / "last.ckpt")
    for name in ("best.ckpt", "last.ckpt"):
        one, other = (read_checkpoint(tmp_path / place / name) for place in ("whole", "resumed"))
        assert one["epoch"] == other["epoch"]
        assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items())
    kept, theirs = resumed.checkpoint_callback, whole.checkpoint_callback
    assert isinstance(kept, BestCheckpoint) and isinstance(theirs, BestCheckpoint)
    assert kept.best_model_path == str(tmp_path / "resumed" / "best.ckpt")
    assert kept.best_model_score == theirs.best_model_score == 3


@pytest.mark.parametrize("broken, best", [(2, 1), (6, 1)])
def test_a_moved_run_still_has_its_best(broken: int, best: int, tmp_path: Path) -> None:
    run(tmp_path / "broken", broken)
    (tmp_path / "broken").rename(tmp_path / "moved")
    resumed = run(tmp_path / "resumed", 6, ckpt_path=tmp_path / "moved" / "last.ckpt")
    assert read_checkpoint(tmp_path / "resumed" / "best.ckpt")["epoch"] == best
    kept = resumed.checkpoint_callback
    assert isinstance(kept, BestCheckpoint)
    assert kept.best_model_path == str(tmp_path / "resumed" / "best.ckpt") and kept.best_model_score == SCRIPT[best]


def test_without_its_best_a_moved_run_claims_none(tmp_path: Path) -> None:
    run(tmp_path / "broken", 6)
    (tmp_path / "broken" / "best.ckpt").unlink()
    (tmp_path / "broken").rename(tmp_path / "moved")
    resumed = run(tmp_path / "resumed", 6, ckpt_path=tmp_path / "moved" / "last.ckpt")
    kept = resumed.checkpoint_callback
    assert isinstance(kept, BestCheckpoint) and kept.best_model_path == ""


def test_where_the_best_one_is_gone_the_next_is_the_best(tmp_path: Path) -> None:
    run(tmp_path / "broken", 2)
    (tmp_path / "broken" / "best.ckpt").unlink()
    run(tmp_path / "resumed", 6, ckpt_path=tmp_path / "broken" / "last.ckpt")
    assert read_checkpoint(tmp_path / "resumed" / "best.ckpt")["epoch"] == 4


def test_a_copied_run_keeps_its_own_best_checkpoint(tmp_path: Path) -> None:
    """A test of the copy restores the callback too, and the original may be still there."""
    for name in ("original", "copy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.ckpt").write_text(name)
    state = BestCheckpoint(str(tmp_path / "original"), monitor="val/nll").state_dict()
    state |= {"best_model_path": str(tmp_path / "original" / "best.ckpt"), "best_model_score": torch.tensor(1.0)}
    copied = BestCheckpoint(str(tmp_path / "copy"), monitor="val/nll")
    copied.load_state_dict(state)
    assert (tmp_path / "copy" / "best.ckpt").read_text() == "copy"
    assert copied.best_model_path == str(tmp_path / "copy" / "best.ckpt")


def test_the_best_checkpoint_is_of_the_familys_monitor_and_of_its_least_value(tmp_path: Path) -> None:
    def kept(name: str, monitor: str = "val/loss", mode: str = "min", path: str = "x.ckpt") -> ModelCheckpoint:
        every = len(name)  # Lightning tells two of a kind apart by their options
        callback = ModelCheckpoint(tmp_path / name, monitor=monitor, mode=mode, every_n_epochs=every)
        callback.best_model_path = path
        return callback

    own = kept("own")
    others = [kept("other", monitor="val/kl"), kept("most", mode="max"), kept("nothing", path="")]
    assert best_checkpoint(trainer(callbacks=[*others, own], enable_checkpointing=True), "val/loss") is own
    assert best_checkpoint(trainer(callbacks=others, enable_checkpointing=True), "val/loss") is None
