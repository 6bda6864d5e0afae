from __future__ import annotations

from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from models import VOCABULARY, WITHOUT_VALIDATION, sentences, small, trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from lightning_modules import Autoencoder, SentenceVAE
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.text_model import ObjectiveTerms

pytestmark = WITHOUT_VALIDATION
BATCH = TokenBatch.from_ids(sentences(12))


def dropped(seed: int = 0) -> list[Tensor]:
    """Where dropout strikes at each of two equal batches in each of two epochs."""
    masks: list[Tensor] = []
    model = small(Autoencoder, decoder=DecoderConfig(hidden_size=13, dropout=0.5), seed=seed)
    model.backbone.decoder.dropout.register_forward_hook(lambda *seen: masks.append(seen[2] == 0))
    trainer(max_epochs=2).fit(model, DataLoader([BATCH, BATCH], batch_size=None))
    return masks


def test_dropout_differs_by_seed_epoch_and_batch_and_repeats_in_a_second_run() -> None:
    masks = [*dropped(), *dropped(seed=1)]
    assert len(masks) == 8
    assert all(not torch.equal(first, masks[i]) for i in range(8) for first in masks[i + 1 :])
    torch.manual_seed(123)
    assert all(torch.equal(first, again) for first, again in zip(masks, dropped(), strict=False))


class WithoutEnds(SentenceVAE):
    """A family whose author forgot EOS's part of the likelihood."""

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        return replace(super().objective(batch), ends=None)


def test_a_likelihood_without_eos_part_is_named() -> None:
    with pytest.raises(TypeError, match=r"WithoutEnds\.objective.*`ends`"):
        trainer().test(small(WithoutEnds), DataLoader([BATCH], batch_size=None), verbose=False)


class Epochs(pl.Callback):
    """The noise on z of a sentence in each epoch of training and of validation."""

    def __init__(self) -> None:
        self.training: list[Tensor] = []
        self.validation: list[Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Autoencoder, *_: object) -> None:
        self.training.append(pl_module.random(BATCH).normal("posterior", 6))

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: Autoencoder, *_: object) -> None:
        self.validation.append(pl_module.random(BATCH).normal("posterior", 6))


def test_noise_is_fresh_in_every_epoch_of_training_and_the_same_in_every_validation() -> None:
    seen = Epochs()
    data = DataLoader([BATCH], batch_size=None)
    trainer(max_epochs=3, callbacks=[seen]).fit(small(Autoencoder), data, data)
    assert len(seen.training) == len(seen.validation) == 3
    assert torch.equal(seen.validation[0], seen.validation[1]) and torch.equal(seen.validation[0], seen.validation[2])
    everything = torch.stack([*seen.training, seen.validation[0]]).flatten(1)
    assert float(nn.functional.pdist(everything).min()) > 1


def test_prediction_gives_the_posterior_of_each_sentence() -> None:
    model = small(Autoencoder)
    (posterior,) = trainer().predict(model, DataLoader([BATCH], batch_size=None))
    model.eval()
    torch.testing.assert_close(posterior.mean, model.encode(BATCH).mean.detach())


def test_a_vocabulary_that_is_none_is_refused() -> None:
    for text in ("no json", VOCABULARY.replace("<blank>", "<other>")):
        with pytest.raises(UsageError, match=r"vocabulary|special token"):
            small(Autoencoder, vocabulary=text)


@pytest.mark.parametrize("every, accumulate, expected", [(1, 1, 6), (2, 1, 3), (3, 1, 2), (2, 2, 2)])
def test_training_terms_are_logged_as_often_as_the_trainer_logs(every: int, accumulate: int, expected: int) -> None:
    """Six batches; of two that make a step both are logged, if the step is."""
    model = small(Autoencoder)
    seen: list[int] = []
    model.log_dict = lambda terms, **_: seen.append(len(terms))  # type: ignore[method-assign]
    data = DataLoader([BATCH] * 6, batch_size=None)
    fitting = trainer(max_epochs=1, log_every_n_steps=every, accumulate_grad_batches=accumulate)
    fitting.fit(model, data)
    assert seen == [2] * expected
