from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from models import FIRST_WORD, VOCABULARY, enlarge, one_by_one, sentences, small
from torch import Tensor, nn

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.vocabulary import BOS, EOS, UNK, closed_vocabulary
from lightning_modules import Autoencoder
from lightning_modules.backbone.decoder import Decoder, DecoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.posterior import PosteriorConfig

WORDS, EMBEDDING, STATE, LATENT = 12, 5, 4, 3

CASES: dict[str, dict[str, Any]] = {
    "state": {},
    "concat": {"latent": ("concat",)},
    "add": {"latent": ("add",)},
    "state, concat": {"latent": ("state", "concat")},
    "state, add": {"latent": ("state", "add")},
    "concat, add": {"latent": ("concat", "add")},
    "state, concat, add": {"latent": ("state", "concat", "add")},
    "hidden_tanh": {"initial_state": "hidden_tanh"},
    "cell": {"initial_state": "cell"},
    "both": {"initial_state": "both"},
    "both, concat": {"initial_state": "both", "latent": ("state", "concat")},
    "without latent bias": {"latent": ("state", "concat", "add"), "latent_bias": False},
    "concatenated map": {"latent": ("concat",), "concat_size": 2},
    "highway relu": {"latent_highway": "relu", "latent": ("state", "concat")},
    "highway elu": {"latent_highway": "elu", "latent": ("add",)},
    "tied": {"tied": True},
    "tied, same size": {"tied": True, "hidden_size": EMBEDDING, "latent": ("concat",)},
    "without output bias": {"output_bias": False},
    "inputless unknown": {"inputless": "unknown", "latent": ("state", "add")},
    "inputless zeros": {"inputless": "zeros", "latent": ("state", "concat")},
}
CONFIGS = {
    f"{case}, {cell}, {layers}": DecoderConfig(**{"cell": cell, "layers": layers, "hidden_size": STATE} | options)
    for (case, options), cell, layers in product(CASES.items(), ("lstm", "gru"), (1, 2))
    if cell == "lstm" or options.get("initial_state") not in ("cell", "both")
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def decoder(config: DecoderConfig) -> Decoder:
    torch.manual_seed(0)
    made = Decoder(config, nn.Embedding(WORDS, EMBEDDING), LATENT)
    enlarge(made, 2.0)
    return made.eval()


def latents(count: int) -> Tensor:
    return torch.randn(count, LATENT, generator=torch.Generator().manual_seed(1))


def linear(layer: nn.Module | None, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return layer.weight @ x + (0 if layer.bias is None else layer.bias)


def reference_logits(made: Decoder, ids: list[int], z: Tensor) -> Tensor:
    """(T, V) of one sentence, a cell at a time, from what the configuration promises."""
    config = made.config
    code = z
    if config.latent_highway:
        gate = torch.sigmoid(linear(made.highway.gate, z))
        changed = linear(made.highway.transform, z)
        changed = changed.clamp(min=0) if config.latent_highway == "relu" else nn.functional.elu(changed)
        code = gate * changed + (1 - gate) * z
    hidden = list(torch.zeros(config.layers, config.hidden_size))
    cell = list(torch.zeros(config.layers, config.hidden_size))
    if "state" in config.latent:
        mapped = list(linear(made.to_state, code).split(config.hidden_size))
        first = mapped[: config.layers]
        if config.initial_state == "cell":
            hidden, cell = [torch.tanh(c) for c in first], first
        elif config.initial_state == "both":
            hidden, cell = first, mapped[config.layers :]
        else:
            hidden = [torch.tanh(h) for h in first] if config.initial_state == "hidden_tanh" else first
    logits = []
    for word in ids:
        if config.inputless == "unknown" and word != BOS:
            word = UNK
        x = made.embedding.weight[word] if config.inputless != "zeros" else torch.zeros(EMBEDDING)
        if "add" in config.latent:
            x = x + linear(made.to_embedding, code)
        if "concat" in config.latent:
            x = torch.cat((x, linear(made.to_concat, code) if config.concat_size else code))
        for layer in range(config.layers):
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = [getattr(made.network, f"{kind}_l{layer}") for kind in kinds]
            if config.cell == "lstm":
                state = (hidden[layer][None], cell[layer][None])
                new_hidden, new_cell = torch.lstm_cell(x[None], state, *weights)
                hidden[layer], cell[layer] = new_hidden[0], new_cell[0]
            else:
                hidden[layer] = torch.gru_cell(x[None], hidden[layer][None], *weights)[0]
            x = hidden[layer]
        if config.tied:
            x = x if config.hidden_size == EMBEDDING else made.output_map.weight @ x
            logits.append(made.embedding.weight @ x + (made.output.bias if config.output_bias else 0))
        else:
            logits.append(made.output.weight @ x + (made.output.bias if config.output_bias else 0))
    return torch.stack(logits)


IDS = torch.tensor([[BOS, 5, 7, 6, 11], [BOS, 9, 9, 5, 8], [BOS, 6, 5, 10, 7]])


@every_config
def test_teacher_forcing_and_writing_step_by_step_give_the_logits_of_the_definition(config: DecoderConfig) -> None:
    made, z = decoder(config), latents(3)
    expected = torch.stack([reference_logits(made, ids.tolist(), code) for ids, code in zip(IDS, z, strict=True)])
    forced = made.logits(made(IDS, z).flatten(0, 1)).view(3, 5, WORDS)
    torch.testing.assert_close(forced, expected, rtol=1e-4, atol=1e-5)
    state = None
    for step in range(IDS.shape[1]):
        hidden, state = made.step(IDS[:, step], z, state)
        torch.testing.assert_close(made.logits(hidden), expected[:, step], rtol=1e-4, atol=1e-5)


@every_config
def test_z_decides_the_first_and_the_last_word(config: DecoderConfig) -> None:
    made, z = decoder(config), latents(3).requires_grad_()
    states = made(IDS, z)
    for step in (0, -1):
        (gradient,) = torch.autograd.grad(states[:, step].sum(), z, retain_graph=True)
        assert float(gradient.abs().max()) > 1e-4


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_without_the_state_placement_the_network_starts_from_zeros(cell: Any) -> None:
    assert decoder(DecoderConfig(cell=cell, latent=("concat", "add"))).initial_state(latents(2)) is None


@pytest.mark.parametrize("inputless", ["unknown", "zeros"])
def test_an_inputless_decoder_does_not_see_the_words_before(inputless: Any) -> None:
    made, z = decoder(DecoderConfig(hidden_size=STATE, inputless=inputless)), latents(3)
    other = IDS.clone()
    other[:, 1:] = torch.tensor([8, 8, 1, 6])
    assert torch.equal(made(IDS, z), made(other, z))
    seeing = decoder(DecoderConfig(hidden_size=STATE))
    assert not torch.allclose(seeing(IDS, z), seeing(other, z), atol=1e-3)


def model(vocabulary: str = VOCABULARY, factor: float = 4.0, **options: Any) -> Autoencoder:
    made = small(Autoencoder, vocabulary=vocabulary, decoder=DecoderConfig(hidden_size=13, max_words=12, **options))
    enlarge(made, factor)
    return made.eval().requires_grad_(False)


def codes(count: int) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


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


def test_input_dropout_drops_features_of_z_and_of_embeddings_alike_and_in_training_only() -> None:
    torch.manual_seed(0)
    config = DecoderConfig(hidden_size=4, latent=("concat",), input_dropout=0.25)
    decoder = Decoder(config, nn.Embedding(9, 300), 100)
    nn.init.ones_(decoder.embedding.weight)
    seen = decoder._embed(torch.full((20, 5), 6), torch.ones(20, 100))
    for part in (seen[..., :300], seen[..., 300:]):
        share = float((part == 0).float().mean())
        assert abs(share - 0.25) < 4 * (0.25 * 0.75 / part.numel()) ** 0.5
    assert bool((decoder.eval()._embed(torch.full((2, 5), 6), torch.ones(2, 100)) == 1).all())


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


def test_tied_weights_are_one_parameter_and_embeddings_are_shared_on_request() -> None:
    tied = small(Autoencoder, decoder=DecoderConfig(tied=True))
    assert tied.backbone.decoder.output.weight is tied.backbone.embedding.weight
    assert tied.backbone.encoder_embedding is tied.backbone.embedding
    apart = small(Autoencoder, embedding=EmbeddingConfig(12, shared=False), posterior=PosteriorConfig(latent_size=3))
    assert apart.backbone.encoder_embedding is not apart.backbone.embedding
    assert apart.backbone.decoder.embedding is apart.backbone.embedding


@pytest.mark.parametrize("kind", ["cell", "both"])
def test_a_cell_state_is_refused_for_a_gru(kind: Any) -> None:
    with pytest.raises(UsageError, match="gru has no cell state"):
        replace(DecoderConfig(cell="gru"), initial_state=kind)


@pytest.mark.parametrize("name", ["hidden_size", "layers", "concat_size", "max_words"])
def test_sizes_out_of_range_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"decoder.{name} is -1"):
        DecoderConfig(**{name: -1})  # type: ignore[arg-type]  # a size each
