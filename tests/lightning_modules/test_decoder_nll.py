"""The nats of each token: what they are, in which precision, and that the probabilities of all sentences sum to 1."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from decoders import codes, model
from models import FIRST_WORD, one_by_one, sentences

from datamodules.batch import TokenBatch
from datamodules.vocabulary import BOS, EOS, closed_vocabulary

RAGGED = [*sentences(6), [], [5, 5, 5, 5, 5, 5, 5, 5, 5]]


@pytest.mark.parametrize("direction", ["left_to_right", "right_to_left"])
def test_the_nll_is_minus_the_log_softmax_at_each_real_token(direction: Any) -> None:
    made, z = model(direction=direction), codes(len(RAGGED))
    nll = made.token_nll(TokenBatch.from_ids(RAGGED), z)
    assert nll.shape == (len(RAGGED), 10)
    assert nll.dtype == torch.float32
    for row, words in enumerate(RAGGED):
        written = words if direction == "left_to_right" else words[::-1]
        inputs = torch.tensor([[BOS, *written]])
        decode = made.backbone.decoder
        for step, target in enumerate([*written, EOS]):
            logits = decode.logits(decode(inputs[:, : step + 1], z[row : row + 1])[:, -1])[0].double()
            expected = float(torch.log(torch.exp(logits).sum()) - logits[target])
            assert float(nll[row, step]) == pytest.approx(expected, abs=1e-4)
        assert not nll[row, len(words) + 1 :].any()
    torch.testing.assert_close(made.reconstruction(TokenBatch.from_ids(RAGGED), z), nll.sum(1))


@pytest.mark.parametrize("direction", ["left_to_right", "right_to_left"])
def test_the_nll_of_a_sentence_does_not_change_with_its_companions(direction: Any) -> None:
    made, z = model(direction=direction), codes(len(RAGGED))
    together = made.reconstruction(TokenBatch.from_ids(RAGGED), z)
    alone = [made.reconstruction(batch, z[row : row + 1]) for row, batch in enumerate(one_by_one(RAGGED))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_writing_right_to_left_is_writing_the_reversed_sentence_left_to_right() -> None:
    forward, backward, z = model(), model(direction="right_to_left"), codes(len(RAGGED))
    backward.load_state_dict(forward.state_dict())
    reversed_words = [words[::-1] for words in RAGGED]
    mirrored = backward.token_nll(TokenBatch.from_ids(RAGGED), z)
    torch.testing.assert_close(mirrored, forward.token_nll(TokenBatch.from_ids(reversed_words), z), rtol=0, atol=1e-6)
    straight = forward.reconstruction(TokenBatch.from_ids(RAGGED), z)
    assert float((mirrored.sum(1) - straight).abs().max()) > 0.1


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_nll_is_float32_under_autocast(precision: torch.dtype) -> None:
    made, z = model(), codes(len(RAGGED))
    with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
        nll = made.token_nll(TokenBatch.from_ids(RAGGED), z)
    assert nll.dtype == torch.float32
    assert bool(nll.isfinite().all())


def test_the_nll_is_float64_in_a_float64_model() -> None:
    made = model().double()
    batch = TokenBatch.from_ids(RAGGED)
    assert made.token_nll(batch, codes(len(RAGGED)).double()).dtype == torch.float64
    assert made.reconstruction(batch, made.encode(batch).mean).dtype == torch.float64


@pytest.mark.parametrize("direction, tied", [("left_to_right", False), ("right_to_left", True)])
def test_the_probabilities_of_all_sentences_sum_to_1(direction: Any, tied: bool) -> None:
    """Every sentence of up to 2 words, and whatever begins with 3, for every word that the output layer has."""
    vocabulary = str(closed_vocabulary(["a", "b"]).to_str())
    made = model(vocabulary, 1.5, direction=direction, tied=tied)
    words = [word for word in range(FIRST_WORD + 2) if word != EOS]
    complete = [list(row) for length in range(3) for row in product(words, repeat=length)]
    begun = [list(row) for row in product(words, repeat=3)]
    z = codes(1)
    total = float(torch.exp(-made.reconstruction(TokenBatch.from_ids(complete), z.expand(len(complete), -1))).sum())
    nll = made.token_nll(TokenBatch.from_ids(begun), z.expand(len(begun), -1))
    cut_off = float(torch.exp(-nll[:, :3].sum(1)).sum())
    assert total > 0.05 and cut_off > 0.05
    assert total + cut_off == pytest.approx(1, abs=1e-5)
