"""Recurrent cells and the rules of autocast on the stand-in for a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

aten = torch.ops.aten

# Of what CUDA's autocast makes in the lower precision, and in float32, what there is of it here.
LOWERED = "addmm addmv addr matmul mm mv linear addbmm baddbmm bmm _thnn_fused_lstm_cell _thnn_fused_gru_cell"
IN_FLOAT32 = (
    "exp expm1 log log1p reciprocal rsqrt pow.Tensor_Scalar pow.Tensor_Tensor softplus layer_norm cdist logsumexp "
    "cumsum sum sum.dim_IntList softmax.int log_softmax.int nll_loss_nd cross_entropy_loss "
    "binary_cross_entropy_with_logits"
)


def lstm_cell(gates: Tensor, hidden_gates: Tensor, cell: Tensor, *biases: Tensor) -> tuple[Tensor, ...]:
    i, f, c, o = sum(biases, gates + hidden_gates).chunk(4, 1)
    i, f, c, o = i.sigmoid(), f.sigmoid(), c.tanh(), o.sigmoid()
    after = f * cell + i * c
    return o * after.tanh(), after, torch.cat((i, f, c, o), 1)


def lstm_cell_backward(
    hidden: Tensor | None, cell: Tensor | None, before: Tensor, after: Tensor, gates: Tensor, has_bias: bool
) -> tuple[Tensor | None, ...]:
    i, f, c, o = gates.chunk(4, 1)
    hidden = torch.zeros_like(before) if hidden is None else hidden
    bent = after.tanh()
    slope = hidden * o * (1 - bent**2) + (0 if cell is None else cell)
    inside = (
        slope * c * i * (1 - i),
        slope * before * f * (1 - f),
        slope * i * (1 - c**2),
        hidden * bent * o * (1 - o),
    )
    found = torch.cat(inside, 1)
    return found, slope * f, found.sum(0) if has_bias else None


def gru_cell(gates: Tensor, hidden_gates: Tensor, before: Tensor, *biases: Tensor) -> tuple[Tensor, ...]:
    r, z, n = (gates + biases[0]).chunk(3, 1)
    hidden_r, hidden_z, hidden_n = (hidden_gates + biases[1]).chunk(3, 1)
    r, z = (r + hidden_r).sigmoid(), (z + hidden_z).sigmoid()
    n = (n + r * hidden_n).tanh()
    return (1 - z) * n + z * before, torch.cat((r, z, n, before, hidden_n), 1)


def gru_cell_backward(hidden: Tensor, kept: Tensor, has_bias: bool) -> tuple[Tensor, ...]:
    r, z, n, before, hidden_n = kept.chunk(5, 1)
    slope_n = hidden * (1 - z) * (1 - n**2)
    slope_z, slope_r = hidden * (before - n) * z * (1 - z), slope_n * hidden_n * r * (1 - r)
    found, hidden_found = (torch.cat((slope_r, slope_z, each), 1) for each in (slope_n, slope_n * r))
    return found, hidden_found, hidden * z, found.sum(0), hidden_found.sum(0)


# Cells that are fused on other devices than the CPU.
CELLS: dict[Any, Callable[..., Any]] = {
    aten._thnn_fused_lstm_cell.default: lstm_cell,
    aten._thnn_fused_lstm_cell_backward_impl.default: lstm_cell_backward,
    aten._thnn_fused_gru_cell.default: gru_cell,
    aten._thnn_fused_gru_cell_backward.default: gru_cell_backward,
}


def named(name: str) -> Any:
    """An operation, as in `sum.dim_IntList`."""
    base, _, overload = name.partition(".")
    return getattr(getattr(aten, base), overload or "default")


def autocast(device: str, operation: Any, is_lowered: bool) -> Callable[..., Any]:
    """The operation with what it is given in the lower precision, or in float32."""
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def run_in_its_precision(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype(device) if is_lowered else torch.float32

        def cast(value: Any) -> Any:
            known = isinstance(value, Tensor) and value.dtype in (torch.float32, torch.float16, torch.bfloat16)
            return value.to(dtype) if known else value

        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operation(*pytree.tree_map(cast, args), **pytree.tree_map(cast, kwargs))

    return run_in_its_precision
