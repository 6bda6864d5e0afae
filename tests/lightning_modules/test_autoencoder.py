from __future__ import annotations

from typing import Any

import pytest
import torch
from models import WITHOUT_VALIDATION, fit, learner, loader, sentences, small, trainer

from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig
from lightning_modules import Autoencoder
from lightning_modules.backbone.corruption import CorruptionConfig
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.decoding.search import reconstruct
from lightning_modules.decoding.text import batch_text, to_text
from lightning_modules.text_model import ObjectiveTerms

pytestmark = WITHOUT_VALIDATION
BATCH = TokenBatch.from_ids(sentences(12))


def test_the_mean_is_decoded_without_noise() -> None:
    model = small(Autoencoder, latent="mean")
    posterior = model.encode(BATCH)
    objective = model.objective(BATCH)
    expected = model.reconstruction(BATCH, posterior.mean)
    assert torch.equal(objective.loss, expected) and torch.equal(objective.terms["reconstruction"], expected)
    with torch.no_grad():
        for parameter in model.backbone.posterior.scale.parameters():
            parameter.fill_(3.0)
    assert torch.equal(model.objective(BATCH).loss, expected)


def test_a_sample_is_the_mean_and_the_learned_deviation_times_noise() -> None:
    model = small(Autoencoder, latent="sample")
    posterior = model.encode(BATCH)
    noise = model.random(BATCH).normal("posterior", 6)
    z = posterior.mean + torch.exp(posterior.log_variance / 2) * noise
    objective = model.objective(BATCH)
    torch.testing.assert_close(objective.loss, model.reconstruction(BATCH, z))
    assert not torch.allclose(objective.loss, model.reconstruction(BATCH, posterior.mean), atol=1e-3)
    objective.loss.sum().backward()
    assert all(bool(parameter.grad.any()) for parameter in model.backbone.posterior.scale.parameters())


@pytest.mark.parametrize("latent, passes", [("mean", 1), ("sample", 2)])
def test_only_what_is_drawn_has_a_monte_carlo_error_and_a_second_pass(latent: Any, passes: int) -> None:
    class Counting(Autoencoder):
        count = 0

        def objective(self, batch: TokenBatch) -> ObjectiveTerms:
            self.count += 1
            return super().objective(batch)

    model = small(Counting, latent=latent)
    (found,) = trainer().test(model, loader(sentences(12), BatchingConfig(), training=False), verbose=False)
    assert ("test/reconstruction/monte_carlo_error" in found) == (passes == 2)
    assert found["test/reconstruction/error"] > 0
    assert model.count == passes


def test_samples_differ_by_number_and_by_mode_and_repeat_in_evaluation() -> None:
    model = small(Autoencoder, latent="sample")
    posterior = model.encode(BATCH)
    in_training = model.sample_latent(BATCH, posterior)
    model.eval()
    first, again, second = (model.sample_latent(BATCH, posterior, sample=number) for number in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, second, atol=1e-3)
    assert not torch.allclose(first, in_training, atol=1e-3)


@pytest.mark.parametrize("direction", ["left_to_right", "right_to_left"])
def test_it_learns_to_reconstruct_what_it_was_shown_in_reading_order(direction: Any) -> None:
    batch = TokenBatch.from_ids(sentences(32))
    model = learner(Autoencoder, decoder=DecoderConfig(hidden_size=24, direction=direction, max_words=12))
    fit(model, sentences(32), epochs=200)
    pairs = zip(to_text(model, reconstruct(model, batch)), batch_text(model.vocabulary, batch), strict=True)
    assert sum(written == read for written, read in pairs) >= 30


def test_with_noise_on_words_the_clean_sentence_stays_the_target() -> None:
    """With every word dropped the encoder sees nothing, so all sentences get one z; the targets still differ."""
    model = small(Autoencoder, corruption=CorruptionConfig(drop=1.0))
    mean = model.encode(BATCH).mean
    torch.testing.assert_close(mean, mean[:1].expand_as(mean))
    torch.testing.assert_close(model.objective(BATCH).loss, model.reconstruction(BATCH, mean))
