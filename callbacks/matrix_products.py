"""The matrix products of training: how many operations they take, and how fast the machine is at them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_modules.backbone.gru import GRU
from lightning_modules.backbone.lstm import LSTM
from lightning_modules.backbone.products import bfloat16_is_fast

RECURRENT = (nn.LSTM, nn.GRU)
# Of the product that is timed.
SIZES = {"cpu": 1536, "cuda": 8192}


class MatrixProducts:
    """Counts the floating-point operations of the matrix products of a module's linear and recurrent layers.

    A weight takes 2 operations for each row (a sentence, or a step of one, padding included), and twice that again for
    the gradients. Of a GRU's constant input, a row is a sentence where it is multiplied once; an LSTM's state of zeros
    before the first step is not counted where it is not multiplied. Embeddings, activations and the softmax count
    nothing.

    Args:
        module: Of which the layers are watched, until `stop`.
    """

    def __init__(self, module: nn.Module) -> None:
        self.operations = 0.0
        self._handles: list[RemovableHandle] = []
        for layer in module.modules():
            if isinstance(layer, (nn.Linear, *RECURRENT)):
                weights = sum(value.numel() for value in layer.parameters() if value.dim() == 2)
                self._handles.append(layer.register_forward_pre_hook(partial(self._count, weights)))

    def stop(self) -> None:
        """Watches no longer."""
        for handle in self._handles:
            handle.remove()

    def _count(self, weights: int, layer: nn.Module, given: tuple[Any, ...]) -> None:
        rows = given[0].data if isinstance(given[0], nn.utils.rnn.PackedSequence) else given[0]
        # What is computed again for the backward pass has had its gradients counted.
        again = torch._C._current_graph_task_id() != -1
        passes = 3 if torch.is_grad_enabled() and not again else 1
        products = weights * (rows.numel() // rows.shape[-1])
        if isinstance(layer, (LSTM, GRU)) and layer.takes_own_steps(rows):
            products -= _left_out(layer, rows, *given[1:])
        self.operations += 2.0 * passes * products


def _left_out(layer: LSTM | GRU, x_BTE: Tensor, state: Any = None, constant_BC: Tensor | None = None) -> int:
    """Of one product a weight and step, those that our steps do without."""
    if isinstance(layer, LSTM):
        return 0 if state is not None else 4 * layer.hidden_size**2 * layer.num_layers * len(x_BTE)
    return 0 if constant_BC is None else 3 * layer.hidden_size * constant_BC.numel() * (x_BTE.shape[1] - 1)


def matrix_rate(device: torch.device, dtype: torch.dtype = torch.float32, repeats: int = 5) -> float:
    """Floating-point operations a second of a large matrix product, the median of some."""
    product, operations = large_product(device, dtype)
    seconds = []
    for _ in range(repeats + 1):  # the first one warms up
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    return operations / median(seconds[1:])


def large_product(device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Callable[[], None], float]:
    """A matrix product as PyTorch makes it, large enough to reach a processor's rate, and its operations."""
    size = SIZES.get(device.type, SIZES["cuda"])
    if device.type == "cpu" and dtype != torch.float32 and not bfloat16_is_fast():
        size //= 6  # or it would take minutes
    one = torch.ones(size, size, device=device, dtype=dtype)
    return lambda: _finished(one @ one), 2.0 * size**3


def _finished(product: Tensor) -> None:
    if product.device.type == "cuda":
        torch.cuda.synchronize(product.device)
