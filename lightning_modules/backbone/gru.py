"""The GRU: PyTorch's, but for its training on CPUs.

B sentences, T steps, E input, C constant input, H state, G = 3 H gates, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_modules.backbone.products import LaidOut, linear


class GRU(nn.GRU):
    """An `nn.GRU` that trains in fewer and larger products on CPUs.

    PyTorch's makes a gradient of the recurrent weights at each step, and multiplies the weights of an input that is the
    same at each step, such as z, with it each time; here either is one product. It has no second derivatives.
    """

    def forward(
        self, x_BTE: Any, state_LBH: Tensor | None = None, constant_BC: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """As `nn.GRU`'s with `batch_first`, (B, T, H) and (L, B, H).

        Args:
            x_BTE: The input.
            state_LBH: Before the first step; zeros where it is none.
            constant_BC: The rest of the input, behind x, where that is the same at each step.

        Raises:
            ValueError: The input has not the features that the network takes.
            RuntimeError: The state has another shape.
        """
        if not self.takes_own_steps(x_BTE):
            return super().forward(x_BTE if constant_BC is None else beside(x_BTE, constant_BC), state_LBH)
        features = x_BTE.shape[2] + (0 if constant_BC is None else constant_BC.shape[1])
        if features != self.input_size:
            raise ValueError(f"the input has {features} features, the network takes {self.input_size}")
        dtype = self.all_weights[0][0].dtype
        shape = self.num_layers, len(x_BTE), self.hidden_size
        if state_LBH is None:
            state_LBH = x_BTE.new_zeros(shape, dtype=dtype)
        self.check_hidden_size(state_LBH, shape)
        x_TBE, last = x_BTE.transpose(0, 1), []
        for layer, (state_BH, weights) in enumerate(zip(state_LBH.to(dtype), self.all_weights, strict=True)):
            if layer > 0:
                x_TBE = nn.functional.dropout(x_TBE, self.dropout, self.training)
            x_TBE = _layer(x_TBE, state_BH, weights, constant_BC if layer == 0 else None)
            last.append(x_TBE[-1])
        return x_TBE.transpose(0, 1), torch.stack(last)

    @staticmethod
    def takes_own_steps(x_BTE: Any) -> bool:
        """Whether an input is read by our steps: on a CPU, with gradients, and not packed."""
        return isinstance(x_BTE, Tensor) and x_BTE.device.type == "cpu" and torch.is_grad_enabled()


def beside(x_BTE: Tensor, constant_BC: Tensor) -> Tensor:
    """(B, T, E + C), the constant at each step."""
    return torch.cat((x_BTE, constant_BC[:, None].expand(-1, x_BTE.shape[1], -1).to(x_BTE.dtype)), dim=2)


def _layer(x_TBE: Tensor, state_BH: Tensor, weights: Sequence[Tensor], constant_BC: Tensor | None) -> Tensor:
    """The states (T, B, H) of one layer."""
    from_input, from_state, input_bias, state_bias = weights
    size = x_TBE.shape[2]
    inputs_TBG = linear(x_TBE, from_input[:, :size], input_bias)
    if constant_BC is not None:
        inputs_TBG = inputs_TBG + linear(constant_BC, from_input[:, size:])
    steps: Callable[..., Tensor] = _Steps.apply
    # In the precision of the products, which autocast chooses.
    return steps(inputs_TBG, state_BH, from_state.to(inputs_TBG.dtype), state_bias)


class _Steps(torch.autograd.Function):
    """The steps of a GRU whose inputs i are multiplied with their weights already.

    With (s_r, s_z, s_n) = W h + b: r = sigmoid(i_r + s_r), z = sigmoid(i_z + s_z), n = tanh(i_n + r s_n), and the next
    state is (1 - z) n + z h (Cho et al. 2014, in the form of cuDNN and PyTorch). Products are in the precision of W,
    all else in the state's.
    """

    @staticmethod
    def forward(ctx: Any, inputs_TBG: Tensor, state_BH: Tensor, weight_GH: Tensor, bias_G: Tensor) -> Tensor:
        steps, size = len(inputs_TBG), state_BH.shape[1]
        gates_TBG = inputs_TBG.to(state_BH.dtype, copy=True)
        states = state_BH.new_empty(steps + 1, *state_BH.shape)
        states[0] = state_BH
        candidates_TBH = torch.empty_like(states[1:])  # s_n
        resets, updates, new = gates_TBG.chunk(3, dim=2)
        reset_update, new_bias = gates_TBG[:, :, : 2 * size], bias_G[2 * size :]
        reset_update += bias_G[: 2 * size]
        from_state = LaidOut(weight_GH, None, len(state_BH))
        # The views of all steps at once: to index each is felt beside products as small as these.
        for before, after, gates, r, z, n, s_n in zip(
            states[:-1].unbind(),
            states[1:].unbind(),
            reset_update.unbind(),
            resets.unbind(),
            updates.unbind(),
            new.unbind(),
            candidates_TBH.unbind(),
            strict=True,
        ):
            products_BG = from_state(before.to(weight_GH.dtype)).to(state_BH.dtype)
            gates.add_(products_BG[:, : 2 * size]).sigmoid_()
            torch.add(products_BG[:, 2 * size :], new_bias, out=s_n)
            n.addcmul_(r, s_n).tanh_()
            torch.lerp(n, before, z, out=after)
        ctx.save_for_backward(gates_TBG, states, candidates_TBH, weight_GH)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_TBH: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gates_TBG, states, candidates_TBH, weight_GH = ctx.saved_tensors
        r, z, n = gates_TBG.chunk(3, dim=2)
        # By the next state's gradient, which alone has to be waited for: i_n's, and those of (s_r, s_z, s_n).
        of_new = (1 - z) * (1 - n * n)
        slopes = torch.stack((of_new * candidates_TBH * (r - r * r), (states[:-1] - n) * (z - z * z), of_new * r), 2)
        to_state_BH = torch.zeros_like(states[0])
        to_states_TBH = torch.empty_like(candidates_TBH)
        to_gates = torch.empty_like(slopes, dtype=weight_GH.dtype)
        to_gates_TBG = to_gates.flatten(2)
        to_state = LaidOut(weight_GH.t(), None, len(to_state_BH))
        steps = zip(
            gradient_TBH.unbind(),
            to_states_TBH.unbind(),
            slopes.unbind(),
            to_gates.unbind(),
            to_gates_TBG.unbind(),
            z.unbind(),
            strict=True,
        )
        for of_state, to_after, slope, to_gate, to_gate_BG, kept in reversed(list(steps)):
            torch.add(of_state, to_state_BH, out=to_after)
            torch.mul(slope, to_after[:, None], out=to_gate)
            to_state_BH = to_state(to_gate_BG).to(to_state_BH.dtype).addcmul_(to_after, kept)
        to_weight_GH = to_gates_TBG.flatten(0, 1).t() @ states[:-1].flatten(0, 1).to(weight_GH.dtype)
        to_bias_G = to_gates_TBG.sum((0, 1), dtype=to_state_BH.dtype)
        to_gates_TBG[:, :, 2 * states.shape[2] :] = to_states_TBH * of_new  # and so those of the inputs
        return to_gates_TBG, to_state_BH, to_weight_GH, to_bias_G
