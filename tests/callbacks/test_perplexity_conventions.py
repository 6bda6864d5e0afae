from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from callbacks.perplexity_conventions import PerplexityConventions
from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.vocabulary import BOS
from lightning_modules import AveragingVAE, LanguageModel, SentenceMIM, SentenceVAE
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.decoding.text import text_batch
from lightning_modules.text_model import TextModel

Make = Callable[..., Any]
# Whether EOS is in the likelihood, and the tokens beside the words, written out from the papers' conventions.
MEANT = {"eos_in_both": (True, 1), "eos_in_neither": (False, 0), "eos_in_tokens": (False, 1), "bos_and_eos": (True, 2)}


def made(family: type[TextModel], vocabulary: str, **options: Any) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"embedding": EmbeddingConfig(8), "decoder": DecoderConfig(hidden_size=16)}
    if family is not LanguageModel:
        sizes["encoder"] = EncoderConfig(hidden_size=16)
    return family(vocabulary=vocabulary, **sizes, **options).eval()


@pytest.mark.parametrize("size", [256, 7])
@pytest.mark.parametrize("direction", ["left_to_right", "right_to_left"])
def test_of_a_language_model_each_convention_counts_its_tokens(
    direction: Any, size: int, corpus: Make, trainer: Make, test_sentences: list[str]
) -> None:
    data = corpus(eval_sentences=size)
    model = made(LanguageModel, data.vocabulary_json)
    model.decoder_config = DecoderConfig(hidden_size=16, latent=(), direction=direction)
    (found,) = trainer(PerplexityConventions(tuple(MEANT))).test(model, data, verbose=False)
    batch = text_batch(model.vocabulary, test_sentences)
    with torch.no_grad():
        token_nll = model.token_nll(batch, torch.zeros(len(batch), 0)).double()
    words, ends = 0.0, 0.0
    for row, length in zip(token_nll.tolist(), batch.lengths.tolist(), strict=True):
        words, ends = words + sum(row[: length - 1]), ends + row[length - 1]
    count = sum(len(sentence.split()) for sentence in test_sentences)
    for name, (with_end, extra) in MEANT.items():
        nats = words + (ends if with_end else 0.0)
        expected = math.exp(nats / (count + extra * len(test_sentences)))
        assert found[f"test/perplexity_{name}"] == pytest.approx(expected, rel=1e-5)
        assert found[f"test/perplexity_{name}/error"] > 0
    assert found["test/perplexity_eos_in_both"] == pytest.approx(found["test/perplexity"])


def word_by_word(model: Any, batch: TokenBatch, z: torch.Tensor) -> tuple[list[float], list[float]]:
    """-log p of each sentence's words, and of EOS behind them: written one word at a time, one sentence at a time."""
    words, ends = [], []
    for row, length in enumerate(batch.lengths.tolist()):
        nats, state, before = [], None, torch.tensor([BOS])
        for target in batch.targets[row, :length].tolist():
            logits, state = model.step(before, z[row : row + 1], state)
            nats.append(-float(logits.double().log_softmax(1)[0, target]))
            before = torch.tensor([target])
        words.append(sum(nats[:-1]))
        ends.append(nats[-1])
    return words, ends


@pytest.mark.parametrize("family, kls", [(SentenceVAE, 1), (SentenceMIM, 1), (AveragingVAE, 3)])
def test_of_a_family_with_latents_each_convention_counts_its_tokens(
    family: Any, kls: int, corpus: Make, trainer: Make, test_sentences: list[str]
) -> None:
    data = corpus(eval_sentences=7)
    options = {"samples": kls} if family is AveragingVAE else {}
    model = made(family, data.vocabulary_json, **options)
    (found,) = trainer(PerplexityConventions(tuple(MEANT))).test(model, data, verbose=False)
    model.eval()  # the test put it back into training
    batch = text_batch(model.vocabulary, test_sentences)
    with torch.no_grad():
        posterior = model.encode(batch)
        draws = torch.stack([model.sample_latent(batch, posterior, sample) for sample in range(kls)], dim=1)
        words, ends = word_by_word(model, batch, draws if family is AveragingVAE else draws[:, 0])
        kl = float(posterior.kl_from_standard_normal().double().sum())
    count, size = sum(len(sentence.split()) for sentence in test_sentences), len(test_sentences)
    for name, charged in ((name, 1 if name.endswith("once") else kls) for name in family.perplexities):
        for convention, (with_end, extra) in MEANT.items():
            nats = sum(words) + (sum(ends) if with_end else 0.0) + charged * kl
            expected = math.exp(nats / (count + extra * size))
            assert found[f"test/{name}_{convention}"] == pytest.approx(expected, rel=1e-5)
        for error in ("error", "monte_carlo_error"):
            assert found[f"test/{name}_eos_in_both/{error}"] == pytest.approx(found[f"test/{name}/{error}"], rel=1e-5)
        term = family.perplexities[name]
        expected = (sum(words) + charged * kl) / size
        assert found[f"test/{term}_without_eos"] == pytest.approx(expected, rel=1e-5)
        assert found[f"test/{term}_without_eos/error"] > 0
        # The draws move the mean by what they move the perplexity's exponent.
        relative = found[f"test/{name}_eos_in_tokens/monte_carlo_error"] / found[f"test/{name}_eos_in_tokens"]
        of_mean = found[f"test/{term}_without_eos/monte_carlo_error"]
        assert of_mean * size / (count + size) == pytest.approx(relative, rel=1e-4)


def test_nats_without_eos_are_given_only_where_a_convention_leaves_it_out(corpus: Make, trainer: Make) -> None:
    data = corpus()
    model = made(LanguageModel, data.vocabulary_json)
    (found,) = trainer(PerplexityConventions(("bos_and_eos",))).test(model, data, verbose=False)
    assert "test/perplexity_bos_and_eos" in found and not any("without_eos" in name for name in found)


def test_a_family_without_a_likelihood_has_none(fresh: Make, corpus: Make, trainer: Make) -> None:
    data = corpus()
    (found,) = trainer(PerplexityConventions()).test(fresh(data.vocabulary_json), data, verbose=False)
    assert not any("perplexity" in name for name in found)


def test_an_unknown_convention_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no perplexity convention tokens; there are eos_in_both, .*bos_and_eos"):
        PerplexityConventions(("tokens",))
