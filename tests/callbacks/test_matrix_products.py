from __future__ import annotations

import pytest
import torch
from models import small
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from callbacks.matrix_products import SIZES, MatrixProducts, matrix_rate
from datamodules.batch import TokenBatch
from lightning_modules import LanguageModel
from lightning_modules.backbone import lstm
from lightning_modules.backbone.gru import GRU
from lightning_modules.backbone.products import bfloat16_is_fast


def test_of_linear_layers_they_are_those_that_torch_counts() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 11))
    products = MatrixProducts(network)
    x = torch.randn(3, 4, 5, requires_grad=True)  # of a first layer's input torch counts no gradient without
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    assert products.operations == counter.get_total_flops()
    products.operations = 0.0
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x)
    assert products.operations == counter.get_total_flops() > 0
    products.stop()
    network(x)
    assert products.operations == counter.get_total_flops()


@pytest.mark.parametrize("kind, gates", [(nn.LSTM, 4), (nn.GRU, 3)])
def test_of_a_recurrent_layer_each_gate_has_two_maps_a_step(kind: type[nn.LSTM] | type[nn.GRU], gates: int) -> None:
    network = kind(5, 7, batch_first=True)
    products = MatrixProducts(network)
    x = torch.randn(3, 4, 5)
    network(x)
    assert products.operations == 3 * 2 * gates * 7 * (5 + 7) * 12
    products.operations = 0.0
    network(pack_padded_sequence(x, torch.tensor([4, 2, 1]), batch_first=True))
    assert products.operations == 3 * 2 * gates * 7 * (5 + 7) * 7


@pytest.mark.parametrize("gradients", [True, False])
def test_a_constant_input_of_a_gru_counts_once_a_sentence_where_it_is_multiplied_once(gradients: bool) -> None:
    network = GRU(5 + 2, 7, batch_first=True)
    products = MatrixProducts(network)
    with torch.set_grad_enabled(gradients):
        network(torch.randn(3, 4, 5), None, torch.randn(3, 2))
    steps = 3 * 7 * (5 + 7) * 12
    assert products.operations == (3 * 2 * (steps + 3 * 7 * 2 * 3) if gradients else 2 * (steps + 3 * 7 * 2 * 12))
    products.operations = 0.0
    network(torch.randn(3, 4, 7), None, None)
    assert products.operations == 3 * 2 * 3 * 7 * (7 + 7) * 12


@pytest.mark.skipif(not bfloat16_is_fast(), reason="the processor does not compute in bfloat16")
@pytest.mark.parametrize("with_state", [False, True])
def test_of_an_lstms_own_steps_they_are_those_that_torch_counts(
    with_state: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lstm, "LARGE", 1)
    network = lstm.LSTM(5, 7, num_layers=2, batch_first=True)
    products = MatrixProducts(network)
    x, state = torch.randn(3, 4, 5, requires_grad=True), torch.randn(2, 2, 3, 7, requires_grad=True)
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", torch.bfloat16):
        network(x, (state[0], state[1]) if with_state else None)[0].sum().backward()
    assert products.operations == counter.get_total_flops()


def test_what_is_computed_twice_has_its_gradients_counted_once() -> None:
    network = nn.Linear(5, 7)
    products = MatrixProducts(network)
    checkpoint(network, torch.randn(3, 5, requires_grad=True), use_reentrant=False).sum().backward()
    assert products.operations == (3 + 1) * 2 * 5 * 7 * 3


def test_of_a_model_logits_count_for_real_tokens_alone() -> None:
    model = small(LanguageModel)
    products = MatrixProducts(model)
    batch = TokenBatch.from_ids([[5, 6, 7, 8], [5]])
    model.objective(batch)
    words = model.vocabulary.get_vocab_size()
    recurrent = 4 * 13 * (12 + 13) * batch.inputs.numel()
    assert products.operations == 3 * 2 * (recurrent + 13 * words * len(batch.positions))
    assert len(batch.positions) == 7 < batch.inputs.numel()


def test_the_rate_is_that_of_the_product_that_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "cpu", 100)
    times = iter([0.0, 9.0, *(time for start in range(5) for time in (10.0 * start, 10.0 * start + 2.0))])
    monkeypatch.setattr("callbacks.matrix_products.time.perf_counter", lambda: next(times))
    assert matrix_rate(torch.device("cpu")) == pytest.approx(2 * 100**3 / 2.0)  # without the first one's 9 seconds
