from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datamodules.errors import UsageError
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.initialization import InitializationConfig
from lightning_modules.backbone.layers import EmbeddingConfig, Highway
from lightning_modules.backbone.model import Backbone
from lightning_modules.backbone.posterior import PosteriorConfig

STATE = 20
DEFAULT = 1 / math.sqrt(STATE)  # of PyTorch's recurrent networks; not one of the ranges below


def backbone(tied: bool = False, shared: bool = True, **options: Any) -> Backbone:
    torch.manual_seed(0)
    return Backbone(
        200,
        EmbeddingConfig(30, shared=shared),
        DecoderConfig(hidden_size=STATE, latent_highway="relu", tied=tied),
        InitializationConfig(**options),
        EncoderConfig(hidden_size=STATE, summary_highway=True),
        PosteriorConfig(latent_size=15),
    )


def is_uniform_within(values: Tensor, bound: float) -> bool:
    """Inside the range, up to its ends, around 0, with a uniform distribution's variance."""
    values, count = values.detach(), values.numel()
    assert count > 200
    return (
        float(values.abs().max()) <= bound
        and float(values.max()) > 0.95 * bound
        and float(values.min()) < -0.95 * bound
        and abs(float(values.mean())) < 4 * bound / math.sqrt(3 * count)
        and abs(float(values.var()) / (bound**2 / 3) - 1) < 4 * math.sqrt(0.8 / count)
    )


def recurrent_weights(model: nn.Module) -> list[Tensor]:
    networks = [module for module in model.modules() if isinstance(module, nn.LSTM)]
    return [weight for network in networks for weight in (network.weight_ih_l0, network.weight_hh_l0)]


def test_by_default_everything_starts_as_pytorch_has_it() -> None:
    model = backbone()
    assert all(is_uniform_within(weights, DEFAULT) for weights in recurrent_weights(model))
    assert is_uniform_within(model.decoder.output.weight, DEFAULT)
    assert abs(float(model.embedding.weight.detach().var()) - 1) < 0.1  # standard normal


@pytest.mark.parametrize("shared", [True, False])
def test_shen_draws_embeddings_and_output_from_a_range_and_leaves_the_rest(shared: bool) -> None:
    model = backbone(shared=shared, embedding_range=0.1, output_range=0.1)
    assert is_uniform_within(model.embedding.weight, 0.1)
    assert is_uniform_within(model.encoder_embedding.weight, 0.1)
    assert is_uniform_within(model.decoder.output.weight, 0.1)
    assert not model.decoder.output.bias.any()
    assert all(is_uniform_within(weights, DEFAULT) for weights in recurrent_weights(model))
    assert len(recurrent_weights(model)) == 4


@pytest.mark.parametrize("bound", [0.1, 0.01])
def test_uniform_draws_every_parameter_but_the_gates_biases(bound: float) -> None:
    model = backbone(weights="uniform", range=bound)
    gates = {id(module.gate.bias) for module in model.modules() if isinstance(module, Highway)}
    assert len(gates) == 2
    others = [parameter for parameter in model.parameters() if id(parameter) not in gates]
    assert is_uniform_within(torch.cat([parameter.flatten() for parameter in others]), bound)
    for parameter in others:
        assert 0 < float(parameter.detach().abs().max()) <= bound


@pytest.mark.parametrize("weights", ["pytorch", "uniform", "xavier"])
def test_a_summary_highway_starts_by_letting_its_input_pass(weights: str) -> None:
    model = backbone(weights=weights)
    assert torch.equal(model.encoder.summary.highway.gate.bias, torch.full((STATE,), -2.0))
    assert not model.decoder.highway.gate.bias.any()


def test_a_range_of_its_own_holds_beside_uniform() -> None:
    model = backbone(weights="uniform", range=0.3, embedding_range=0.05, output_range=0.2)
    assert is_uniform_within(model.embedding.weight, 0.05)
    assert is_uniform_within(model.decoder.output.weight, 0.2)
    assert all(is_uniform_within(weights, 0.3) for weights in recurrent_weights(model))


def test_xavier_is_for_linear_layers_only() -> None:
    model = backbone(weights="xavier")
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert model.decoder.output in linear and len(linear) >= 6
    for layer in linear:
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert is_uniform_within(layer.weight, bound), layer
    gates = [module.gate for module in model.modules() if isinstance(module, Highway)]
    assert not any(layer.bias.any() for layer in linear if layer not in gates)
    assert all(is_uniform_within(weights, DEFAULT) for weights in recurrent_weights(model))


def test_tied_weights_stay_one_and_are_drawn_from_the_outputs_range() -> None:
    model = backbone(tied=True, output_range=0.1)
    assert model.decoder.output.weight is model.embedding.weight
    assert is_uniform_within(model.embedding.weight, 0.1)
    assert not model.decoder.output.bias.any()


@pytest.mark.parametrize("name", ["range", "embedding_range", "output_range"])
def test_an_empty_range_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"initialization.{name} is 0"):
        InitializationConfig(**{name: 0})
