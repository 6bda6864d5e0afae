"""What a loss that is no number costs: the step, or the training, and never a checkpoint."""

from __future__ import annotations

import math
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from models import FIRST_WORD, PLAIN, WITHOUT_VALIDATION, WORDS, loader, sentences, small, trainer
from pytorch_lightning import Callback

from callbacks import FiniteLoss, LastCheckpoint
from datamodules.bucketing import BatchingConfig
from datamodules.errors import UsageError
from lightning_modules import AdversariallyRegularizedAutoencoder, Autoencoder, LaggingVAE
from lightning_modules.checkpoint import read_checkpoint

BROKEN = 3  # the step after which a weight is no number, or the one whose loss is none


class Spoil(Callback):
    """Makes a weight infinite before a step."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == BROKEN:
            with torch.no_grad():
                next(pl_module.backbone.decoder.output.parameters()).fill_(math.nan)


class Once(Autoencoder):
    """The loss of one batch is no number."""

    def objective(self, batch: Any) -> Any:
        found = super().objective(batch)
        if self.training and self.trainer.global_step == BROKEN and not self.spoiled:
            self.spoiled = True
            return type(found)(found.loss * math.nan, found.terms, found.ends)
        return found

    spoiled = False


@WITHOUT_VALIDATION
@pytest.mark.parametrize("family", [Autoencoder, AdversariallyRegularizedAutoencoder, LaggingVAE])
@pytest.mark.parametrize("every", [1, 2])
def test_it_stops_and_says_where(family: Any, every: int, tmp_path: Path) -> None:
    kept = LastCheckpoint(str(tmp_path), every_n_train_steps=every)
    fitting = trainer(max_epochs=4, callbacks=[FiniteLoss(), Spoil(), kept], enable_checkpointing=True)
    given = sentences(8)
    data = loader(given, BatchingConfig(sentences=2), training=True)
    with pytest.raises(UsageError) as caught:
        fitting.fit(small(family), data)
    message = str(caught.value)
    assert f"at step {BROKEN + 1}" in message
    assert ("--model.init_args.clip" in message) == (family is not Autoencoder)
    assert ("--trainer.gradient_clip_val" in message) == (family is Autoencoder)
    # Both sentences of the batch, each by its row and its words.
    named = re.findall(r"(\d+): '([^']*)'", message)
    assert len(named) == 2
    for row, text in named:
        assert text == " ".join(WORDS[word - FIRST_WORD] for word in given[int(row)])
    good = read_checkpoint(tmp_path / "last.ckpt")
    assert str(tmp_path / "last.ckpt") in message and good["global_step"] <= BROKEN
    assert all(bool(weights.isfinite().all()) for weights in good["state_dict"].values() if weights.is_floating_point())


@WITHOUT_VALIDATION
def test_skipped_steps_change_nothing_and_are_counted() -> None:
    data = loader(sentences(8), BatchingConfig(sentences=2), training=True)
    skipping = FiniteLoss("skip")
    fitting = trainer(max_epochs=2, callbacks=[skipping])
    model = small(Once, **PLAIN)
    fitting.fit(model, data)
    assert skipping.skipped == 1 and fitting.callback_metrics["train/skipped_steps"] == 1
    assert all(bool(weights.isfinite().all()) for weights in model.parameters())


def test_a_family_that_steps_by_itself_cannot_skip() -> None:
    for family, refused in ((Autoencoder, False), (AdversariallyRegularizedAutoencoder, True)):
        with pytest.raises(UsageError, match=family.__name__) if refused else nullcontext():
            FiniteLoss("skip").check(None, small(family), None, "fit")  # type: ignore[arg-type]  # the model alone counts
