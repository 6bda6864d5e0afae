from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from models import FIRST_WORD, WORDS, sentences, small
from torch import Tensor

from datamodules.batch import TokenBatch, length_mask
from datamodules.errors import UsageError
from datamodules.vocabulary import BLANK, PAD, UNK
from lightning_modules import Autoencoder
from lightning_modules.backbone import corruption
from lightning_modules.backbone.corruption import CorruptionConfig, corrupt
from lightning_modules.randomness import SentenceRandom

STEPS = 30
SIZE = FIRST_WORD + STEPS  # of a vocabulary in which word t is the t-th of every sentence: a word tells its old place
COUNT = 600

ALL = CorruptionConfig(shuffle=3, drop=0.3, blank=0.2, substitute=0.2)


def numbered(count: int = COUNT) -> tuple[Tensor, Tensor]:
    """Sentences of 0 to 30 words, each word once and in rising order."""
    lengths = torch.arange(count) % (STEPS + 1)
    words = torch.arange(STEPS).expand(count, STEPS) + FIRST_WORD
    return words.masked_fill(~length_mask(lengths, STEPS), PAD), lengths


def noise(count: int = COUNT) -> SentenceRandom:
    return SentenceRandom(torch.arange(count), 0, 0)


def corrupted(config: CorruptionConfig) -> tuple[Tensor, Tensor]:
    return corrupt(*numbered(), config, noise(), SIZE)


def rows(words: Tensor, lengths: Tensor) -> list[list[int]]:
    return [row[:length] for row, length in zip(words.tolist(), lengths.tolist(), strict=True)]


def is_a_binomial_draw(successes: int, trials: int, probability: float) -> bool:
    return abs(successes - trials * probability) < 4 * math.sqrt(trials * probability * (1 - probability))


def is_uniform(counts: Tensor) -> bool:
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    return float(((counts - expected) ** 2 / expected).sum()) < freedom + 4 * math.sqrt(2 * freedom)


def test_without_noise_the_sentences_stay_as_they_are() -> None:
    words, lengths = numbered()
    noisy, left = corrupted(CorruptionConfig())
    assert torch.equal(noisy, words) and torch.equal(left, lengths)


@pytest.mark.parametrize("name", ["drop", "blank", "substitute"])
def test_a_probability_of_almost_nothing_changes_nothing(name: str) -> None:
    words, lengths = numbered()
    noisy, left = corrupted(CorruptionConfig(**{name: 1e-12}))
    assert torch.equal(noisy, words) and torch.equal(left, lengths)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_words_are_dropped_at_their_rate_wherever_they_stand(probability: float) -> None:
    _, lengths = numbered()
    noisy, left = corrupted(CorruptionConfig(drop=probability))
    assert is_a_binomial_draw(int((lengths - left).sum()), int(lengths.sum()), probability)
    full = noisy[lengths >= STEPS - 10]
    survivors = torch.stack([(full == word).sum() for word in range(FIRST_WORD, FIRST_WORD + STEPS - 10)])
    assert is_uniform(survivors.double())


def test_dropped_words_leave_no_trace() -> None:
    _, lengths = numbered()
    noisy, left = corrupted(CorruptionConfig(drop=0.4))
    assert bool((left < lengths).any())
    for before, row, count in zip(lengths.tolist(), noisy.tolist(), left.tolist(), strict=True):
        kept, behind = row[:count], row[count:]
        # Rising numbers below the sentence's length: a subsequence of it, in order.
        assert all(first < second for first, second in pairwise(kept))
        assert all(FIRST_WORD <= word < FIRST_WORD + before for word in kept)
        assert set(behind) <= {PAD}


def test_a_drop_probability_of_1_drops_every_word() -> None:
    noisy, left = corrupted(CorruptionConfig(drop=1.0))
    assert not left.any()
    assert bool((noisy == PAD).all())


