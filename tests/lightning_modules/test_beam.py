from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from exact import tiny
from models import FIRST_WORD, before_end, enlarge, sentences, small
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.vocabulary import BLANK, BOS, EOS, PAD, UNK
from lightning_modules import Autoencoder, AveragingVAE, LanguageModel
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.decoding import beam
from lightning_modules.decoding.beam import Hypotheses, beam_search, complete
from lightning_modules.decoding.search import greedy
from lightning_modules.text_model import TextModel

LIMIT = 6
ARCHITECTURES: list[dict[str, Any]] = [
    {},
    {"cell": "gru", "layers": 2, "latent": ("concat",)},
    {"latent": ("state", "add"), "initial_state": "both", "layers": 2},
]


def model(end: float = 1.0, **options: Any) -> Autoencoder:
    made = small(Autoencoder, decoder=DecoderConfig(**{"hidden_size": 13, "max_words": LIMIT} | options))
    enlarge(made, 6.0)
    with torch.no_grad():
        made.backbone.decoder.output.bias[EOS] += end
    return made


def latents(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def log_probability(made: TextModel, words: list[int], z: Tensor) -> float:
    """Word after word, from one latent's row, by the family's own step."""
    state, total, previous = None, 0.0, BOS
    for word in [*words, EOS]:
        with torch.no_grad():
            logits, state = made.eval().step(torch.tensor([previous]), z[None], state)
        total += float(logits.double().log_softmax(1)[0, word])
        previous = word
    return total


def found(hypotheses: Hypotheses, row: int) -> dict[tuple[int, ...], float]:
    pairs = zip(hypotheses.words[row], hypotheses.log_probability[row].tolist(), strict=True)
    return {tuple(before_end(words, EOS)): value for words, value in pairs if value > float("-inf")}


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("family", [Autoencoder, AveragingVAE, LanguageModel])
def test_a_beam_as_wide_as_all_beginnings_finds_what_exhaustive_search_finds(
    family: type[TextModel], penalty: float
) -> None:
    made = tiny(family, factor=3.0)  # the two words and <unk> may be written, two at most: T - 1 = 2
    z = {Autoencoder: latents(5, 1), AveragingVAE: latents(5, 5, 1), LanguageModel: latents(5, 0)}[family].double()
    symbols = (UNK, FIRST_WORD, FIRST_WORD + 1)
    every = [words for length in range(3) for words in itertools.product(symbols, repeat=length)]
    search = beam_search(made, z, width=made.vocabulary.get_vocab_size() ** 2, length_penalty=penalty)
    for row, code in enumerate(z):
        truth = {words: log_probability(made, list(words), code) for words in every}
        ranked = sorted(every, key=lambda words: truth[words] / (len(words) + 1) ** penalty, reverse=True)
        mine = found(search, row)
        best = next(iter(mine))
        assert best == ranked[0]
        assert mine[best] == pytest.approx(truth[best], abs=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_the_search_ends_early_without_missing_what_a_full_one_finds(
    penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, z = model(end=3.0, max_words=12).eval(), latents(20, 6)
    early = [beam_search(made, code[None], 5, penalty) for code in z]
    monkeypatch.setattr(beam, "_decided", lambda *_: False)
    full = [beam_search(made, code[None], 5, penalty) for code in z]
    assert all(search.words.shape[2] == 13 for search in full)
    assert sum(search.words.shape[2] for search in early) < sum(search.words.shape[2] for search in full)
    for one, other in zip(early, full, strict=True):
        assert before_end(one.words[0, 0], EOS) == before_end(other.words[0, 0], EOS)
        assert one.log_probability[0, 0] == other.log_probability[0, 0]


def test_hypotheses_are_listed_from_the_best_to_the_worst() -> None:
    listed = beam_search(model(), latents(20, 6), 7).log_probability
    assert torch.equal(listed, listed.sort(descending=True).values)


@pytest.mark.parametrize("options", ARCHITECTURES)
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_width_one_is_greedy(options: dict[str, Any], penalty: float) -> None:
    made, z = model(**options).eval(), latents(40, 6)
    narrow = beam_search(made, z, 1, penalty).words[:, 0]
    assert [before_end(row, EOS) for row in narrow] == [before_end(row, EOS) for row in greedy(made, z)]


@pytest.mark.parametrize("options", ARCHITECTURES)
def test_batched_equals_one_by_one(options: dict[str, Any]) -> None:
    made, z = model(**options).eval(), latents(15, 6)
    together = beam_search(made, z, 4)
    for row, code in enumerate(z):
        alone = beam_search(made, code[None], 4)
        assert before_end(alone.words[0, 0], EOS) == before_end(together.words[row, 0], EOS)
        torch.testing.assert_close(alone.log_probability[0, 0], together.log_probability[row, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", ARCHITECTURES)
def test_a_wider_beam_finds_more_probable_sentences_with_the_probability_they_have(options: dict[str, Any]) -> None:
    made, z = model(**options).eval(), latents(60, 6)
    narrow, wide = beam_search(made, z, 1), beam_search(made, z, 8)
    gain = wide.log_probability[:, 0] - narrow.log_probability[:, 0]
    assert float(gain.mean()) > 0.1 and float((gain < -1e-6).float().mean()) < 0.1  # a beam may miss what greedy finds
    for row, code in enumerate(z):
        words = before_end(wide.words[row, 0], EOS)
        assert float(wide.log_probability[row, 0]) == pytest.approx(log_probability(made, words, code), abs=1e-4)


def test_a_penalty_favours_longer_sentences() -> None:
    made, z = model(end=3.0), latents(60, 6)
    lengths = [
        sum(len(before_end(row, EOS)) for row in beam_search(made, z, 6, penalty).words[:, 0])
        for penalty in (0.0, 1.0, 2.0)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_words_that_are_forbidden_or_no_words_are_never_written() -> None:
    made = model()
    with torch.no_grad():
        made.backbone.decoder.output.bias[[PAD, BOS, BLANK, UNK, FIRST_WORD]] = 1e4
    ids = beam_search(made, latents(20, 6), 3, forbidden=[UNK, FIRST_WORD]).words
    words = {word for row in ids.flatten(0, 1) for word in before_end(row, EOS)}
    assert words and not words & {PAD, BOS, BLANK, UNK, FIRST_WORD}


def test_sentences_that_do_not_end_are_cut_off_at_the_limit_and_pay_for_their_end() -> None:
    made, z = model(end=-50.0), latents(5, 6)
    search = beam_search(made, z, 3, max_words=4)
    assert search.words.shape == (5, 3, 5) and bool((search.words[:, :, -1] == EOS).all())
    assert float(search.log_probability[0, 0]) == pytest.approx(
        log_probability(made, before_end(search.words[0, 0], EOS), z[0]), abs=1e-3
    )


@pytest.mark.parametrize("option", [{"width": 0}, {"width": 2, "length_penalty": -1.0}, {"width": 2, "max_words": 0}])
def test_settings_out_of_range_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"width|penalty|max_words"):
        beam_search(model(), latents(2, 6), **option)


def test_a_constrained_beam_finds_the_most_probable_filling_of_all() -> None:
    made = model().eval()
    words = sentences(8, most=4, least=3)
    batch, z = TokenBatch.from_ids(words), latents(8, 6)
    free = torch.zeros_like(batch.targets, dtype=torch.bool)
    free[:, 1] = True  # one word between known ones: as wide as the vocabulary, it is exhaustive
    size = made.vocabulary.get_vocab_size()
    search = complete(made, z, batch, free, width=size)
    for row, sentence in enumerate(words):
        fillings = [[sentence[0], word, *sentence[2:]] for word in (UNK, *range(FIRST_WORD, size))]
        truth = [log_probability(made, filling, z[row]) for filling in fillings]
        best = max(range(len(fillings)), key=truth.__getitem__)
        assert before_end(search.words[row, 0], EOS) == fillings[best]
        assert float(search.log_probability[row, 0]) == pytest.approx(truth[best], abs=1e-4)


def test_a_constrained_beam_never_changes_a_known_word_or_the_length() -> None:
    made = model(end=20.0)  # it would rather end at once
    with torch.no_grad():
        made.backbone.decoder.output.bias[UNK] = 1e4
    words = sentences(30, most=6)
    batch, z = TokenBatch.from_ids(words), latents(30, 6)
    free = torch.rand(batch.targets.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    free &= torch.arange(batch.targets.shape[1]) < batch.lengths[:, None] - 1
    search = complete(made, z, batch, free, 3, forbidden=[UNK])
    for row, sentence in enumerate(words):
        written = before_end(search.words[row, 0], EOS)
        assert len(written) == len(sentence)
        for place, word in enumerate(sentence):
            assert (written[place] == word) or bool(free[row, place])
            assert written[place] not in (UNK, PAD, BOS, BLANK, EOS)


@pytest.mark.parametrize("options", ARCHITECTURES)
@pytest.mark.parametrize("family", [Autoencoder, AveragingVAE, LanguageModel])
def test_known_beginnings_cost_one_hypothesis_and_change_nothing(
    family: type[TextModel], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small(family, decoder=DecoderConfig(**{"hidden_size": 13} | options)).eval()
    enlarge(made, 6.0)
    z = {Autoencoder: latents(12, 6), AveragingVAE: latents(12, 5, 6), LanguageModel: latents(12, 0)}[family]
    batch = TokenBatch.from_ids(sentences(12, most=6, least=6))
    free = torch.zeros_like(batch.targets, dtype=torch.bool)
    free[:, 3:6] = True
    read: list[int] = []
    step = made.step
    monkeypatch.setattr(made, "step", lambda words, *rest: read.append(len(words)) or step(words, *rest))
    ending = complete(made, z, batch, free, 4)
    assert read == [12] * 4 + [48] * 3
    for row, sentence in enumerate(batch.targets.tolist()):
        for words, value in list(found(ending, row).items()):
            assert list(words[:3]) == sentence[:3]
            assert value == pytest.approx(log_probability(made, list(words), z[row]), abs=1e-3)
    # A sentence whose first word is free too makes all of them start as wide as that one needs.
    free[0, 0] = True
    monkeypatch.undo()
    wide = complete(made, z, batch, free, 4)
    assert torch.equal(wide.words[1:], ending.words[1:])
