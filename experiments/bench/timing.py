"""Times of alternatives, measured in turn so that a machine's drift falls on all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

from callbacks.throughput import peak_memory
from lightning_modules.backbone.products import bfloat16_is_fast


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: Is compared.
        reference: Seconds of the reference, the median.
        ours: Seconds of this framework, the median.
        target: The ratio that is to be reached.
        note: How far the results differ, or sizes.
    """

    what: str
    reference: float
    ours: float
    target: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster this framework is."""
        return self.reference / self.ours


def medians(alternatives: Mapping[str, Callable[[], object]], repeats: int, device: str = "cpu") -> dict[str, float]:
    """The median seconds of each alternative; every round runs all of them, one after the other.

    Those whose name has `bf16` are left out on a processor without bfloat16, where they would take hours. A GPU is
    waited for.
    """
    slow = device == "cpu" and not bfloat16_is_fast()
    measured = [name for name in alternatives if not (slow and "bf16" in name)]
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(repeats):
        for name in measured:
            gc.collect()
            _wait(device)
            start = time.perf_counter()
            alternatives[name]()
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize(device)


def peak_megabytes(run: Callable[[], object]) -> float:
    """By how much it raises this process's peak resident memory; 0 where something before it took more."""
    device = torch.device("cpu")
    before = peak_memory(device)
    run()
    return peak_memory(device) - before
