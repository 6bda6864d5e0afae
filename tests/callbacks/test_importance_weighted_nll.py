from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from callbacks import ImportanceWeightedNLL
from datamodules import Reviews
from datamodules.errors import UsageError
from lightning_modules import Autoencoder, AveragingVAE, LanguageModel, SentenceVAE
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.decoding.text import text_batch
from lightning_modules.likelihood import log_weights
from lightning_modules.text_model import TextModel

Make = Callable[..., Any]
SAMPLES = 20


def made(family: type[TextModel], data: Reviews, **options: Any) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"embedding": EmbeddingConfig(8), "decoder": DecoderConfig(hidden_size=16)}
    if family is not LanguageModel:
        sizes["encoder"] = EncoderConfig(hidden_size=16)
    return family(vocabulary=data.vocabulary_json, **sizes, **options).eval()


@pytest.mark.parametrize("memory", [512.0, 0.5])
def test_the_mean_over_the_split_and_its_errors(
    memory: float, corpus: Make, trainer: Make, test_sentences: list[str]
) -> None:
    data = corpus()
    model = made(SentenceVAE, data)
    measure = ImportanceWeightedNLL(SAMPLES, memory=memory)
    (found,) = trainer(measure).test(model, data, verbose=False)
    batch = text_batch(model.vocabulary, test_sentences)  # numbered as in the split
    with torch.no_grad():
        expected = log_weights(model, batch, SAMPLES)
    nll, tokens, count = expected.nll(), int(batch.lengths.sum()), len(test_sentences)
    assert found["test/nll_iw"] == pytest.approx(float(nll.mean()), abs=1e-4)
    assert found["test/nll_iw/error"] == pytest.approx(float(nll.std()) / math.sqrt(count), rel=1e-4)
    error = float(expected.error().square().sum().sqrt()) / count
    assert found["test/nll_iw/monte_carlo_error"] == pytest.approx(error, rel=1e-3)
    assert found["test/perplexity_iw"] == pytest.approx(math.exp(float(nll.sum()) / tokens), rel=1e-4)
    assert found["test/nll_iw"] <= found["test/negative_elbo"] + 3 * error


def test_conventions_keep_the_end_of_each_sample_apart(corpus: Make, trainer: Make, test_sentences: list[str]) -> None:
    data = corpus()
    model = made(SentenceVAE, data)
    with torch.no_grad():
        model.backbone.posterior.mean.weight.mul_(20)  # so that the samples differ
        model.backbone.decoder.output.weight.mul_(5)
    measure = ImportanceWeightedNLL(SAMPLES, conventions=("eos_in_neither", "bos_and_eos"))
    (found,) = trainer(measure).test(model, data, verbose=False)
    # By the definition: the words' probability under each sample, its mean, the logarithm of that.
    words = []
    for row, sentence in enumerate(test_sentences):
        batch = replace(text_batch(model.vocabulary, [sentence]), index=torch.tensor([row]))
        with torch.no_grad():
            weights = log_weights(model, batch, SAMPLES)
        likelihoods = torch.exp(weights.ratios.sum(1) - weights.reconstruction + weights.ends)
        words.append(-math.log(float(likelihoods.mean())))
    lengths = [len(sentence.split()) for sentence in test_sentences]
    expected = math.exp(sum(words) / sum(lengths))
    assert found["test/perplexity_iw_eos_in_neither"] == pytest.approx(expected, rel=1e-4)
    nats = found["test/nll_iw"] * len(lengths)
    expected = math.exp(nats / (sum(lengths) + 2 * len(lengths)))
    assert found["test/perplexity_iw_bos_and_eos"] == pytest.approx(expected, rel=1e-4)
    assert "test/perplexity_iw_eos_in_tokens" not in found
    assert found["test/nll_iw_without_eos"] == pytest.approx(sum(words) / len(words), rel=1e-4)
    with torch.no_grad():
        weights = log_weights(model, text_batch(model.vocabulary, test_sentences), SAMPLES)
    for with_end, name in ((True, "nll_iw"), (False, "nll_iw_without_eos")):
        error = float(weights.error(with_end).square().sum().sqrt()) / len(words)
        assert found[f"test/{name}/monte_carlo_error"] == pytest.approx(error, rel=1e-3)
    for kind in ("error", "monte_carlo_error"):
        ratio = found[f"test/perplexity_iw_eos_in_neither/{kind}"] / found[f"test/perplexity_iw/{kind}"]
        assert 0.2 < ratio < 5


