from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import WITHOUT_VALIDATION, enlarge, fit, learner, sentences, small
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.vocabulary import EOS, UNK
from lightning_modules import Autoencoder, LanguageModel, SentenceVAE
from lightning_modules.backbone.corruption import CorruptionConfig
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.decoding.imputation import beam_width, impute, imputed_together, last_words
from lightning_modules.text_model import TextModel

DIRECTIONS = ["left_to_right", "right_to_left"]


def model(family: type[TextModel], direction: str) -> TextModel:
    made = small(family, decoder=DecoderConfig(hidden_size=13, direction=direction))  # type: ignore[arg-type]  # one of DIRECTIONS
    enlarge(made, 4.0)
    return made


def gaps(batch: TokenBatch, seed: int = 0) -> Tensor:
    return torch.rand(batch.targets.shape, generator=torch.Generator().manual_seed(seed)) < 0.5


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("family", [Autoencoder, SentenceVAE, LanguageModel])
def test_known_words_stay_and_the_missing_ones_are_found_without_being_seen(
    family: type[TextModel], direction: str
) -> None:
    made = model(family, direction).eval()
    batch = TokenBatch.from_ids(sentences(40, most=6))
    missing = gaps(batch)
    found = impute(made, batch, missing, width=3).batch
    word = torch.arange(batch.targets.shape[1]) < batch.lengths[:, None] - 1
    assert torch.equal(found.targets[~(missing & word)], batch.targets[~(missing & word)])
    assert bool((found.targets[missing & word] > EOS).all()) and bool((found.targets[missing & word] != UNK).all())
    assert torch.equal(found.inputs[:, 1:][batch.mask[:, 1:]], found.targets[:, :-1][batch.mask[:, 1:]])
    hidden = replace(batch, targets=batch.targets.masked_fill(missing & word, 7))
    again = impute(made, hidden, missing, width=3).batch
    assert torch.equal(again.targets, found.targets)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_is_reported_is_the_probability_of_the_result_under_its_latent(direction: str) -> None:
    made = model(Autoencoder, direction).eval()
    assert isinstance(made, Autoencoder)
    batch = TokenBatch.from_ids(sentences(30, most=6))
    missing = gaps(batch)
    states = [impute(made, batch, missing, 3, rounds) for rounds in (1, 2, 3)]
    for one, two in itertools.pairwise(states):
        with torch.no_grad():
            moved = made.encode(one.batch).mean
            same_words = -made.reconstruction(one.batch, moved).double()
            new_words = -made.reconstruction(two.batch, moved).double()
        torch.testing.assert_close(two.latent_change[-1], same_words - one.log_probability[-1], rtol=0, atol=1e-4)
        torch.testing.assert_close(two.log_probability[-1], new_words, rtol=0, atol=1e-4)
        assert bool((new_words >= same_words - 1e-5).all())  # the current words are among the candidates


def test_without_the_words_of_the_round_before_a_search_may_lose() -> None:
    made = model(Autoencoder, "left_to_right").eval()
    batch = TokenBatch.from_ids(sentences(200, most=7, least=4))
    missing = gaps(batch)
    outcomes = {}
    for keep in (True, False):
        found = impute(made, batch, missing, width=1, rounds=3, keep=keep)
        before = found.log_probability[:-1] + found.latent_change
        outcomes[keep] = float((found.log_probability[1:] - before).min())
    assert outcomes[True] >= 0 > outcomes[False]


@WITHOUT_VALIDATION
def test_a_model_that_knows_its_sentences_finds_the_missing_words() -> None:
    torch.manual_seed(0)
    known = sentences(32, most=6, least=4)
    made = learner(Autoencoder, corruption=CorruptionConfig(unknown=0.3))
    fit(made, known, epochs=250)
    batch = TokenBatch.from_ids(known)
    missing = last_words(batch, 0.2)
    found = impute(made.eval(), batch, missing, width=5).batch
    right = (found.targets == batch.targets)[missing].float().mean()
    assert float(right) > 0.8


def test_a_language_model_takes_one_search() -> None:
    made = model(LanguageModel, "left_to_right").eval()
    assert isinstance(made, LanguageModel)
    batch = TokenBatch.from_ids(sentences(10))
    found = impute(made, batch, last_words(batch, 0.5), width=15)
    with torch.no_grad():
        torch.testing.assert_close(found.log_probability[0], -made.nll(found.batch)[0].double(), rtol=0, atol=1e-4)
    assert found.log_probability.shape == (1, 10) and found.latent_change.shape == (0, 10)


@pytest.mark.parametrize(
    ("share", "counts"),
    [(0.2, [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]), (1.0, list(range(11))), (0.5, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])],
)
def test_the_final_share_of_the_words_is_rounded_up(share: float, counts: list[int]) -> None:
    batch = TokenBatch.from_ids([[7] * count for count in range(11)])
    missing = last_words(batch, share)
    assert missing.sum(1).tolist() == counts
    for row, count in enumerate(counts):
        assert missing[row].nonzero().flatten().tolist() == list(range(row - count, row))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="share"):
        last_words(TokenBatch.from_ids([[7]]), share)


def test_no_rounds_are_refused() -> None:
    batch = TokenBatch.from_ids([[7]])
    with pytest.raises(UsageError, match="rounds"):
        impute(model(Autoencoder, "left_to_right"), batch, last_words(batch, 1.0), 2, rounds=0)


def test_the_default_beams_are_the_papers() -> None:
    """3 steps of beam 5 for the VAE, beam 15 for the language model."""
    batch = TokenBatch.from_ids(sentences(20, most=6))
    missing = gaps(batch)
    for family, width in ((SentenceVAE, 5), (LanguageModel, 15)):
        made = model(family, "left_to_right")
        assert beam_width(made, 3) == width
        asked, usual = impute(made, batch, missing, width), impute(made, batch, missing)
        assert torch.equal(asked.log_probability, usual.log_probability)
    assert beam_width(model(LanguageModel, "left_to_right"), 2) == 10


@pytest.mark.parametrize(("fits", "most"), [(10**9, 512), (30, 10), (1, 1)])
def test_sentences_of_one_length_go_together_as_many_as_fit(
    monkeypatch: pytest.MonkeyPatch, fits: int, most: int
) -> None:
    made = model(LanguageModel, "left_to_right")
    monkeypatch.setattr(made.backbone, "tokens_at_once", lambda device: fits)
    lengths = np.random.default_rng(0).integers(1, 30, size=700)
    groups = imputed_together(made, lengths, width=3)
    assert sorted(np.concatenate(groups).tolist()) == list(range(700))
    assert all(len(group) <= most for group in groups) and len(groups) == -(-700 // most)
    assert np.all(np.diff(lengths[np.concatenate(groups)]) >= 0)
