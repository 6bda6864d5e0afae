from __future__ import annotations

from typing import Literal

import pytest
import torch
from exact import GRID, assert_gradient_is_the_slope, batch_of, every_sentence, log_likelihood, tiny
from models import WORDS, sentences, small
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.vocabulary import BOS, EOS, SPECIAL_TOKENS
from lightning_modules import Autoencoder, LanguageModel
from lightning_modules.backbone.decoder import DecoderConfig

BATCH = TokenBatch.from_ids(sentences(12))
ALL = every_sentence()
NOTHING = torch.zeros(1, 0)


def test_its_nll_is_the_sum_over_words_one_after_the_other() -> None:
    model = tiny(LanguageModel)
    with torch.no_grad():
        found = model.objective(batch_of(ALL)).terms["nll"]
        expected = torch.cat([-log_likelihood(model, sentence, NOTHING) for sentence in ALL])
    torch.testing.assert_close(found, expected)


def test_it_is_normalised_over_all_sentences() -> None:
    """Those of up to two words and everything that goes on after two words make up the whole."""
    model = tiny(LanguageModel)
    symbols = tuple(range(len(SPECIAL_TOKENS) + 2))
    words = tuple(symbol for symbol in symbols if symbol != EOS)
    with torch.no_grad():
        ends = [float(log_likelihood(model, list(x), NOTHING).exp()) for x in every_sentence(words)]
        longer = 0.0
        for x in (x for x in every_sentence(words) if len(x) == 2):
            state, total, previous = None, 0.0, BOS
            for word in x:
                logits, state = model.step(torch.tensor([previous]), NOTHING, state)
                total += float(logits.log_softmax(1)[0, word])
                previous = word
            logits, _ = model.step(torch.tensor([previous]), NOTHING, state)
            longer += float(torch.tensor(total).exp()) * (1 - float(logits.softmax(1)[0, EOS]))
    assert sum(ends) + longer == pytest.approx(1, abs=1e-6)


def test_it_is_an_autoencoders_decoder_whose_latent_says_nothing() -> None:
    autoencoder = tiny(Autoencoder, decoder=DecoderConfig(hidden_size=5, latent=("state",)))
    model = tiny(LanguageModel, decoder=DecoderConfig(hidden_size=5))
    with torch.no_grad():
        autoencoder.backbone.decoder.to_state.weight.zero_()
        autoencoder.backbone.decoder.to_state.bias.zero_()
    shared = {name: value for name, value in autoencoder.state_dict().items() if name in model.state_dict()}
    model.load_state_dict(shared)
    batch = batch_of(ALL)
    with torch.no_grad():
        expected = autoencoder.reconstruction(batch, GRID[:1, None].expand(len(batch), 1))
        torch.testing.assert_close(model.objective(batch).terms["nll"], expected)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    model = tiny(LanguageModel).train()
    batch = batch_of(ALL)
    assert_gradient_is_the_slope(lambda: model.objective(batch).loss.mean(), model)


@pytest.mark.parametrize("inputless", ["unknown", "zeros"])
def test_without_its_input_it_knows_the_place_alone(inputless: Literal["unknown", "zeros"]) -> None:
    decoder = DecoderConfig(hidden_size=13, inputless=inputless)
    model = small(LanguageModel, decoder=decoder).eval()
    nll = [model.token_nll(TokenBatch.from_ids([words]), NOTHING) for words in ([5, 6, 7, 8], [9, 10, 7, 8])]
    torch.testing.assert_close(nll[0][:, 2:], nll[1][:, 2:], rtol=0, atol=0)


def test_word_dropout_is_training_alone() -> None:
    model = small(LanguageModel, decoder=DecoderConfig(hidden_size=13, word_dropout=1.0))
    blind = small(LanguageModel, decoder=DecoderConfig(hidden_size=13, inputless="unknown"))
    plain = small(LanguageModel)
    torch.testing.assert_close(model.objective(BATCH).loss, blind.objective(BATCH).loss)
    torch.testing.assert_close(model.eval().objective(BATCH).loss, plain.eval().objective(BATCH).loss)


