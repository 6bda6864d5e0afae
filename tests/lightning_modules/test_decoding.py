from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import WORDS, before_end, enlarge, sentences, small
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.vocabulary import BLANK, BOS, EOS, PAD, SPECIAL_TOKENS, UNK
from lightning_modules import Autoencoder
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.decoding.search import evaluating, greedy, reconstruct, sample
from lightning_modules.decoding.text import batch_text, text_batch, to_text
from lightning_modules.randomness import SentenceRandom

FORBIDDEN = [PAD, BOS, BLANK]
LIMIT = 9


def model(end: float = 0.0, **options: Any) -> Autoencoder:
    """A decoder whose sentences differ much with z; the higher `end`, the shorter they are."""
    made = small(Autoencoder, decoder=DecoderConfig(**{"hidden_size": 13, "max_words": LIMIT} | options))
    enlarge(made, 6.0)
    with torch.no_grad():
        made.backbone.decoder.output.bias[EOS] += end
    return made


def latents(count: int) -> Tensor:
    return 2 * torch.randn(count, 6, generator=torch.Generator().manual_seed(3))


def random(count: int, seed: int = 0) -> SentenceRandom:
    return SentenceRandom(torch.arange(count), seed, -1)


def count_steps(made: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls: list[int] = []
    step = made.backbone.decoder.step

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return step(*arguments)

    monkeypatch.setattr(made.backbone.decoder, "step", counted)
    return lambda: len(calls)


@torch.no_grad()
def next_word_logits(made: Autoencoder, written: list[int], z: Tensor) -> Tensor:
    """What the decoder says after reading the whole beginning anew."""
    decoder = made.backbone.decoder
    logits = decoder.logits(decoder(torch.tensor([[BOS, *written]]), z[None])[:, -1])[0]
    logits[FORBIDDEN] = float("-inf")
    return logits


def most_probable(made: Autoencoder, z: Tensor, limit: int) -> list[int]:
    written: list[int] = []
    while len(written) < limit:
        word = max(range(len(WORDS) + len(SPECIAL_TOKENS)), key=next_word_logits(made, written, z).tolist().__getitem__)
        if word == EOS:
            break
        written.append(word)
    return written


@pytest.mark.parametrize(
    "options",
    [{}, {"cell": "gru", "layers": 2, "latent": ("concat",)}, {"latent": ("state", "add"), "initial_state": "both"}],
)
def test_greedy_takes_the_most_probable_word_after_what_it_wrote(options: dict[str, Any]) -> None:
    made, z = model(end=1.0, **options).eval(), latents(40)
    written = [before_end(row, EOS) for row in greedy(made, z)]
    assert written == [most_probable(made, code, LIMIT) for code in z]
    lengths = {len(words) for words in written}
    assert len(lengths) > 1 and max(lengths) == LIMIT  # ended ones, and one that was cut off


def test_a_sentence_is_written_the_same_alone_and_in_company() -> None:
    made, z = model(end=1.0), latents(20)
    together = [before_end(row, EOS) for row in greedy(made, z)]
    assert together == [before_end(greedy(made, code[None])[0], EOS) for code in z]


def test_behind_the_end_is_padding() -> None:
    made = model(end=1.0)
    for ids in (greedy(made, latents(40)), sample(made, latents(40), random(40))):
        for row in ids.tolist():
            assert row.count(EOS) == 1
            assert set(row[row.index(EOS) + 1 :]) <= {PAD}


@pytest.mark.parametrize("limit", [1, 4, LIMIT, None])
def test_sentences_that_do_not_end_are_cut_off_at_the_limit(limit: int | None) -> None:
    made, words = model(end=-1e4), limit or LIMIT
    for ids in (greedy(made, latents(5), limit), sample(made, latents(5), random(5), max_words=limit)):
        assert ids.shape == (5, words + 1)
        assert bool((ids[:, :-1] != EOS).all()) and bool((ids[:, -1] == EOS).all())


@pytest.mark.parametrize("limit", [0, -1, 10**9])
def test_length_that_cannot_be_kept_is_named(limit: int) -> None:
    with pytest.raises(UsageError, match=f"max_words is {limit}: give"):
        greedy(model(end=1.0), latents(2), limit)
    with pytest.raises(UsageError, match=f"max_words is {limit}: give"):
        DecoderConfig(max_words=limit)


def test_writing_stops_when_the_longest_sentence_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    made, z = model(end=1.0).eval(), latents(40)
    lengths = torch.tensor([len(most_probable(made, code, LIMIT)) for code in z])
    ending = lengths < LIMIT
    longest = int(lengths[ending].max())
    assert 0 < longest < LIMIT and len(lengths[ending].unique()) > 1
    steps = count_steps(made, monkeypatch)
    assert greedy(made, z[ending]).shape == (int(ending.sum()), longest + 1)
    assert steps() == longest + 1


def test_no_step_is_taken_for_the_end_of_a_sentence_that_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model(end=-1e4)
    steps = count_steps(made, monkeypatch)
    greedy(made, latents(3), 4)
    assert steps() == 4


def test_what_no_target_is_is_never_written_however_probable() -> None:
    made = model()
    with torch.no_grad():
        made.backbone.decoder.output.bias[FORBIDDEN] = 1e4
    for ids in (greedy(made, latents(30)), sample(made, latents(30), random(30))):
        words = [word for row in ids for word in before_end(row, EOS)]
        assert words and not set(words) & set(FORBIDDEN)


def agrees(drawn: Tensor, probabilities: Tensor) -> bool:
    """Chi-square of word counts, words expected less than 5 times taken together."""
    expected = probabilities.double() * len(drawn)
    counts = torch.bincount(drawn, minlength=len(expected)).double()
    assert not counts[probabilities == 0].any()
    rare = expected < 5
    expected = torch.cat((expected[~rare], expected[rare].sum()[None]))
    counts = torch.cat((counts[~rare], counts[rare].sum()[None]))
    counts, expected = counts[expected > 0], expected[expected > 0]
    freedom = len(expected) - 1
    assert freedom > 3
    return float(((counts - expected) ** 2 / expected).sum()) < freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_words_are_drawn_with_their_probabilities_at_the_temperature(temperature: float) -> None:
    count = 20_000
    made = small(Autoencoder)
    enlarge(made, 2.0)
    z = latents(1)
    ids = sample(made, z.expand(count, -1), random(count), temperature, max_words=2)
    first = (next_word_logits(made, [], z[0]) / temperature).softmax(0)
    assert agrees(ids[:, 0], first)
    assert not agrees(ids[:, 0], (next_word_logits(made, [], z[0]) / (1.3 * temperature)).softmax(0))
    usual = int(ids[ids[:, 0] != EOS, 0].mode().values)
    second = (next_word_logits(made, [usual], z[0]) / temperature).softmax(0)
    assert agrees(ids[ids[:, 0] == usual, 1], second)


def test_a_low_temperature_writes_what_greedy_writes() -> None:
    made, z = model(end=1.0), latents(20)
    written = sample(made, z, random(20), temperature=1e-4)
    assert [before_end(row, EOS) for row in written] == [before_end(row, EOS) for row in greedy(made, z)]


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(UsageError, match="temperature"):
        sample(model(), latents(1), random(1), temperature)


def test_a_sample_belongs_to_its_sentence_not_to_the_batch() -> None:
    made, z = small(Autoencoder), latents(30)
    together = [before_end(row, EOS) for row in sample(made, z, random(30))]
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:7]
    some = sample(made, z[order], SentenceRandom(order, 0, -1))
    assert [before_end(row, EOS) for row in some] == [together[row] for row in order.tolist()]
    assert together != [before_end(row, EOS) for row in sample(made, z, random(30, seed=1))]