@pytest.mark.parametrize("probability", [0.1, 0.7, 1.0])
@pytest.mark.parametrize("name, put", [("blank", BLANK), ("unknown", UNK)])
def test_words_are_blanked_at_their_rate_and_the_others_stay(name: str, put: int, probability: float) -> None:
    words, lengths = numbered()
    noisy, left = corrupted(CorruptionConfig(**{name: probability}))
    blanked = noisy == put
    assert torch.equal(left, lengths)
    assert torch.equal(noisy[~blanked], words[~blanked])
    assert not bool((blanked & ~length_mask(lengths, STEPS)).any())
    if probability == 1:
        assert int(blanked.sum()) == int(lengths.sum())
    else:
        assert is_a_binomial_draw(int(blanked.sum()), int(lengths.sum()), probability)


@pytest.mark.parametrize("probability", [0.1, 0.7, 1.0])
def test_substitutes_come_at_their_rate_uniformly_from_the_words(probability: float) -> None:
    _, lengths = numbered()
    real = length_mask(lengths, STEPS)
    # No substitute is the unknown word, so all that are not any more were substituted.
    unknown = torch.full((COUNT, STEPS), UNK).masked_fill(~real, PAD)
    noisy, left = corrupt(unknown, lengths, CorruptionConfig(substitute=probability), noise(), SIZE)
    substitutes = noisy[real & (noisy != UNK)]
    assert torch.equal(left, lengths)
    assert bool((noisy[~real] == PAD).all())
    if probability == 1:
        assert len(substitutes) == int(real.sum())
    else:
        assert is_a_binomial_draw(len(substitutes), int(real.sum()), probability)
    assert int(substitutes.min()) == FIRST_WORD and int(substitutes.max()) == SIZE - 1
    assert is_uniform(torch.bincount(substitutes - FIRST_WORD, minlength=STEPS).double())


def test_whether_and_by_what_a_word_is_substituted_are_independent() -> None:
    _, lengths = numbered()
    unknown = torch.full((COUNT, STEPS), UNK)
    everywhere, _ = corrupt(unknown, lengths, CorruptionConfig(substitute=1.0), noise(), SIZE)
    somewhere, _ = corrupt(unknown, lengths, CorruptionConfig(substitute=0.3), noise(), SIZE)
    chosen = somewhere != UNK
    assert is_uniform(torch.bincount(everywhere[chosen] - FIRST_WORD, minlength=STEPS).double())


@pytest.mark.parametrize("distance", [1, 3, 10])
def test_shuffling_permutes_and_moves_no_word_further_than_its_distance(distance: int) -> None:
    _, lengths = numbered()
    noisy, left = corrupted(CorruptionConfig(shuffle=distance))
    assert torch.equal(left, lengths)
    furthest = 0
    for row, length in zip(noisy.tolist(), lengths.tolist(), strict=True):
        places = [word - FIRST_WORD for word in row[:length]]
        assert sorted(places) == list(range(length))
        assert row[length:] == [PAD] * (STEPS - length)
        furthest = max([furthest, *(abs(new - old) for new, old in enumerate(places))])
    assert distance / 2 < furthest <= distance


@pytest.mark.parametrize("distance", [1, 3])
def test_two_words_change_places_as_often_as_their_keys_cross(distance: int) -> None:
    count = 20_000
    words = torch.tensor([[FIRST_WORD, FIRST_WORD + 1]]).expand(count, 2)
    noisy, _ = corrupt(words, torch.full((count,), 2), CorruptionConfig(shuffle=distance), noise(count), SIZE)
    # P((k + 1) U > 1 + (k + 1) V) for uniform U and V is the area of a triangle.
    assert is_a_binomial_draw(int((noisy[:, 0] == FIRST_WORD + 1).sum()), count, (distance / (distance + 1)) ** 2 / 2)


def test_noise_is_applied_in_the_published_order() -> None:
    def apply(*names: str) -> list[list[int]]:
        state = numbered()
        for name in names:
            only = replace(CorruptionConfig(), **{name: getattr(ALL, name)})
            state = corrupt(*state, only, noise(), SIZE)
        return rows(*state)

    assert rows(*corrupted(ALL)) == apply("shuffle", "drop", "blank", "substitute")
    for other in (
        ("drop", "shuffle", "blank", "substitute"),
        ("shuffle", "blank", "drop", "substitute"),
        ("shuffle", "drop", "substitute", "blank"),
    ):
        assert rows(*corrupted(ALL)) != apply(*other)


