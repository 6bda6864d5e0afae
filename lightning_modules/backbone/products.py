"""Products with weights on CPUs, by oneDNN where it is the faster one. N rows, I features in, O features out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Weights from so many on; with fewer, what Python has to do of it takes longer than what is won.
MANY = 500_000


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """(..., I) to (..., O), as `torch.nn.functional.linear`, whose float32 products are slower on AMD's CPUs."""
    float32 = x.dtype == weight_OI.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    large = x.dim() > 1 and x.numel() > 0 and weight_OI.numel() >= MANY
    fits = x.shape[-1:] == weight_OI.shape[1:] and (bias_O is None or bias_O.shape == weight_OI.shape[:1])
    if not (float32 and large and fits and onednn_is_faster(x.device, x.dtype)):  # PyTorch says what does not fit
        return nn.functional.linear(x, weight_OI, bias_O)
    return _product(x.flatten(0, -2), weight_OI, bias_O).view(*x.shape[:-1], -1)


class LaidOut:
    """Weights by which many inputs are multiplied, without gradients, while they do not change.

    oneDNN lays a copy of them out, as it else would for each product; nothing is copied where it is not the faster one.

    Args:
        weight_OI: The weights.
        bias_O: Is added.
        rows: Of an input.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, rows: int) -> None:
        self.weight_OI, self.bias_O = weight_OI.detach(), None if bias_O is None else bias_O.detach()
        self.by_onednn = onednn_is_faster(weight_OI.device, weight_OI.dtype)
        if self.by_onednn:
            self.weight_OI = torch.ops.mkldnn._reorder_linear_weight(self.weight_OI, rows)

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(N, I), in the precision of the weights, to (N, O)."""
        if self.by_onednn:
            return _onednn(x_NI, self.weight_OI, self.bias_O)
        return nn.functional.linear(x_NI, self.weight_OI, self.bias_O)


class Projection(nn.Linear):
    """A linear layer that can be told of many inputs to come, for which its weights are laid out once."""

    _laid_out: LaidOut | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        if self._laid_out is None:
            return linear(x, self.weight, self.bias)
        return self._laid_out(x.to(self._laid_out.weight_OI.dtype))

    @contextmanager
    def for_many(self, rows: int) -> Iterator[None]:
        """For many inputs of so many rows, without gradients: until it ends, the weights must not change."""
        mixed = torch.is_autocast_enabled("cpu") and self.weight.dtype != torch.float64  # which it leaves alone
        dtype = torch.get_autocast_dtype("cpu") if mixed else self.weight.dtype
        if torch.is_grad_enabled() or not onednn_is_faster(self.weight.device, dtype):
            yield
            return
        before = self._laid_out
        self._laid_out = LaidOut(self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype), rows)
        try:
            yield
        finally:
            self._laid_out = before


class _Product(torch.autograd.Function):
    """x W' + b, and the gradient of x, which is such a product, too.

    That of W is PyTorch's product: oneDNN's would come transposed, and setting it right takes as long as is won.
    """

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_NI, weight_OI)
        return _onednn(_dense(x_NI), _dense(weight_OI), bias_O)

    @staticmethod
    def backward(ctx: Any, to_product_NO: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, weight_OI = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            _product(to_product_NO, weight_OI.t()) if to_x else None,
            to_product_NO.t() @ x_NI if to_weight else None,
            to_product_NO.sum(0) if to_bias else None,
        )


def _product(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    product: Callable[..., Tensor] = _Product.apply
    return product(x_NI, weight_OI, bias_O)


def _dense(matrix: Tensor) -> Tensor:
    """Of a part of a larger matrix a copy, without which oneDNN takes a thousand times as long."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def _onednn(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, "none", [], "")
    return product


def onednn_is_faster(device: torch.device, dtype: torch.dtype) -> bool:
    """By properties that do not change from run to run, so that a run can be repeated bit for bit."""
    is_available: Callable[[], bool] = torch.backends.mkldnn.is_available
    if device.type != "cpu" or not is_available():
        return False
    if dtype == torch.bfloat16:
        return bfloat16_is_fast()
    return dtype == torch.float32 and torch.backends.cpu.get_cpu_capability() == "AVX512" and not _has_mkls_best()


def bfloat16_is_fast() -> bool:
    """Whether the processor computes in bfloat16; PyTorch, which else does it in its stead, is far slower."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def _has_mkls_best() -> bool:
    """Whether MKL uses all of the processor: it is made for Intel's, and is known not to on AMD's."""
    try:
        return "AuthenticAMD" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
