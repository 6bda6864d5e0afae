from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from models import PLAIN, WITHOUT_VALIDATION, fit, loader, sentences, small, trainer

from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig
from datamodules.errors import UsageError
from lightning_modules import LaggingVAE, SentenceVAE
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.checkpoint import read_checkpoint
from lightning_modules.lagging_svae import AggressiveConfig
from lightning_modules.optimization import OptimizerConfig
from lightning_modules.text_model import ObjectiveTerms

SENTENCES = sentences(12)
LAGGING: dict[str, Any] = {"embedding": EmbeddingConfig(12, shared=False), "optimizer": OptimizerConfig("sgd", lr=0.5)}


class Recording(LaggingVAE):
    """Notes the batches of which it computes the objective, and the visit whose noise it draws."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[tuple[TokenBatch, int]] = []

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        if self.training:
            self.seen.append((batch, self.visit))
        return super().objective(batch)


def assert_same_weights(one: pl.LightningModule, other: pl.LightningModule, atol: float = 0.0) -> None:
    for (name, mine), (_, theirs) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


def he_et_al(model: Recording, batches: int, most: int, window: int, clip: float) -> list[int]:
    """Their training loop over the noted batches; gives the encoder's steps before each step of the decoder."""
    seen = iter(model.seen)
    encoding = ("backbone.encoder", "backbone.posterior")
    encoder = [value for name, value in model.named_parameters() if name.startswith(encoding)]
    decoder = [value for name, value in model.named_parameters() if not name.startswith(encoding)]
    encoder_optimizer, decoder_optimizer = torch.optim.SGD(encoder, lr=0.5), torch.optim.SGD(decoder, lr=0.5)
    steps = []
    for _ in range(batches):
        previous, current, words = 1e4, 0.0, 0
        step = 0
        while step < most:
            step += 1
            batch, model.visit = next(seen)
            model.zero_grad()
            loss = SentenceVAE.objective(model, batch).loss
            current += float(loss.detach().sum())
            words += int(batch.lengths.sum())
            loss.mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            encoder_optimizer.step()
            if step % window == 0:
                if previous - current / words < 0:
                    break
                previous, current, words = current / words, 0.0, 0
        steps.append(step)
        batch, model.visit = next(seen)
        assert model.visit == 0
        model.zero_grad()
        SentenceVAE.objective(model, batch).loss.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        decoder_optimizer.step()
    assert next(seen, None) is None
    return steps


@WITHOUT_VALIDATION
def test_while_the_encoder_lags_it_is_the_published_loop() -> None:
    model = small(Recording, aggressive=AggressiveConfig(max_steps=9, window=3), clip=0.7, **LAGGING)
    reference = copy.deepcopy(model)
    fit(model, SENTENCES, epochs=1, batch=3)
    reference.seen, seen = model.seen, len(model.seen)
    steps = he_et_al(reference, batches=4, most=9, window=3, clip=0.7)
    assert sum(steps) + 4 == seen
    assert 9 in steps and min(steps) < 9  # both ends of the inner loop were met
    assert_same_weights(model, reference, atol=1e-6)


@WITHOUT_VALIDATION
def test_the_encoders_batches_begin_with_the_decoders_and_their_noise_is_always_fresh() -> None:
    model = small(Recording, aggressive=AggressiveConfig(max_steps=30, window=40), **LAGGING)
    fit(model, SENTENCES, epochs=1, batch=3)
    rounds = [model.seen[start : start + 31] for start in range(0, len(model.seen), 31)]
    assert len(rounds) == 4
    for calls in rounds:
        assert torch.equal(calls[0][0].index, calls[-1][0].index)
    drawn = torch.cat([batch.index for batch, visit in model.seen if visit])
    counts = torch.bincount(drawn, minlength=12)
    assert len(drawn) == 4 * 30 * 3 and int(counts.min()) > 10  # of 30 on average
    visits = [visit for _, visit in model.seen if visit]
    assert len(set(visits)) == len(visits)


@WITHOUT_VALIDATION
def test_once_it_no_longer_lags_it_is_the_sentence_vae() -> None:
    ours = small(LaggingVAE, aggressive=AggressiveConfig(max_steps=0), clip=0.7, **LAGGING)
    vae = small(SentenceVAE, **LAGGING)
    data = loader(SENTENCES, BatchingConfig(sentences=3), training=True)
    trainer(max_epochs=2).fit(ours, data)
    trainer(max_epochs=2, gradient_clip_val=0.7).fit(vae, data)
    assert_same_weights(ours, vae, atol=1e-6)