def test_what_its_settings_say_of_a_latent_has_no_effect() -> None:
    decoder = DecoderConfig(hidden_size=13, latent=("state", "concat", "add"), concat_size=4, latent_highway="elu")
    names = [name for name, _ in small(LanguageModel, decoder=decoder).named_parameters()]
    assert names == [name for name, _ in small(LanguageModel).named_parameters()]


@pytest.mark.parametrize("tied", [False, True])
def test_a_large_vocabularys_logits_are_not_kept(tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss and its gradients are those of all logits at once; no more of these are kept than a part."""
    batch = TokenBatch.from_ids(sentences(12))
    found, sizes = [], list[int]()
    vocabulary = len(WORDS) + len(SPECIAL_TOKENS)
    for kept, again in ((10**9, 1), (9 * vocabulary, 7 * vocabulary), (1, 1)):  # logits of all tokens, of 7, and of 1
        monkeypatch.setattr("lightning_modules.backbone.model.LOGITS_KEPT", kept)
        monkeypatch.setattr("lightning_modules.backbone.model.LOGITS_AGAIN", again)
        model = small(LanguageModel, decoder=DecoderConfig(hidden_size=12, tied=tied))
        words = model.vocabulary.get_vocab_size()
        saved: list[int] = []

        def note(value: Tensor, saved: list[int] = saved, words: int = words) -> Tensor:
            if value.dim() == 2 and value.shape[1] == words and value.shape[0] != 12:
                saved.append(value.numel())
            return value

        with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
            model.backbone.decoder.output.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
            loss = model.objective(batch).loss.mean()
        assert max(sizes) == {10**9: len(batch.positions), 1: 1}.get(kept, 7)
        sizes.clear()
        loss.backward()
        sizes.clear()
        gradients = {name: value.grad for name, value in model.named_parameters()}
        found.append((loss.detach(), gradients, sum(saved)))
    (whole, theirs, most), *others = found
    assert most >= len(batch.positions) * words
    for loss, gradients, saved_numbers in others:
        torch.testing.assert_close(loss, whole)
        assert saved_numbers == 0
        for name, value in gradients.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_logits_that_are_normalised_in_parts_have_the_same_gradients(
    rows: int, mixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, model, sizes = TokenBatch.from_ids(sentences(12)), small(LanguageModel), list[int]()
    words, found = model.vocabulary.get_vocab_size(), list[list[Tensor]]()
    cross_entropy = torch.nn.functional.cross_entropy

    def noted(logits: Tensor, targets: Tensor, reduction: str) -> Tensor:
        sizes.append(len(logits))
        return cross_entropy(logits, targets, reduction=reduction)

    monkeypatch.setattr("lightning_modules.backbone.model.cross_entropy", noted)
    for at_once in (10**9, rows * words + 1):
        monkeypatch.setattr("lightning_modules.backbone.model.NORMALIZED_WITH_GRADIENTS", at_once)
        sizes.clear()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = model.objective(batch).loss.mean()
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    assert sum(sizes) == len(batch.positions) and max(sizes) == min(rows, len(batch.positions))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_in_mixed_precision_the_gradients_of_many_parts_are_as_exact_as_those_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the output layer, to which each part adds: summed in bfloat16 they would lose a bias' smaller ones."""
    batch = TokenBatch.from_ids(sentences(400))
    model = small(LanguageModel)

    def gradients(tokens: int | None, mixed: bool = True) -> list[Tensor]:
        words = model.vocabulary.get_vocab_size()
        monkeypatch.setattr("lightning_modules.backbone.model.LOGITS_KEPT", 0 if tokens else 10**9)
        monkeypatch.setattr("lightning_modules.backbone.model.LOGITS_AGAIN", (tokens or 1) * words)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = model.objective(batch).loss.mean()
        loss.backward()
        output = model.backbone.decoder.output
        return [parameter.grad.clone() for parameter in (output.weight, output.bias) if parameter.grad is not None]

    exact, whole, parts = gradients(None, mixed=False), gradients(None), gradients(3)
    assert len(batch.positions) > 1000
    for known, one, many in zip(exact, whole, parts, strict=True):
        assert float((many - known).norm()) < 2 * float((one - known).norm())
