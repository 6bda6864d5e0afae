"""Times of alternatives, measured in turn so that a machine's drift falls on all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

from callbacks.throughput import peak_memory


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


def medians(alternatives: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median seconds of each alternative; every round runs all of them, one after the other."""
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(repeats):
        for name, run in alternatives.items():
            gc.collect()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def peak_megabytes(run: Callable[[], object]) -> float:
    """By how much it raises this process's peak resident memory; 0 where something before it took more."""
    device = torch.device("cpu")
    before = peak_memory(device)
    run()
    return peak_memory(device) - before
