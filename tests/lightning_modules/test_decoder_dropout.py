"""Dropout of the decoder: of words, of what it reads and of what it writes, in training only."""

from __future__ import annotations

import math

import pytest
import torch
from decoders import STATE, codes, decoder, model
from models import one_by_one, sentences
from torch import Tensor, nn

from datamodules.batch import TokenBatch
from datamodules.vocabulary import BOS, UNK
from lightning_modules import Autoencoder
from lightning_modules.backbone.decoder import Decoder, DecoderConfig
from lightning_modules.backbone.recurrent import Cell


def shown_inputs(made: Autoencoder, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    shown: list[TokenBatch] = []
    token_nll = made.backbone.token_nll

    def spy(batch: TokenBatch, z: Tensor) -> Tensor:
        shown.append(batch)
        return token_nll(batch, z)

    with monkeypatch.context() as patch:
        patch.setattr(made.backbone, "token_nll", spy)
        made.token_nll(batch, codes(len(batch)))
    assert torch.equal(shown[0].targets, batch.targets)
    return shown[0].inputs


@pytest.mark.parametrize("share", [0.2, 0.75, 1.0])
def test_word_dropout_hides_its_share_of_the_words_in_training(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    batch = TokenBatch.from_ids(sentences(500))
    inputs = shown_inputs(model(word_dropout=share).train(), batch, monkeypatch)
    words = batch.mask & (batch.inputs != BOS)
    hidden = inputs != batch.inputs
    assert bool((inputs[:, 0] == BOS).all())
    assert bool((inputs[hidden] == UNK).all())
    trials, expected = int(words.sum()), share * int(words.sum())
    assert abs(int((hidden & words).sum()) - expected) <= 4 * math.sqrt(trials * share * (1 - share))


def test_word_dropout_is_off_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = TokenBatch.from_ids(sentences(50))
    assert torch.equal(shown_inputs(model(word_dropout=1.0), batch, monkeypatch), batch.inputs)


def test_word_dropout_does_not_depend_on_companions(monkeypatch: pytest.MonkeyPatch) -> None:
    made, rows = model(word_dropout=0.5).train(), sentences(20)
    together = shown_inputs(made, TokenBatch.from_ids(rows), monkeypatch)
    for row, batch in enumerate(one_by_one(rows)):
        alone = shown_inputs(made, batch, monkeypatch)
        assert torch.equal(alone, together[row : row + 1, : alone.shape[1]])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_input_dropout_drops_features_of_z_and_of_embeddings_alike_and_in_training_only(cell: Cell) -> None:
    torch.manual_seed(0)
    config = DecoderConfig(cell=cell, hidden_size=4, latent=("concat",), input_dropout=0.25)
    decoder = Decoder(config, nn.Embedding(9, 300), 100)
    nn.init.ones_(decoder.embedding.weight)
    seen: list[Tensor] = []
    decoder.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    decoder(torch.full((20, 5), 6), torch.ones(20, 100))
    for part in (seen[0][..., :300], seen[0][..., 300:]):
        share = float((part == 0).float().mean())
        assert abs(share - 0.25) < 4 * (0.25 * 0.75 / part.numel()) ** 0.5
    decoder.eval()(torch.full((2, 5), 6), torch.ones(2, 100))
    assert seen[1].shape == (2, 5, 400) and bool((seen[1] == 1).all())


def test_output_dropout_is_on_the_states_and_in_training_only() -> None:
    made = decoder(DecoderConfig(hidden_size=STATE, output_dropout=0.25))
    seen: list[Tensor] = []
    made.output.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    states = torch.ones(5000, STATE)
    made.logits(states)
    made.train().logits(states)
    assert torch.equal(seen[0], states)
    kept = seen[1][seen[1] != 0]
    assert abs(1 - len(kept) / states.numel() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / states.numel())
    torch.testing.assert_close(kept, torch.full_like(kept, 4 / 3))
