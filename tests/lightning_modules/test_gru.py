"""The GRU against PyTorch's on the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from lightning_modules.backbone import gru
from lightning_modules.backbone.gru import GRU
from lightning_modules.backbone.recurrent import recurrent

B, T, E, C, H = 3, 5, 4, 2, 7


def both(layers: int = 1, constant: int = 0, dropout: float = 0.0) -> tuple[GRU, nn.GRU]:
    """Ours and PyTorch's, of the same weights."""
    torch.manual_seed(0)
    ours = recurrent("gru", E + constant, H, layers, dropout)
    theirs = nn.GRU(E + constant, H, layers, batch_first=True, dropout=dropout)
    theirs.load_state_dict(ours.state_dict())
    assert isinstance(ours, GRU)
    return ours, theirs


def repeated(x: Tensor, constant: Tensor) -> Tensor:
    return torch.cat((x, constant[:, None].repeat(1, T, 1)), dim=2)


def given(layers: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """An input, a state and a constant that want their gradients."""
    random = torch.Generator().manual_seed(1)
    shapes = ((B, T, E), (layers, B, H), (B, C))
    x, state, constant = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes)
    return x.requires_grad_(), state.requires_grad_(), constant.requires_grad_()


def loss(states: Tensor, last: Tensor) -> Tensor:
    """Of all outputs, each with a weight of its own."""
    weights = torch.linspace(-1, 2, states.numel(), dtype=states.dtype).view_as(states)
    return (weights * states).sum() + (torch.linspace(1, 3, last.numel(), dtype=last.dtype).view_as(last) * last).sum()


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("with_constant", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_a_gru_has_the_values_and_gradients_of_pytorchs(layers: int, with_constant: bool, with_state: bool) -> None:
    ours, theirs = both(layers, C if with_constant else 0)
    ours, theirs = ours.double(), theirs.double()
    x, state, constant = given(layers)
    inputs = [x] + [state] * with_state + [constant] * with_constant
    start = state if with_state else None
    found = ours(x, start, constant if with_constant else None)
    true = theirs(repeated(x, constant) if with_constant else x, start)
    gradients = [
        torch.autograd.grad(loss(*outputs), [*inputs, *network.parameters()])
        for outputs, network in ((found, ours), (true, theirs))
    ]
    for value, other in zip((*found, *gradients[0]), (*true, *gradients[1]), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-12)


def test_its_steps_have_the_gradients_of_finite_differences() -> None:
    torch.manual_seed(0)
    shapes = ((3, 2, 12), (2, 4), (12, 4), (12,))
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(gru._Steps.apply, tensors)


def test_without_gradients_it_is_the_same() -> None:
    ours, _ = both(constant=C)
    x, state, constant = (tensor.float() for tensor in given())
    with torch.no_grad():
        found = ours(x, state, constant)
    for value, other in zip(found, ours(x, state, constant), strict=True):
        torch.testing.assert_close(value, other)


def test_dropout_is_between_its_layers_in_training_alone() -> None:
    ours, theirs = both(2, dropout=0.5)
    x = given()[0].float()
    for training in (True, False):
        found = []
        for network in (ours.train(training), theirs.train(training)):
            torch.manual_seed(3)
            found.append(network(x)[0])
        torch.testing.assert_close(*found)
        assert torch.equal(ours(x)[0], found[0]) != training  # another mask


def test_packed_sentences_are_pytorchs_to_read() -> None:
    ours, theirs = both()
    packed = pack_padded_sequence(given()[0].float(), torch.tensor([5, 3, 1]), batch_first=True)
    found, true = ours(packed)[0], theirs(packed)[0]
    assert isinstance(found, PackedSequence)
    assert torch.equal(found.data, true.data)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_is_at_least_as_near_as_pytorchs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours, x = recurrent("gru", 40, 60), torch.randn(20, 30, 40)
    theirs = nn.GRU(40, 60, batch_first=True)
    exact = nn.GRU(40, 60, batch_first=True)
    for network in (theirs, exact):
        network.load_state_dict(ours.state_dict())
    true = torch.autograd.grad(loss(*exact.double()(x.double())), list(exact.parameters()))
    distances = []
    for network in (ours, theirs):
        with torch.autocast("cpu", dtype):
            states, last = network(x)
        assert states.dtype == torch.float32
        gradients = torch.autograd.grad(loss(states, last), list(network.parameters()))
        assert all(value.dtype == torch.float32 for value in gradients)
        pairs = zip(gradients, true, strict=True)
        distances.append(max(float((value.double() - other).norm() / other.norm()) for value, other in pairs))
    assert 1e-5 < distances[0] < 1.2 * distances[1] < 0.05


def test_what_does_not_fit_is_refused() -> None:
    ours, _ = both(constant=C)
    x, _, constant = (tensor.float() for tensor in given())
    for inputs in ((x,), (x, None, constant[:, :1]), (torch.cat((x, x), 2), None, constant)):
        with pytest.raises(ValueError, match=f"features, the network takes {E + C}"):
            ours(*inputs)
    with pytest.raises(RuntimeError, match="hidden size"):
        ours(x, torch.zeros(1, 1, H), constant)


def test_frozen_weights_have_no_gradient() -> None:
    ours, _ = both()
    x = given()[0].float().detach().requires_grad_()
    states, last = ours.requires_grad_(False)(x)
    loss(states, last).backward()
    assert x.grad is not None and all(value.grad is None for value in ours.parameters())
