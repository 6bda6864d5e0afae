from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from callbacks.perplexity_conventions import PerplexityConventions
from datamodules.errors import UsageError
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


@pytest.mark.parametrize("family", [SentenceVAE, SentenceMIM, AveragingVAE])
def test_every_perplexity_of_a_family_has_them(family: type[TextModel], corpus: Make, trainer: Make) -> None:
    data = corpus()
    model = made(family, data.vocabulary_json)
    (found,) = trainer(PerplexityConventions()).test(model, data, verbose=False)
    for name in family.perplexities:
        # EOS is likelier than a word, so leaving it out of the likelihood and the tokens makes the rest less likely.
        assert found[f"test/{name}_eos_in_tokens"] < found[f"test/{name}_eos_in_neither"]
        assert found[f"test/{name}_bos_and_eos"] < found[f"test/{name}"]


def test_a_family_without_a_likelihood_has_none(fresh: Make, corpus: Make, trainer: Make) -> None:
    data = corpus()
    (found,) = trainer(PerplexityConventions()).test(fresh(data.vocabulary_json), data, verbose=False)
    assert not any("perplexity" in name for name in found)


def test_an_unknown_convention_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no perplexity convention tokens; there are eos_in_both, .*bos_and_eos"):
        PerplexityConventions(("tokens",))