def test_decoding_is_without_dropout_and_leaves_the_mode_and_the_gradients_as_they_were() -> None:
    batch = TokenBatch.from_ids(sentences(10))
    made = model(end=1.0, dropout=0.5, output_dropout=0.5, word_dropout=0.5).eval()
    still = greedy(made, latents(10)), reconstruct(made, batch)
    assert not made.training
    made.train()
    assert torch.equal(greedy(made, latents(10)), still[0])
    assert torch.equal(reconstruct(made, batch), still[1])
    assert made.training and made.backbone.decoder.training
    assert torch.is_grad_enabled() and made.objective(batch).loss.requires_grad


def test_the_mode_is_restored_after_an_error() -> None:
    made = model().train()
    with pytest.raises(ZeroDivisionError), evaluating(made):
        assert not made.training and torch.is_inference_mode_enabled()
        raise ZeroDivisionError
    assert made.training and not torch.is_inference_mode_enabled()


def test_a_reconstruction_is_the_greedy_sentence_of_the_posterior_mean() -> None:
    made, batch = model(end=1.0).eval(), TokenBatch.from_ids(sentences(10))
    with torch.no_grad():
        assert torch.equal(reconstruct(made, batch), greedy(made, made.encode(batch).mean))


TEXTS = ["w1 w2 w3", "w4", "", "w5 w5 w19 w0"]


def test_text_survives_the_way_to_ids_and_back() -> None:
    made = model()
    batch = text_batch(made.vocabulary, TEXTS)
    assert batch_text(made.vocabulary, batch) == TEXTS
    assert to_text(made, batch.targets) == TEXTS
    assert batch.lengths.tolist() == [4, 2, 1, 5] and batch.index.tolist() == [0, 1, 2, 3]


def test_words_that_the_vocabulary_lacks_read_as_unknown() -> None:
    made = model()
    batch = text_batch(made.vocabulary, ["w1 nowhere w2", "<eos> w3 <pad>"])
    assert batch.targets[0].tolist() == [6, UNK, 7, EOS]
    assert batch_text(made.vocabulary, batch) == ["w1 <unk> w2", "<unk> w3 <unk>"]


def test_a_right_to_left_decoders_ids_read_in_reading_order() -> None:
    made = model(direction="right_to_left")
    ids = torch.tensor([[8, 7, 6, EOS], [9, EOS, PAD, PAD], [EOS, PAD, PAD, PAD], [8, 7, 6, 5]])
    assert to_text(made, ids) == ["w1 w2 w3", "w4", "", "w0 w1 w2 w3"]
    assert to_text(model(), ids) == ["w3 w2 w1", "w4", "", "w3 w2 w1 w0"]


def test_text_ends_before_the_first_end_or_padding() -> None:
    ids = torch.tensor([[5, PAD, 6, EOS], [5, EOS, 6, PAD], [5, 6, 7, 8]])
    assert to_text(model(), ids) == ["w0", "w0", "w0 w1 w2 w3"]
