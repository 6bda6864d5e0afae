"""Answers by their definition: distances, and what is written past the question."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from models import small
from torch import Tensor

from datamodules.errors import UsageError
from datamodules.vocabulary import UNK, VocabularyConfig, build_vocabulary
from lightning_modules import Autoencoder, SentenceVAE, TextAutoencoder
from lightning_modules.decoding import answers as module
from lightning_modules.decoding.answers import answer_distances, written_answers
from lightning_modules.decoding.decode import DecodingConfig
from lightning_modules.decoding.encoding import encode_text
from lightning_modules.decoding.text import text_batch

WITH_MARK = build_vocabulary(["w1 w2 w3 w4 ?"], VocabularyConfig()).to_str()
QUESTIONS = ["w1 w2", "w3 w4 ?", "w1 w2"]
ANSWERS = ["w5", "w6 w7 w8", "w5 w9"]


def latent(model: TextAutoencoder, text: str, row: int, stream: str) -> tuple[Tensor, Tensor]:
    """z of one sentence, and the standard deviation that counts."""
    batch = replace(text_batch(model.vocabulary, [text]), index=torch.tensor([row]))
    with torch.no_grad():
        posterior = model.eval().encode(batch)
    if not model.stochastic:
        return posterior.mean[0], torch.ones_like(posterior.mean[0])
    return posterior.sample(model.random(batch).normal(stream, model.latent_size))[0], posterior.std[0]


@pytest.mark.parametrize("family", [SentenceVAE, Autoencoder])
def test_distances_by_their_definition(family: type[TextAutoencoder]) -> None:
    model = small(family)
    model.seed = 3
    found = answer_distances(model, QUESTIONS, ANSWERS, seed=3)
    unknown = model.vocabulary.id_to_token(UNK)
    for row, (question, answer) in enumerate(zip(("w1 w2", "w3 w4", "w1 w2"), ANSWERS, strict=True)):
        masked = " ".join([question, "?", *[unknown] * len(answer.split())])
        z_unknown, scale = latent(model, masked, row, "question")
        z, _ = latent(model, f"{question} ? {answer}", row, "answer")
        assert float(found[row]) == pytest.approx(float((((z_unknown - z) / scale) ** 2).sum() ** 0.5), rel=1e-4)


def test_an_answer_of_unknown_words_is_as_near_as_can_be_without_draws() -> None:
    assert answer_distances(small(Autoencoder), ["w1 w2"], ["<unk> nowhere"]).tolist() == [0.0]


def test_an_answer_is_what_follows_the_first_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["w1 ? a b ? c", "no mark", "w2 ? x <br> y < 3", "w3 ?", "? yes", "? a ? b", "w ? i <3 you , 6 > 5 <br />"]
    monkeypatch.setattr(module, "decode", lambda *given: texts)
    written = written_answers(small(SentenceVAE, vocabulary=WITH_MARK), ["w1"] * len(texts), 5, DecodingConfig())
    assert written == ["a b ? c", "", "x y < 3", "", "yes", "a ? b", "i <3 you , 6 > 5"]


def test_a_model_without_the_mark_answers_nothing() -> None:
    with pytest.raises(UsageError, match=r"\? is no word"):
        written_answers(small(SentenceVAE), ["w1"], 5, DecodingConfig())


@pytest.mark.parametrize("family", [SentenceVAE, Autoencoder])
def test_answers_are_asked_for_by_unknown_words(family: type[TextAutoencoder], monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(family, vocabulary=WITH_MARK)
    given: list[Tensor] = []
    monkeypatch.setattr(module, "decode", lambda model, z, *others: given.append(z) or [""] * len(z))
    written_answers(model, QUESTIONS[:2], 4, DecodingConfig(), seed=8)
    masked = [f"{question} ? <unk> <unk> <unk> <unk>" for question in ("w1 w2", "w3 w4")]
    posterior = encode_text(model, masked)
    model.seed = 8
    true = [latent(model, text, row, "question")[0] for row, text in enumerate(masked)]
    torch.testing.assert_close(given[0], torch.stack(true))
    assert torch.equal(given[0], posterior.mean) != model.stochastic