@pytest.mark.parametrize(
    "config",
    [
        CorruptionConfig(shuffle=3),
        CorruptionConfig(drop=0.3),
        CorruptionConfig(blank=0.3),
        CorruptionConfig(substitute=0.3),
        CorruptionConfig(unknown=0.3),
        ALL,
    ],
)
def test_the_noise_of_a_sentence_does_not_depend_on_its_companions(config: CorruptionConfig) -> None:
    words, lengths = numbered()
    together = rows(*corrupted(config))
    for row in (0, 1, 2, 13, 30, COUNT - 1):
        steps = max(int(lengths[row]), 1)
        random = SentenceRandom(torch.tensor([row]), 0, 0)
        alone = corrupt(words[row : row + 1, :steps], lengths[row : row + 1], config, random, SIZE)
        assert rows(*alone) == [together[row]]


def test_every_epoch_has_other_noise() -> None:
    first = corrupt(*numbered(), ALL, SentenceRandom(torch.arange(COUNT), 0, 0), SIZE)
    second = corrupt(*numbered(), ALL, SentenceRandom(torch.arange(COUNT), 0, 1), SIZE)
    assert rows(*first) != rows(*second)


class Spy:
    """What the encoder and the decoder of a model are shown."""

    def __init__(self, model: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoded: list[Tensor] = []
        self.decoded: list[TokenBatch] = []
        encode, token_nll = model.backbone.encode, model.backbone.token_nll

        def spied_encode(ids: Tensor, lengths: Tensor) -> Any:
            self.encoded.append(ids)
            return encode(ids, lengths)

        def spied_nll(batch: TokenBatch, z: Tensor) -> Tensor:
            self.decoded.append(batch)
            return token_nll(batch, z)

        monkeypatch.setattr(model.backbone, "encode", spied_encode)
        monkeypatch.setattr(model.backbone, "token_nll", spied_nll)


@pytest.mark.parametrize("training", [True, False])
def test_only_the_encoder_sees_noise_and_only_in_training(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    batch = TokenBatch.from_ids(sentences(20))
    model = small(Autoencoder, corruption=ALL).train(training)
    spy = Spy(model, monkeypatch)
    model.objective(batch)
    assert torch.equal(spy.decoded[0].inputs, batch.inputs) and torch.equal(spy.decoded[0].targets, batch.targets)
    assert torch.equal(spy.encoded[0], batch.inputs) is not training
    assert int(spy.encoded[0].max()) < FIRST_WORD + len(WORDS)


@pytest.mark.parametrize(
    "name, value", [("shuffle", -1), ("drop", -0.1), ("blank", 1.1), ("substitute", 2.0), ("unknown", -1)]
)
def test_impossible_noise_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"corruption.{name} is {value}"):
        CorruptionConfig(**{name: value})


@pytest.mark.parametrize("move", [corruption._moved, corruption._moved_on_device])
@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_the_words_that_stay_move_to_the_front_on_every_device(move: Any, rate: float) -> None:
    words, lengths = numbered(100)
    dropped = torch.rand(words.shape, generator=torch.Generator().manual_seed(0)) < rate
    left, counts = move(words, dropped)
    flags = zip(words.tolist(), dropped.tolist(), lengths.tolist(), strict=True)
    stay = [[word for word, gone in zip(row[:length], drops, strict=False) if not gone] for row, drops, length in flags]
    assert left.dtype == counts.dtype == torch.int64 and left.shape == words.shape
    assert counts.tolist() == [len(row) for row in stay]
    assert left.tolist() == [row + [PAD] * (STEPS - len(row)) for row in stay]


def test_of_long_sentences_the_same_words_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    words, _ = numbered(100)
    dropped = torch.rand(words.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    short = corruption._moved(words, dropped)
    monkeypatch.setattr(corruption, "SHORT", 0)
    assert all(torch.equal(left, right) for left, right in zip(short, corruption._moved(words, dropped), strict=True))


def test_a_batch_without_sentences_has_none_afterwards() -> None:
    left, counts = corruption._moved(torch.empty(0, 4).long(), torch.empty(0, 4).bool())
    assert left.shape == (0, 4) and counts.shape == (0,)
