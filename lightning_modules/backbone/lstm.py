"""The LSTM: PyTorch's, but for bfloat16 on CPUs.

B sentences, T steps, E input, H state, G = 4 H gates, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_modules.backbone.products import LaidOut, bfloat16_is_fast, linear

LARGE = 768
"""Features of a state from which on our steps are taken, which then take less time.

With 1,024 features they took 0.64 (64 sentences) to 0.85 (256) of oneDNN's time, with 512 they took 1.2 times as long,
on an AMD EPYC (`make bench ARGS=lstm`). On other processors they were not measured.
"""
LONG = 20
"""Steps of a sentence, from which on it takes less time to lay the weights out once than for each product anew."""

Pair = tuple[Tensor, Tensor]


class LSTM(nn.LSTM):
    """An `nn.LSTM` that runs in bfloat16 on every CPU, and with a large state trains faster in it.

    oneDNN's, which PyTorch takes on CPUs, ends with an error on one without such instructions; the one that PyTorch
    puts together of single products does not. On one with them oneDNN's backward pass takes far longer than its
    products do where the state is large: steps of our own, which have no second derivatives, are taken instead.
    """

    def forward(self, x_BTE: Any, state: Pair | None = None) -> Any:
        """As `nn.LSTM`'s with `batch_first`, (B, T, H) and a pair of (L, B, H).

        Args:
            x_BTE: The input.
            state: The hidden and the cell state before the first step, (L, B, H) each; zeros where it is none.

        Raises:
            RuntimeError: The input or a state has another shape than the network takes.
            ValueError: The input has not as many dimensions.
        """
        if self.takes_own_steps(x_BTE):
            return self._by_own_steps(x_BTE, state)
        if self.weight_ih_l0.device.type != "cpu" or bfloat16_is_fast() or not self._is_bfloat16():
            return super().forward(x_BTE, state)
        # Not `mkldnn.flags`, which sets TF32 as well, and warns where there is none.
        setting = "enabled"
        before = getattr(torch.backends.mkldnn, setting)
        setattr(torch.backends.mkldnn, setting, False)
        try:
            return super().forward(x_BTE, state)
        finally:
            setattr(torch.backends.mkldnn, setting, before)

    def _is_bfloat16(self) -> bool:
        return self.weight_ih_l0.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")

    def takes_own_steps(self, x_BTE: Any) -> bool:
        """Whether an input is read by our steps: in bf16-mixed on a CPU, with gradients, and the state is large.

        Neither packed inputs are, nor networks other than `recurrent` makes them.
        """
        mixed = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if self.hidden_size < LARGE or not (mixed and torch.is_grad_enabled() and bfloat16_is_fast()):
            return False
        weight, plain = self.weight_ih_l0, self.batch_first and self.bias and not self.bidirectional
        if weight.device.type != "cpu" or weight.dtype != torch.float32 or not plain or self.proj_size > 0:
            return False
        return isinstance(x_BTE, Tensor) and x_BTE.dim() == 3 and x_BTE.numel() > 0

    def _by_own_steps(self, x_BTE: Tensor, state: Pair | None) -> tuple[Tensor, Pair]:
        self.check_input(x_BTE, None)
        if state is not None:
            self.check_forward_args(x_BTE, state, None)
        x_TBE, hidden, cells = x_BTE.transpose(0, 1), [], []
        for layer, weights in enumerate(self.all_weights):
            if layer > 0:
                x_TBE = nn.functional.dropout(x_TBE, self.dropout, self.training)
            x_TBE, cell_BH = _layer(x_TBE, None if state is None else (state[0][layer], state[1][layer]), weights)
            hidden.append(x_TBE[-1])
            cells.append(cell_BH)
        return x_TBE.transpose(0, 1), (torch.stack(hidden), torch.stack(cells))


def _layer(x_TBE: Tensor, state: Pair | None, weights: Sequence[Tensor]) -> Pair:
    """The states (T, B, H) of one layer, and the last cell state (B, H)."""
    from_input, from_state, input_bias, state_bias = weights
    inputs_TBG = linear(x_TBE, from_input, input_bias + state_bias)
    dtype = inputs_TBG.dtype  # of the products, which autocast chooses
    steps: Callable[..., Pair] = _Steps.apply
    states_TBH, cell_BH = steps(inputs_TBG, *(state or (None, None)), from_state.to(dtype))
    return states_TBH, cell_BH.to(dtype)


class _Steps(torch.autograd.Function):
    """The steps of an LSTM whose inputs are multiplied with their weights already, and have the biases.

    With (i, f, g, o) = inputs + W h, the next c is sigmoid(f) c + sigmoid(i) tanh(g), the next h sigmoid(o) tanh(c)
    (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000, in the form of cuDNN and PyTorch).
    Products and h are in the precision of W, all else in float32 or better. h and c begin as zeros where they are none.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs_TBG: Tensor, hidden_BH: Tensor | None, cell_BH: Tensor | None, weight_GH: Tensor
    ) -> Pair:
        steps, sentences, size = *inputs_TBG.shape[:2], weight_GH.shape[1]
        gates_TBG = inputs_TBG.to(torch.promote_types(weight_GH.dtype, torch.float32), copy=True)
        tanhs_TBH = gates_TBG.new_empty(steps, sentences, size)
        cells, states = gates_TBG.new_empty(steps + 1, sentences, size), weight_GH.new_empty(steps + 1, sentences, size)
        cells[0] = 0 if cell_BH is None else cell_BH
        states[0] = 0 if hidden_BH is None else hidden_BH
        product = _product_with(weight_GH, sentences, steps)
        for t in range(steps):  # indexed as it is read: beside products as large as these it is not felt
            if t > 0 or hidden_BH is not None:
                gates_TBG[t] += product(states[t])
            i, f, g, o = gates_TBG[t].chunk(4, dim=1)
            gates_TBG[t, :, : 2 * size].sigmoid_()
            torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g.tanh_())
            torch.mul(o.sigmoid_(), torch.tanh(cells[t + 1], out=tanhs_TBH[t]), out=states[t + 1])
        ctx.save_for_backward(gates_TBG, states, cells, tanhs_TBH, weight_GH)
        ctx.from_zeros = hidden_BH is None
        return states[1:], cells[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_TBH: Tensor, gradient_BH: Tensor) -> tuple[Tensor | None, ...]:
        gates_TBG, states, cells, tanhs_TBH, weight_GH = ctx.saved_tensors
        through_sigmoid, through_tanh = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
        to_gates_TBG = torch.empty_like(gates_TBG, dtype=weight_GH.dtype)
        product = _product_with(weight_GH.t(), len(gradient_BH), len(gates_TBG))
        to_cell_BH, to_state_BH = gradient_BH.to(cells.dtype, copy=True), None
        for t in reversed(range(len(gates_TBG))):
            i, f, g, o = gates_TBG[t].chunk(4, dim=1)
            to_i, to_f, to_g, to_o = to_gates_TBG[t].chunk(4, dim=1)
            to_hidden_BH = gradient_TBH[t].to(cells.dtype)
            if to_state_BH is not None:
                to_hidden_BH = to_hidden_BH + to_state_BH
            through_sigmoid.grad_input(to_hidden_BH * tanhs_TBH[t], o, grad_input=to_o)
            to_cell_BH += through_tanh(to_hidden_BH * o, tanhs_TBH[t])
            through_sigmoid.grad_input(to_cell_BH * g, i, grad_input=to_i)
            through_sigmoid.grad_input(to_cell_BH * cells[t], f, grad_input=to_f)
            through_tanh.grad_input(to_cell_BH * i, g, grad_input=to_g)
            to_cell_BH *= f
            to_state_BH = None if t == 0 and ctx.from_zeros else product(to_gates_TBG[t])
        to_weight_GH = None
        if ctx.needs_input_grad[3]:
            first = int(ctx.from_zeros)  # zeros have no part in it
            to_weight_GH = to_gates_TBG[first:].flatten(0, 1).t() @ states[first:-1].flatten(0, 1)
        return to_gates_TBG, to_state_BH, None if ctx.from_zeros else to_cell_BH, to_weight_GH


def _product_with(weight_OI: Tensor, rows: int, steps: int) -> Callable[[Tensor], Tensor]:
    """(B, I) to (B, O), for so many steps."""
    if steps >= LONG:
        return LaidOut(weight_OI, None, rows)
    return partial(nn.functional.linear, weight=weight_OI)
