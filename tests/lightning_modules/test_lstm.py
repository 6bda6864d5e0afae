"""The LSTM against PyTorch's on the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import small
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from datamodules.batch import TokenBatch
from lightning_modules import SentenceVAE
from lightning_modules.backbone import lstm
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.lstm import LSTM
from lightning_modules.backbone.products import bfloat16_is_fast
from lightning_modules.backbone.recurrent import Cell, recurrent

B, T, E, H = 3, 5, 4, 7
Outputs = tuple[Tensor, tuple[Tensor, Tensor]]


def both(layers: int = 1, dropout: float = 0.0, input_size: int = E, hidden_size: int = H) -> tuple[LSTM, nn.LSTM]:
    """Ours and PyTorch's, of the same weights."""
    torch.manual_seed(0)
    ours = recurrent("lstm", input_size, hidden_size, layers, dropout)
    theirs = nn.LSTM(input_size, hidden_size, layers, batch_first=True, dropout=dropout)
    theirs.load_state_dict(ours.state_dict())
    assert isinstance(ours, LSTM)
    return ours, theirs


def given(layers: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """An input and the two parts of a state, which want their gradients."""
    random = torch.Generator().manual_seed(1)
    shapes = ((B, T, E), (layers, B, H), (layers, B, H))
    x, hidden, cell = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes)
    return x.requires_grad_(), hidden.requires_grad_(), cell.requires_grad_()


def loss(outputs: Outputs) -> Tensor:
    """Of all outputs, each with a weight of its own."""
    values = torch.cat([outputs[0].flatten(), *(part.flatten() for part in outputs[1])])
    return (torch.linspace(-1, 2, len(values), dtype=values.dtype) * values).sum()


