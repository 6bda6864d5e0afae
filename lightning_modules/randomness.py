"""Random numbers that belong to a sentence, not to a batch: a pure function of (seed, draw, sentence, element).

A counter-based generator: the counter is hashed by two rounds of the splitmix64 finaliser (Steele et al. 2014), which
integer tensors compute on any device. So a sentence's noise does not change with its batch companions, the order of the
data, the number of ranks, or a resume.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import require

# Up to here NumPy, which starts an operation in half the time, makes the same integers faster than PyTorch's threads.
FEW = 65_536
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class SentenceRandom:
    """The random numbers of a batch of sentences.

    Attributes:
        index: (B,) position of each sentence in its split.
        seed: The run's seed.
        epoch: Training epoch, or -1 in evaluation: an evaluation draws the same numbers whenever it is done (-2 for a
            second draw beside the first).
    """

    index: Tensor
    seed: int
    epoch: int

    def uniform(self, stream: str, *shape: int, sample: int = 0, first: int = 0) -> Tensor:
        """(B, *shape) float32 in the open interval (0, 1).

        Args:
            stream: What the numbers are for; each stream is independent.
            shape: Numbers of one sentence; those of a longer shape begin with those of a shorter one (last axis).
            sample: Which of several draws for the same purpose.
            first: Of a shape of two axes, how many rows are left out before those that are given.

        Raises:
            UsageError: More rows or columns than have numbers of their own.
        """
        # One after the other, so that no two of them can change places or cancel.
        key = 0
        for part in (self.seed, zlib.crc32(stream.encode()), self.epoch, sample):
            key = _mix(key ^ _mix(part))
        columns = shape[-1] if shape else 1
        rows = math.prod(shape[:-1])
        apart = first + rows <= 1 << 16 and (columns <= 1 << 16 or first + rows == 1)
        require(
            apart, f"{first + rows:,} times {columns:,} numbers a sentence: there are 65,536 draws of as many, at most"
        )
        bits: Tensor
        if self.index.device.type == "cpu" and len(self.index) * rows * columns < FEW:
            bits = torch.from_numpy(_bits(self.index.numpy(), np.arange(first, first + rows), np.arange(columns), key))
        else:
            device = self.index.device
            places = torch.arange(first, first + rows, device=device), torch.arange(columns, device=device)
            bits = _bits(self.index, *places, key)
        # 23 bits and the half that keeps 0 and 1 out are what a float32 holds exactly; one more would round up to 1.
        unit = (bits.to(torch.float32) + 0.5) * 2.0**-23
        return unit.view(len(self.index), *shape)

    def normal(self, stream: str, *shape: int, sample: int = 0, first: int = 0) -> Tensor:
        """(B, *shape) float32 standard normal numbers; arguments as for `uniform`."""
        return torch.special.ndtri(self.uniform(stream, *shape, sample=sample, first=first))


def _bits(index: Any, rows: Any, columns: Any, key: int) -> Any:
    """23 random bits for each sentence and element, in arrays or tensors of int64."""
    element = ((rows[:, None] << 16) + columns).reshape(-1)
    bits = _hash(_hash((index[:, None] << 32) + element) ^ _signed(key))
    return (bits >> 40) & 0x7FFFFF


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _hash(value: Any) -> Any:
    value = value + _signed(_GOLDEN)
    value = (value ^ _shift(value, 30)) * _signed(0xBF58476D1CE4E5B9)
    value = (value ^ _shift(value, 27)) * _signed(0x94D049BB133111EB)
    return value ^ _shift(value, 31)


def _shift(value: Any, bits: int) -> Any:
    """Logical right shift: that of int64 copies the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