class Scripted(LaggingVAE):
    """Whose mutual information is what the test says it is."""

    values: list[float]

    def on_validation_epoch_end(self) -> None:
        value = torch.tensor(self.values[self.current_epoch])
        self.mutual_information.compute = lambda: value  # type: ignore[method-assign]  # the script's
        super().on_validation_epoch_end()


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
@pytest.mark.parametrize(
    "values, expected",
    [
        ([0.5, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0]),
        ([0.5, 1.0, 0.9, 2.0], [1.0, 1.0, 0.0, 0.0]),
        ([0.5, 0.4, 3.0, 4.0], [1.0, 0.0, 0.0, 0.0]),
        ([1.0, 1.0 - 1e-5, 2.0, 2.0], [1.0, 0.0, 0.0, 0.0]),  # less than a low precision would see
        ([-0.1, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]),  # theirs, too: an encoder that knows nothing has 0
    ],
)
def test_it_ends_for_good_when_the_mutual_information_falls(
    values: list[float], expected: list[float], precision: Any
) -> None:
    model = small(Scripted, aggressive=AggressiveConfig(max_steps=2), **LAGGING)
    model.values = values
    found: list[float] = []
    note = pl.callbacks.LambdaCallback(
        on_validation_end=lambda trainer, module: found.append(float(module.is_aggressive))
    )
    train, valid = (loader(SENTENCES, BatchingConfig(sentences=6), training=flag) for flag in (True, False))
    trainer(max_epochs=4, callbacks=[note], precision=precision).fit(model, train, valid)
    assert found == expected


@WITHOUT_VALIDATION
def test_a_resume_without_steps_of_the_encoder_alone_trains_it_with_the_decoder(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    fit(small(LaggingVAE, aggressive=AggressiveConfig(max_steps=3), **LAGGING), SENTENCES, 1).save_checkpoint(file)
    model = small(LaggingVAE, aggressive=AggressiveConfig(max_steps=0), **LAGGING)
    data = loader(SENTENCES, BatchingConfig(sentences=6), training=True)
    before = read_checkpoint(file)["state_dict"]
    trainer(max_epochs=2).fit(model, data, ckpt_path=file)
    moved = [name for name, value in model.named_parameters() if not torch.equal(value, before[name])]
    assert any(name.startswith("backbone.encoder.") for name in moved)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create")
@pytest.mark.parametrize("values", [[0.5, 1.0, 0.9, 2.0], [0.5, 1.0, 1.1, 1.05]])
def test_a_resume_knows_the_mutual_information_of_before(values: list[float], tmp_path: Path) -> None:
    train, valid = (loader(SENTENCES, BatchingConfig(sentences=6), training=flag) for flag in (True, False))

    def states(epochs: int, ckpt_path: Path | None = None, keep: Path | None = None) -> list[bool]:
        model = small(Scripted, aggressive=AggressiveConfig(max_steps=2), **LAGGING)
        model.values, found = values, []
        note = pl.callbacks.LambdaCallback(on_validation_end=lambda _, module: found.append(module.is_aggressive))
        fitting = trainer(max_epochs=epochs, callbacks=[note])
        fitting.fit(model, train, valid, ckpt_path=ckpt_path)
        if keep is not None:
            fitting.save_checkpoint(keep)
        return found

    whole = states(4)
    assert not whole[-1] and whole[0]
    for epochs in (1, 2, 3):
        states(epochs, keep=tmp_path / f"{epochs}.ckpt")
        assert states(4, ckpt_path=tmp_path / f"{epochs}.ckpt") == whole[epochs:]


def test_the_mutual_information_is_logged_and_a_validation_alone_changes_nothing() -> None:
    model = small(LaggingVAE, **PLAIN)
    (found,) = trainer().validate(model, loader(SENTENCES, BatchingConfig(), training=False), verbose=False)
    assert abs(found["val/mutual_information"]) < math.log(12)
    assert model.is_aggressive and model.last_information == 0


def test_a_shared_embedding_is_the_decoders() -> None:
    model = small(LaggingVAE)
    known = {id(parameter) for parameter in model.encoder_parameters()}
    assert id(model.backbone.embedding.weight) not in known
    apart = small(LaggingVAE, embedding=EmbeddingConfig(12, shared=False))
    assert id(apart.backbone.encoder_embedding.weight) in {id(parameter) for parameter in apart.encoder_parameters()}


def test_a_schedule_of_lightnings_own_is_refused() -> None:
    with pytest.raises(UsageError, match="DecayFromBest"):
        small(LaggingVAE, optimizer=OptimizerConfig(schedule="linear"))
