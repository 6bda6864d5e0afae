"""Every placement of the latent and every option of the decoder, against a cell at a time."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from decoders import EMBEDDING, STATE, WORDS, decoder, latents
from models import small
from torch import Tensor, nn

from datamodules.errors import UsageError
from datamodules.vocabulary import BOS, UNK
from lightning_modules import Autoencoder
from lightning_modules.backbone.decoder import Decoder, DecoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.posterior import PosteriorConfig

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
