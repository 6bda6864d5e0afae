from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from callbacks import CrossHistograms, SentenceHistograms, cross_histograms, sentence_histograms
from callbacks.cross_histograms import confusion, decoder_table
from datamodules.bucketing import BatchRows
from datamodules.errors import UsageError
from lightning_modules import Autoencoder, AveragingVAE, LanguageModel, SentenceVAE
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.posterior import PosteriorConfig

Make = Callable[..., Any]
SIZES = {
    "embedding": EmbeddingConfig(8),
    "encoder": EncoderConfig(hidden_size=12),
    "posterior": PosteriorConfig(latent_size=3),
    "decoder": DecoderConfig(hidden_size=12, max_words=16),
}


def vae(vocabulary: str) -> SentenceVAE:
    torch.manual_seed(0)
    return SentenceVAE(vocabulary=vocabulary, **SIZES)


def test_every_sentence_with_every_latent(
    corpus: Make, trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = corpus()
    model = vae(data.vocabulary_json)
    drawn: dict[str, Any] = {}
    draw = cross_histograms._draw
    monkeypatch.setattr(cross_histograms, "_draw", lambda tables: draw(drawn.setdefault("tables", tables)))
    (found,) = trainer(CrossHistograms(sentences=90, memory=0.5)).test(model, data, verbose=False)

    batches = [data.split("test")[BatchRows(np.array([row]), 1.0)] for row in range(90)]
    with torch.no_grad():
        posteriors = [model.eval().encode(batch) for batch in batches]
        z = [model.sample_latent(batch, posterior) for batch, posterior in zip(batches, posteriors, strict=True)]
        decoder = [[-float(model.reconstruction(batch, latent)) for latent in z] for batch in batches]
        encoder = [[float(posterior.log_prob(latent)) for posterior in posteriors] for latent in z]
    for name, expected in (("decoder", decoder), ("encoder", encoder)):
        np.testing.assert_allclose(drawn["tables"][name], expected, rtol=1e-4, atol=1e-4)
        mistaken = [expected[i][j] > expected[i][i] for i, j in itertools.permutations(range(90), 2)]
        assert found[f"test/{name}_confusion"] == pytest.approx(np.mean(mistaken), abs=2e-3)
    assert (tmp_path / "plots" / "cross_histograms.png").stat().st_size > 0


def test_the_latents_of_an_averaging_decoder_stay_together(corpus: Make) -> None:
    data = corpus()
    torch.manual_seed(0)
    model = AveragingVAE(vocabulary=data.vocabulary_json, samples=2, **SIZES).eval()
    batch = data.split("test")[BatchRows(np.arange(5), 1.0)]
    z = torch.randn(5, 2, 3)
    with torch.no_grad():
        found = decoder_table(model, batch, z, 512.0)
        rows = [-model.reconstruction(batch, z[j].expand(5, -1, -1)) for j in range(5)]
    torch.testing.assert_close(found, torch.stack(rows, dim=1), rtol=1e-5, atol=1e-4)


def test_a_deterministic_model_writes_from_its_means(
    corpus: Make, trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = corpus()
    torch.manual_seed(0)
    model = Autoencoder(vocabulary=data.vocabulary_json, **SIZES)
    drawn: dict[str, Any] = {}
    draw = cross_histograms._draw
    monkeypatch.setattr(cross_histograms, "_draw", lambda tables: draw(drawn.setdefault("tables", tables)))
    (found,) = trainer(CrossHistograms(sentences=90)).test(model, data, verbose=False)
    batches = [data.split("test")[BatchRows(np.array([row]), 1.0)] for row in range(90)]
    with torch.no_grad():
        means = [model.eval().encode(batch).mean for batch in batches]
        expected = [[-float(model.reconstruction(batch, mean)) for mean in means] for batch in batches]
    np.testing.assert_allclose(drawn["tables"]["decoder"], expected, rtol=1e-5, atol=1e-4)
    assert drawn["tables"].keys() == {"decoder"}
    assert "test/encoder_confusion" not in found


def test_confusion_at_its_limits() -> None:
    assert confusion(torch.zeros(4, 4)) == 0.5
    assert confusion(torch.eye(4)) == 0.0
    assert confusion(-torch.eye(4)) == 1.0
    assert confusion(torch.tensor([[1.0, 2, 0], [0, 1, 1], [0, 0, 1]])) == pytest.approx(1.5 / 6)


def test_one_sentence_is_too_few() -> None:
    with pytest.raises(UsageError, match="sentences"):
        CrossHistograms(sentences=1)
    with pytest.raises(UsageError, match="memory"):
        CrossHistograms(memory=0)


@pytest.mark.parametrize("family", ["vae", "lm"])
def test_the_likelihoods_of_sentences(
    family: str, corpus: Make, trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = corpus(eval_sentences=7)
    torch.manual_seed(0)
    model = vae(data.vocabulary_json) if family == "vae" else LanguageModel(vocabulary=data.vocabulary_json)
    drawn: dict[str, torch.Tensor] = {}
    draw = sentence_histograms._draw
    monkeypatch.setattr(sentence_histograms, "_draw", lambda nats: (drawn.update(nats), draw(nats))[1])
    (found,) = trainer(SentenceHistograms()).test(model, data, verbose=False)
    if family == "lm":
        assert set(drawn) == {"nll"}
    else:
        assert set(drawn) == {"negative_elbo", "melbo"}
        mean = found["test/reconstruction"] + math.log(90)
        assert float(drawn.pop("melbo").mean()) == pytest.approx(mean, abs=1e-4)
    for name, values in drawn.items():
        assert values.shape == (90,)
        assert float(values.mean()) == pytest.approx(found[f"test/{name}"], abs=1e-4)
        error = float(values.std()) / math.sqrt(90)
        assert error == pytest.approx(found[f"test/{name}/error"], rel=1e-3)
    assert (tmp_path / "plots" / "sentence_likelihoods.png").stat().st_size > 0
