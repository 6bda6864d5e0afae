from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from nltk.translate.bleu_score import corpus_bleu

from callbacks import Reconstructions, TextQuality
from callbacks.quantities import QUANTITIES
from callbacks.text_quality import distinct, prior_sentences, self_bleu
from datamodules.errors import UsageError
from lightning_modules import AveragingVAE, LanguageModel
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.decoding.search import greedy, sample
from lightning_modules.decoding.text import text_batch, to_text
from lightning_modules.metrics.bleu import CorpusBleuError
from lightning_modules.randomness import SentenceRandom

Make = Callable[..., Any]
WAYS = ("greedy_mean", "sampled_mean", "greedy_posterior", "sampled_posterior")
FEW = {"samples": 40, "hypotheses": 5}


def counted(sentence: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(sentence[start : start + n]) for start in range(len(sentence) - n + 1))


def corpus_bleu_by_hand(written: Sequence[str], true: Sequence[str], most: int) -> float:
    logarithms = 0.0
    for n in range(1, most + 1):
        pairs = [(counted(a.split(), n), counted(b.split(), n)) for a, b in zip(written, true, strict=True)]
        matched, total = sum((a & b).total() for a, b in pairs), sum(a.total() for a, _ in pairs)
        if matched == 0:
            return 0.0
        logarithms += math.log(matched / total) / most
    mine, theirs = (sum(len(sentence.split()) for sentence in side) for side in (written, true))
    return math.exp(logarithms + min(0.0, 1 - theirs / mine))


def sentence_bleu_by_hand(mine: list[str], others: list[list[str]]) -> float:
    if not mine:
        return 0.0
    logarithms = 0.0
    for n in range(1, 5):
        grams = counted(mine, n)
        matched = sum(min(count, max(counted(o, n)[gram] for o in others)) for gram, count in grams.items())
        if n == 1 and matched == 0:
            return 0.0
        logarithms += math.log((matched or 0.1) / max(1, grams.total())) / 4
    length = min((len(other) for other in others), key=lambda theirs: (abs(theirs - len(mine)), theirs))
    return math.exp(logarithms + min(0.0, 1 - length / len(mine)))


@pytest.fixture
def sampling(model: Any, fresh: Make, corpus: Make) -> Any:
    """The trained model, with a posterior about its means that changes some of its sentences."""
    noisy = fresh(corpus().vocabulary_json)
    noisy.load_state_dict(model.state_dict())
    noisy.latent, noisy.stochastic = "sample", True
    with torch.no_grad():
        noisy.backbone.posterior.scale.bias.fill_(-3.0)
    return noisy.eval()


def one_at_a_time(model: Any, sentences: Sequence[str]) -> dict[str, list[str]]:
    """The four ways to decode each sentence, alone, from the numbers that belong to its place in the split."""
    written: dict[str, list[str]] = {way: [] for way in WAYS}
    for row, sentence in enumerate(sentences):
        random = SentenceRandom(torch.tensor([row]), model.seed, -1)
        with torch.no_grad():
            posterior = model.encode(text_batch(model.vocabulary, [sentence]))
        draws = [random.normal("posterior", model.latent_size, sample=n) for n in range(model.latents_per_sentence)]
        drawn = [posterior.mean + torch.exp(posterior.log_variance / 2) * noise for noise in draws]
        z = torch.stack(drawn, dim=1) if len(drawn) > 1 else drawn[0]
        for start, latent in (("mean", posterior.mean), ("posterior", z)):
            written[f"greedy_{start}"] += to_text(model, greedy(model, latent))
            written[f"sampled_{start}"] += to_text(model, sample(model, latent, random))
    return written