@pytest.fixture
def own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our steps are taken with a state of any size, and weights laid out for 9 steps or more."""
    monkeypatch.setattr(lstm, "LARGE", 1)
    monkeypatch.setattr(lstm, "LONG", 9)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("with_state", [False, True])
def test_its_steps_have_the_values_and_gradients_of_pytorchs(layers: int, with_state: bool) -> None:
    ours, theirs = both(layers)
    ours, theirs = ours.double(), theirs.double()
    x, hidden, cell = given(layers)
    inputs = [x, hidden, cell] if with_state else [x]
    state = (hidden, cell) if with_state else None
    found, true = ours._by_own_steps(x, state), theirs(x, state)
    gradients = [
        torch.autograd.grad(loss(outputs), [*inputs, *network.parameters()])
        for outputs, network in ((found, ours), (true, theirs))
    ]
    pairs = zip((found[0], *found[1], *gradients[0]), (true[0], *true[1], *gradients[1]), strict=True)
    for value, other in pairs:
        torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_its_steps_have_the_gradients_of_finite_differences(with_state: bool, steps: int) -> None:
    torch.manual_seed(0)
    shapes = ((steps, 2, 16), (2, 4), (2, 4), (16, 4))
    inputs, hidden, cell, weight = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    state = (hidden, cell) if with_state else (None, None)
    assert torch.autograd.gradcheck(lstm._Steps.apply, (inputs, *state, weight))


@pytest.mark.skipif(not bfloat16_is_fast(), reason="the processor does not compute in bfloat16")
@pytest.mark.parametrize("steps", [6, 30])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.usefixtures("own_steps")
def test_in_mixed_precision_it_is_at_least_as_near_as_pytorchs(steps: int, with_state: bool) -> None:
    ours, theirs = both(input_size=40, hidden_size=60)
    exact = both(input_size=40, hidden_size=60)[1].double()
    x, state = torch.randn(20, steps, 40), (torch.randn(1, 20, 60), torch.randn(1, 20, 60)) if with_state else None
    true = exact(x.double(), None if state is None else (state[0].double(), state[1].double()))
    true_gradients = torch.autograd.grad(loss(true), list(exact.parameters()))
    distances = []
    for network in (ours, theirs):
        with torch.autocast("cpu", torch.bfloat16):
            assert network is theirs or ours.takes_own_steps(x)
            out: Outputs = network(x, state)
        assert out[0].dtype == out[1][0].dtype == out[1][1].dtype == torch.bfloat16
        gradients = torch.autograd.grad(loss(out), list(network.parameters()))
        assert all(value.dtype == torch.float32 for value in gradients)
        pairs = zip((out[0], *out[1], *gradients), (true[0], *true[1], *true_gradients), strict=True)
        distances.append([float((value - other).detach().norm() / other.detach().norm()) for value, other in pairs])
    assert all(1e-4 < near < 1.3 * far < 0.05 for near, far in zip(*distances, strict=True)), distances


@pytest.mark.skipif(not bfloat16_is_fast(), reason="the processor does not compute in bfloat16")
def test_its_steps_are_for_trainings_in_bf16_mixed_with_a_large_state(monkeypatch: pytest.MonkeyPatch) -> None:
    size, x = lstm.LARGE, torch.randn(2, 4, 3)
    large, small = LSTM(3, size, batch_first=True), LSTM(3, size - 1, batch_first=True)
    others = [LSTM(3, size, bias=False, batch_first=True), LSTM(3, size), LSTM(3, size, proj_size=2, batch_first=True)]
    others += [LSTM(3, size, bidirectional=True, batch_first=True), LSTM(3, size, batch_first=True).bfloat16()]
    packed = pack_padded_sequence(x, torch.tensor([4, 2]), batch_first=True)
    assert not large.takes_own_steps(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert large.takes_own_steps(x) and not any(network.takes_own_steps(x) for network in (small, *others))
        assert not large.takes_own_steps(packed) and isinstance(large(packed)[0], PackedSequence)
        assert not large.takes_own_steps(x[0]) and not large.takes_own_steps(x[:0])
        with torch.no_grad():
            assert not large.takes_own_steps(x)
        monkeypatch.setattr(lstm, "bfloat16_is_fast", lambda: False)
        assert not large.takes_own_steps(x)
    with torch.autocast("cpu", torch.float16):
        assert not large.takes_own_steps(x)


@pytest.mark.skipif(not bfloat16_is_fast(), reason="the processor does not compute in bfloat16")
@pytest.mark.usefixtures("own_steps")
def test_a_models_training_step_takes_them_and_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = TokenBatch.from_ids([[5, 6, 7, 8], [9, 5, 6, 7]])
    model = small(SentenceVAE, encoder=EncoderConfig(hidden_size=14), decoder=DecoderConfig(hidden_size=13))
    taken, apply = [], lstm._Steps.apply
    monkeypatch.setattr(lstm._Steps, "apply", lambda *given: taken.append(len(given)) or apply(*given))
    gradients = []
    for large in (1, 1000):
        monkeypatch.setattr(lstm, "LARGE", large)
        with torch.autocast("cpu", torch.bfloat16):
            value = model.objective(batch).loss.mean()
        gradients.append(torch.cat([part.flatten() for part in torch.autograd.grad(value, list(model.parameters()))]))
    assert len(taken) == 2  # the encoder's and the decoder's, once each
    assert 0 < float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 0.02


def test_its_steps_leave_the_gradients_that_they_are_given_as_they_are() -> None:
    inputs, weight = torch.randn(3, 2, 16, dtype=torch.float64), torch.randn(16, 4, dtype=torch.float64)
    outputs = lstm._Steps.apply(inputs.requires_grad_(), None, None, weight.requires_grad_())
    given = [torch.randn_like(output) for output in outputs]
    before = [gradient.clone() for gradient in given]
    torch.autograd.backward(outputs, given)
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))


def test_its_steps_say_that_they_have_no_second_derivatives() -> None:
    inputs, weight = torch.randn(3, 2, 16, requires_grad=True), torch.randn(16, 4, requires_grad=True)
    states, _ = lstm._Steps.apply(inputs, None, None, weight)
    (first,) = torch.autograd.grad(states.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()  # type: ignore[no-untyped-call]  # torch has it untyped


@pytest.mark.skipif(not bfloat16_is_fast(), reason="the processor does not compute in bfloat16")
@pytest.mark.usefixtures("own_steps")
def test_without_gradients_it_is_nearly_the_same() -> None:
    ours, _ = both()
    x, hidden, cell = (tensor.detach().float() for tensor in given())
    with torch.autocast("cpu", torch.bfloat16):
        found: Outputs = ours(x, (hidden, cell))
        with torch.no_grad():
            theirs: Outputs = ours(x, (hidden, cell))
    for value, other in ((found[0], theirs[0]), *zip(found[1], theirs[1], strict=True)):
        torch.testing.assert_close(value, other, rtol=0.02, atol=0.01)


def test_dropout_is_between_its_layers_in_training_alone() -> None:
    ours, theirs = both(2, dropout=0.5)
    ours, theirs, x = ours.double(), theirs.double(), given()[0]
    for training in (True, False):
        found = []
        for read in (ours.train(training)._by_own_steps, theirs.train(training)):
            torch.manual_seed(3)
            found.append(read(x, None)[0])
        torch.testing.assert_close(*found)
        assert torch.equal(ours._by_own_steps(x, None)[0], found[0]) != training  # another mask


def test_what_does_not_fit_is_refused_by_its_steps_as_by_pytorch() -> None:
    ours, theirs = both()
    x, hidden, cell = (tensor.detach().float() for tensor in given())
    for inputs in ((x[:, :, 1:], None), (x, (hidden[:, 1:], cell)), (x, (hidden, cell[:, :, 1:]))):
        with pytest.raises((ValueError, RuntimeError)) as theirs_says:
            theirs(*inputs)
        with pytest.raises(theirs_says.type) as ours_says:
            ours._by_own_steps(*inputs)
        assert str(ours_says.value) == str(theirs_says.value) != ""


def test_frozen_weights_have_no_gradient() -> None:
    ours, _ = both()
    x = given()[0].float().detach().requires_grad_()
    loss(ours.requires_grad_(False)._by_own_steps(x, None)).backward()  # type: ignore[no-untyped-call]  # torch has it untyped
    assert x.grad is not None and all(value.grad is None for value in ours.parameters())


@pytest.mark.parametrize("fast", [None, False])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_processor_runs_a_recurrent_network_in_bfloat16(
    cell: Cell, autocast: bool, fast: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fast is not None:  # as on a processor without the instructions, whichever this one is
        monkeypatch.setattr(lstm, "bfloat16_is_fast", lambda: fast)
    torch.manual_seed(0)
    network, x = recurrent(cell, 7, 5), torch.randn(3, 4, 7)
    true = network(x)[0]
    rounded = network if autocast else recurrent(cell, 7, 5).bfloat16()
    rounded.load_state_dict(network.state_dict())
    enabled, read, during = torch.backends.mkldnn.enabled, nn.LSTM.forward, []

    def watched(*given: Any) -> Any:
        during.append(torch.backends.mkldnn.enabled)
        return read(*given)

    monkeypatch.setattr(nn.LSTM, "forward", watched)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = rounded(x if autocast else x.bfloat16())[0]
    torch.testing.assert_close(out.float(), true, rtol=0.0, atol=0.02)
    assert not torch.equal(out.float(), true) and torch.backends.mkldnn.enabled == enabled
    assert during == ([lstm.bfloat16_is_fast()] if cell == "lstm" else [])  # without it oneDNN is left out
    out.float().sum().backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in rounded.parameters())
