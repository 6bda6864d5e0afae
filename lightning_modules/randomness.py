"""Random numbers that belong to a sentence, not to a batch: a pure function of (seed, draw, sentence, element).

A counter-based generator: the counter is hashed by two rounds of the splitmix64 finaliser (Steele et al. 2014), which
integer tensors compute on any device. So a sentence's noise does not change with its batch companions, the order of the
data, the number of ranks, or a resume.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import UsageError

# Up to here NumPy, which starts an operation in half the time, makes the same integers faster than PyTorch's threads.
FEW = 65_536
BITS = 23  # random ones of a number
DRAWS = 1 << 16  # of a sentence for one purpose
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
        # 23 bits and the half that keeps 0 and 1 out are what a float32 holds exactly; one more would round up to 1.
        return (torch.as_tensor(self._bits(stream, shape, sample, first)).to(torch.float32) + 0.5) * 2.0**-BITS

    def bernoulli(self, stream: str, probability: float, *shape: int, sample: int = 0, first: int = 0) -> Tensor:
        """(B, *shape) bool, true where `uniform`, whose other arguments these are, is below the probability."""
        exact = float(np.float32(probability))
        return torch.as_tensor(self._bits(stream, shape, sample, first) < math.ceil(exact * 2**BITS - 0.5))

    def normal(self, stream: str, *shape: int, sample: int = 0, first: int = 0) -> Tensor:
        """(B, *shape) float32 standard normal numbers; arguments as for `uniform`."""
        return torch.special.ndtri(self.uniform(stream, *shape, sample=sample, first=first))

    def _bits(self, stream: str, shape: tuple[int, ...], sample: int, first: int) -> Any:
        """(B, *shape) int64 of 23 random bits, an array or a tensor."""
        key = _key(self.seed, stream, self.epoch, sample)
        columns = shape[-1] if shape else 1
        rows = math.prod(shape[:-1])
        if first + rows > DRAWS or (columns > DRAWS and first + rows > 1):
            raise UsageError(
                f"{first + rows:,} times {columns:,} numbers a sentence: there are {DRAWS:,} draws of as many, at most"
            )
        device, count = self.index.device, len(self.index)
        # The first round adds it to each counter; here there is one number a sentence.
        golden = _constant(_GOLDEN, True)
        if device.type == "cpu" and count * rows * columns < FEW:
            element = np.arange(columns)
            if first > 0 or rows != 1:
                element = ((np.arange(first, first + rows)[:, None] << 16) + element).reshape(-1)
            counter = ((self.index.numpy() << 32) + golden)[:, None] + element
            return _random(counter.view(np.uint64), key).view(np.int64).reshape(count, *shape)
        place = torch.arange(first, first + rows, device=device)[:, None] << 16
        counters = ((self.index << 32) + golden)[:, None] + (place + torch.arange(columns, device=device)).reshape(-1)
        return _random(counters, key).view(count, *shape)


@lru_cache(maxsize=1024)
def _key(seed: int, stream: str, epoch: int, sample: int) -> int:
    key = 0
    # One after the other, so that no two of them can change places or cancel.
    for part in (seed, zlib.crc32(stream.encode()), epoch, sample):
        key = _mix(key ^ _mix(part))
    return key


def _random(counter: Any, key: int) -> Any:
    """23 random bits for each counter + _GOLDEN, an array of uint64 or a tensor of int64, in its place."""
    spare = None if isinstance(counter, Tensor) else np.empty_like(counter)
    counter = _hash(counter, spare)
    counter ^= _constant(key, spare is None)
    counter += _constant(_GOLDEN, spare is None)
    counter = _hash(counter, spare)
    counter >>= 64 - BITS - 1
    counter &= (1 << BITS) - 1
    return counter


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _hash(value: Any, spare: Any) -> Any:
    """The finaliser, but for its first addition."""
    of_tensor = spare is None
    value ^= _shift(value, 30, spare)
    value *= _constant(0xBF58476D1CE4E5B9, of_tensor)
    value ^= _shift(value, 27, spare)
    value *= _constant(0x94D049BB133111EB, of_tensor)
    value ^= _shift(value, 31, spare)
    return value


def _shift(value: Any, bits: int, spare: Any) -> Any:
    """Logical right shift, of an array into another one: that of int64 copies the sign."""
    if spare is None:
        return (value >> bits) & ((1 << (64 - bits)) - 1)
    return np.right_shift(value, _constant(bits, False), out=spare)


@lru_cache(maxsize=1024)
def _constant(value: int, of_tensor: bool) -> Any:
    """64 bits, as the one kind of numbers or the other has them."""
    if of_tensor:
        return value - (1 << 64) if value >= 1 << 63 else value
    return np.uint64(value)