def test_products_in_bfloat16_are_close(corpus: Make, trainer: Make) -> None:
    data = corpus()
    model = made(SentenceVAE, data)
    plain, rounded = (
        trainer(ImportanceWeightedNLL(SAMPLES, bf16=bf16)).test(model, data, verbose=False)[0]["test/nll_iw"]
        for bf16 in (False, True)
    )
    assert plain != rounded and rounded == pytest.approx(plain, abs=0.05)


def test_more_samples_than_a_sentence_has_are_refused_before_the_test(corpus: Make, trainer: Make) -> None:
    data = corpus()
    for family, options, most in ((SentenceVAE, {}, 65_536), (AveragingVAE, {"samples": 3}, 21_845)):
        for stage in ("fit", "test"):
            testing = trainer(ImportanceWeightedNLL(most + 1), max_epochs=1)
            with pytest.raises(UsageError, match=rf"samples is {most + 1:,}: of this model .* {most:,} at most"):
                getattr(testing, stage)(made(family, data, **options), datamodule=data)
            assert not testing.callback_metrics
    ImportanceWeightedNLL(most).setup(testing, made(family, data, **options), "test")
    ImportanceWeightedNLL(most + 1).setup(testing, made(Autoencoder, data), "test")  # has nothing to weigh


def test_of_a_part_of_the_split(corpus: Make, trainer: Make, test_sentences: list[str]) -> None:
    data = corpus()
    model = made(SentenceVAE, data)
    whole, part = (
        trainer(ImportanceWeightedNLL(5, sentences=count)).test(model, data, verbose=False)[0] for count in (None, 30)
    )
    assert part["test/nll_iw"] != whole["test/nll_iw"]
    assert part["test/nll_iw/error"] == pytest.approx(whole["test/nll_iw/error"] * math.sqrt(3), rel=0.5)
    assert (part["test/nll_iw/sentences"], whole["test/nll_iw/sentences"]) == (30, 90)
    # Each is compared with the truth of its own sentences.
    rows = np.random.default_rng(0).choice(90, size=30, replace=False)
    for found, sentences in ((whole, test_sentences), (part, [test_sentences[row] for row in rows])):
        truth = -np.mean([data.grammar.log_probability(sentence) for sentence in sentences])
        assert found["test/nll_iw/floor"] == pytest.approx(truth, rel=1e-5)


def test_of_the_averaging_vae_both_counts(corpus: Make, trainer: Make, test_sentences: list[str]) -> None:
    data = corpus()
    model = made(AveragingVAE, data, samples=3)
    with torch.no_grad():
        model.backbone.posterior.mean.bias.fill_(0.5)  # so that the KL is not nothing
    (found,) = trainer(ImportanceWeightedNLL(10)).test(model, data, verbose=False)
    with torch.no_grad():
        weights = log_weights(model, text_batch(model.vocabulary, test_sentences), 10)
    for name, once in (("nll_iw", False), ("nll_iw_kl_once", True)):
        assert found[f"test/{name}"] == pytest.approx(float(weights.nll(ratio_once=once).mean()), abs=1e-4)
    assert found["test/nll_iw"] - found["test/nll_iw_kl_once"] > 1


@pytest.mark.parametrize("family", [LanguageModel, Autoencoder])
def test_nothing_is_done_where_there_is_nothing_to_weigh(family: type[TextModel], corpus: Make, trainer: Make) -> None:
    data = corpus()
    (found,) = trainer(ImportanceWeightedNLL(5)).test(made(family, data), data, verbose=False)
    assert not any("_iw" in name for name in found)


def test_a_fit_measures_it_on_its_cadence(corpus: Make, trainer: Make) -> None:
    data = corpus()
    seen: list[tuple[int, bool]] = []

    class Look(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append((trainer.current_epoch, "val/nll_iw" in trainer.callback_metrics))
            trainer.callback_metrics.pop("val/nll_iw", None)

    measure = ImportanceWeightedNLL(5, sentences=10, every_n_epochs=2)
    trainer(measure, Look(), max_epochs=4, limit_train_batches=1).fit(made(SentenceVAE, data).train(), data)
    assert seen[1][1] and not seen[0][1]


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(UsageError, match="eos_in_neither"):
        ImportanceWeightedNLL(conventions=("eos",))


@pytest.mark.parametrize("options", [{"samples": 1}, {"sentences": 0}, {"memory": 0.0}, {"every_n_epochs": 0}])
def test_impossible_options_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        ImportanceWeightedNLL(**options)