def check_reconstructions(figures: dict[str, float], written: dict[str, list[str]], true: list[str]) -> None:
    for way, sentences in written.items():
        exact = sum(mine == theirs for mine, theirs in zip(sentences, true, strict=True)) / len(true)
        assert figures[f"test/exact_{way}"] == pytest.approx(exact, abs=1e-6)
        binomial = (exact * (1 - exact) / (len(true) - 1)) ** 0.5
        assert figures[f"test/exact_{way}/error"] == pytest.approx(binomial, abs=1e-6)
        error = CorpusBleuError(1)
        error.update(sentences, true)
        assert figures[f"test/bleu_1_{way}/error"] == pytest.approx(float(error.compute()), abs=1e-6, nan_ok=True)
        for n in (1, 2, 3, 4):
            expected = corpus_bleu_by_hand(sentences, true, n)
            assert figures[f"test/bleu_{n}_{way}"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("eval_sentences", [7, 256])
def test_reconstructions_by_definition(
    sampling: Any, corpus: Make, trainer: Make, test_sentences: list[str], eval_sentences: int
) -> None:
    written = one_at_a_time(sampling, test_sentences)
    assert len(set(map(tuple, written.values()))) == 4  # else nothing is tested
    callbacks = [TextQuality(**FEW), Reconstructions()]
    [figures] = trainer(*callbacks).test(sampling, datamodule=corpus(eval_sentences), verbose=False)
    check_reconstructions(figures, written, test_sentences)
    assert figures["test/bleu_4_greedy_mean"] == figures["test/reconstruction_bleu"]
    assert figures["test/exact_greedy_mean"] == figures["test/reconstruction_exact"]
    best = figures["test/bleu_4_greedy_mean"]
    assert 0 < figures["test/bleu_4_sampled_posterior"] < best < figures["test/bleu_1_greedy_mean"] < 1
    names = {name.removeprefix("test/") for name in figures if "reconstruction" not in name}
    names = {name for name in names if not name.endswith(("/sentences", "/samples", "/error"))}
    assert names <= QUANTITIES.keys() and len(names) == 4 * 5 + 5


def test_the_hand_written_bleu_is_that_of_nltk(sampling: Any, test_sentences: list[str]) -> None:
    written = one_at_a_time(sampling, test_sentences)["sampled_posterior"]
    pairs = [(a, b) for a, b in zip(written, test_sentences, strict=True) if len(a.split()) >= 4]
    for n in (1, 2, 3, 4):  # shorter ones count as one n-gram in NLTK
        theirs = corpus_bleu([[b.split()] for _, b in pairs], [a.split() for a, _ in pairs], weights=[1 / n] * n)
        assert corpus_bleu_by_hand([a for a, _ in pairs], [b for _, b in pairs], n) == pytest.approx(theirs, abs=1e-12)


def test_a_decoder_of_several_latents_is_told_of_as_many_draws(
    corpus: Make, trainer: Make, test_sentences: list[str]
) -> None:
    data = corpus()
    torch.manual_seed(0)
    model = AveragingVAE(
        samples=3,
        vocabulary=data.vocabulary_json,
        embedding=EmbeddingConfig(8),
        encoder=EncoderConfig(hidden_size=16),
        decoder=DecoderConfig(hidden_size=16, max_words=12),
    ).eval()
    with torch.no_grad():
        model.backbone.decoder.to_state.weight.mul_(20)  # so that words depend on the latents
    written = one_at_a_time(model, test_sentences)
    assert written["greedy_posterior"] != written["greedy_mean"]
    [figures] = trainer(TextQuality(**FEW)).test(model, datamodule=data, verbose=False)
    check_reconstructions(figures, written, test_sentences)


def test_a_deterministic_model_has_no_posterior(
    model: Any, corpus: Make, trainer: Make, test_sentences: list[str]
) -> None:
    [figures] = trainer(TextQuality(**FEW)).test(model, datamodule=corpus(), verbose=False)
    assert not any("posterior" in name for name in figures)
    written = one_at_a_time(model, test_sentences)
    check_reconstructions(figures, {way: written[way] for way in WAYS[:2]}, test_sentences)


def test_samples_by_definition(model: Any, corpus: Make, trainer: Make, test_sentences: list[str]) -> None:
    count = 600  # more than are decoded at a time
    written = []
    for row in range(count):
        random = SentenceRandom(torch.tensor([row]), model.seed, -1)
        written += to_text(model, sample(model, random.normal("prior samples", model.latent_size), random))
    [figures] = trainer(TextQuality(count, hypotheses=8)).test(model, datamodule=corpus(), verbose=False)
    assert prior_sentences(model, count) == written
    for n in (1, 2):
        for end, sentences in (("", written), ("_data", test_sentences)):
            grams = [gram for sentence in sentences for gram in counted(sentence.split(), n).elements()]
            share = len(set(grams)) / len(grams)
            assert figures[f"test/distinct_{n}{end}"] == pytest.approx(share, abs=1e-6)
            assert 0 < share < 1
    assert figures["test/self_bleu"] == pytest.approx(self_bleu(written, 8), abs=1e-6)
    assert 0 < figures["test/self_bleu"] < 1


def test_the_data_is_measured_on_as_many_sentences(
    model: Any, corpus: Make, trainer: Make, test_sentences: list[str]
) -> None:
    [figures] = trainer(TextQuality(**FEW)).test(model, datamodule=corpus(), verbose=False)
    rows = np.random.default_rng(0).choice(len(test_sentences), size=FEW["samples"], replace=False)
    part = [test_sentences[row] for row in rows]
    assert figures["test/distinct_2_data"] == pytest.approx(distinct(part, 2), abs=1e-6)
    assert distinct(part, 2) > distinct(test_sentences, 2)


def test_known_shares_of_distinct_ngrams() -> None:
    assert distinct(["a b a", "b a", ""], 1) == 2 / 5
    assert distinct(["a b a", "b a", "c"], 2) == 2 / 3  # ab, ba, ba: none across sentences
    assert distinct(["a b", "c d"], 2) == 1
    assert distinct(["a", ""], 2) == 0


def test_self_bleu_by_hand(test_sentences: list[str]) -> None:
    sentences = ["", "it was", "it was good", "it was good and cheap", "zebras yodel", "it was good", "cheap"]
    sentences += test_sentences[:20]
    words = [sentence.split() for sentence in sentences]
    scores = [sentence_bleu_by_hand(mine, words[:row] + words[row + 1 :]) for row, mine in enumerate(words)]
    assert self_bleu(sentences, 1000) == pytest.approx(sum(scores) / len(scores), abs=1e-12)
    assert scores[0] == 0 and scores[2] == pytest.approx(0.1**0.25) and scores[4] == 0 < scores[3] < 1
    # Of some, it is the mean of as many of these scores; which, is always the same.
    part = self_bleu(sentences, 3)
    assert part == self_bleu(sentences, 3) != self_bleu(sentences, 3, seed=1)
    one = self_bleu(sentences, 1)
    assert any(one == pytest.approx(score, abs=1e-12) for score in scores)
    assert self_bleu(["a b c d e"] * 4, 4) == pytest.approx(1)


def test_a_second_test_starts_anew(sampling: Any, fresh: Make, corpus: Make, trainer: Make) -> None:
    testing, data = trainer(TextQuality(**FEW)), corpus()
    first = testing.test(sampling, datamodule=data, verbose=False)
    other = testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    assert testing.test(sampling, datamodule=data, verbose=False) == first
    assert other[0]["test/bleu_1_greedy_mean"] < first[0]["test/bleu_1_greedy_mean"]
    assert "test/bleu_1_greedy_posterior" not in other[0]


def test_another_seed_draws_other_samples(sampling: Any, corpus: Make, trainer: Make) -> None:
    [first] = trainer(TextQuality(**FEW)).test(sampling, datamodule=corpus(), verbose=False)
    sampling.seed = 1
    [other] = trainer(TextQuality(**FEW)).test(sampling, datamodule=corpus(), verbose=False)
    drawn = {name for name in first if "sampled" in name or "posterior" in name} | {"test/distinct_2"}
    assert all(first[name] != other[name] for name in drawn if "bleu" in name)
    assert first["test/bleu_4_greedy_mean"] == other["test/bleu_4_greedy_mean"]
    assert first["test/distinct_2_data"] == other["test/distinct_2_data"]


def test_of_a_language_model_only_its_samples(corpus: Make, trainer: Make) -> None:
    data = corpus()
    torch.manual_seed(0)
    model = LanguageModel(
        vocabulary=data.vocabulary_json, embedding=EmbeddingConfig(8), decoder=DecoderConfig(hidden_size=16)
    )
    [figures] = trainer(TextQuality(**FEW)).test(model, datamodule=data, verbose=False)
    mine = {"distinct_1", "distinct_2", "distinct_1_data", "distinct_2_data", "self_bleu"}
    assert {name for name in figures if not name.startswith(("test/nll", "test/perplexity"))} == {
        f"test/{name}{note}" for name in mine for note in ("", "/sentences")
    } | {"test/self_bleu/samples"}
    assert figures["test/self_bleu/samples"] == FEW["samples"]  # against which each is held


@pytest.mark.parametrize("options", [{"samples": 1}, {"hypotheses": 0}])
def test_impossible_options_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        TextQuality(**options)
