"""Latents of text are those of each sentence alone, however it is cut into batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import small

from lightning_modules import SentenceVAE
from lightning_modules.decoding import encoding as module
from lightning_modules.decoding.encoding import encode_stream, encode_text
from lightning_modules.decoding.text import text_batch

TEXTS = ["w1 w2 w3", "w4", "w5 w5 w19 w0 w1", "w2 w9", "w7", "w1 w1", "w3 w2 w1"]


@pytest.fixture(params=[(3, 2), (16_384, 512)])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SentenceVAE:
    window, together = request.param
    monkeypatch.setattr(module, "WINDOW", window)
    monkeypatch.setattr(module, "TOGETHER", together)
    return small(SentenceVAE)  # in training mode: dropout and corruption would show


def test_posteriors_of_text(model: SentenceVAE) -> None:
    found = encode_text(model, TEXTS)
    for row, text in enumerate(TEXTS):
        alone = model.eval().encode(text_batch(model.vocabulary, [text]))
        torch.testing.assert_close(found.mean[row], alone.mean[0])
        torch.testing.assert_close(found.log_variance[row], alone.log_variance[0])


def test_means_of_a_stream(model: SentenceVAE) -> None:
    parts = list(encode_stream(model, iter(TEXTS)))
    assert [text for some, _ in parts for text in some] == TEXTS
    latents = np.concatenate([latents for _, latents in parts])
    assert latents.dtype == np.float32 and model.training
    torch.testing.assert_close(torch.from_numpy(latents), encode_text(model, TEXTS).mean)


def test_samples_of_a_stream_are_those_of_each_sentences_position(model: SentenceVAE) -> None:
    latents = np.concatenate([latents for _, latents in encode_stream(model, TEXTS, samples=3, seed=5)])
    model.seed = 5
    for row, text in enumerate(TEXTS):
        batch = replace(text_batch(model.vocabulary, [text]), index=torch.tensor([row]))
        posterior = model.eval().encode(batch)
        noise_KZ = model.random(batch).normal("encode", 3, model.latent_size)[0]
        torch.testing.assert_close(torch.from_numpy(latents[row]), posterior.mean + posterior.std * noise_KZ)


def test_samples_follow_the_posterior() -> None:
    model = small(SentenceVAE)
    [(_, latents)] = list(encode_stream(model, ["w1 w2"] * 4, samples=5000))
    posterior = encode_text(model, ["w1 w2"])
    drawn = torch.from_numpy(latents).flatten(0, 1)
    error = float(posterior.std.max()) / len(drawn) ** 0.5
    torch.testing.assert_close(drawn.mean(0), posterior.mean[0], rtol=0, atol=5 * error)
    torch.testing.assert_close(drawn.std(0), posterior.std[0], rtol=0.05, atol=0)


def test_no_more_is_read_than_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 3)
    read: list[str] = []

    def source() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    stream = encode_stream(small(SentenceVAE), source())
    next(stream)
    assert read == TEXTS[:3]


def test_many_numbers_a_sentence_make_for_fewer_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(SentenceVAE)
    monkeypatch.setattr(module, "NUMBERS", 10 * model.latent_size)
    assert [len(some) for some, _ in encode_stream(model, TEXTS, samples=5)] == [2, 2, 2, 1]
    assert [len(some) for some, _ in encode_stream(model, TEXTS, samples=50)] == [1] * 7


def test_what_says_nothing_is_counted() -> None:
    with pytest.warns(UserWarning, match="2 of 3 sentences have no word that the model knows"):
        [(_, latents)] = list(encode_stream(small(SentenceVAE), ["never seen", "w1 seen", "seen"]))
    assert len(latents) == 3


def test_long_sentences_are_fewer_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(SentenceVAE)
    truth = np.concatenate([latents for _, latents in encode_stream(model, TEXTS)])
    sizes: list[tuple[int, int]] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda batch: sizes.append(tuple(batch.targets.shape)) or encode(batch))
    monkeypatch.setattr(module, "TOKENS", 8)
    found = np.concatenate([latents for _, latents in encode_stream(model, TEXTS)])
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-5)
    assert sum(rows for rows, _ in sizes) == 7 and all(rows == 1 or rows * steps <= 8 for rows, steps in sizes)
    monkeypatch.setattr(module, "CHARACTERS", 10)
    assert [len(some) for some, _ in encode_stream(model, TEXTS)] == [2, 1, 3, 1]
