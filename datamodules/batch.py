"""What a data module hands to a model: token ids of sentences, padded at the end.

Shapes: B sentences, T steps (the longest sentence of the batch and its EOS).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.vocabulary import BOS, EOS, PAD


@dataclass  # not frozen: Lightning converts a batch to a true precision field by field
class TokenBatch:
    """A batch of sentences.

    Attributes:
        inputs: (B, T) ids, BOS then the words.
        targets: (B, T) ids, the words then EOS.
        lengths: (B,) number of targets of each sentence: its words and EOS.
        index: (B,) position of each sentence in its split.
        positions: (N,) where the N real targets lie in the flattened (B * T) batch, so that no one computes logits for
            padding, nor waits for the device to learn where it is.
        labels: (B,) class of each sentence, where the corpus has one.
        share: Factor that turns this rank's mean over sentences into its part of the mean over the global batch: 1 on
            one rank; a gradient averaged over ranks is then the global batch's. 0 marks a batch that only keeps step.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor
    index: Tensor
    positions: Tensor
    labels: Tensor | None = None
    share: float = 1.0

    @classmethod
    def from_ids(
        cls,
        sentences: Sequence[Sequence[int] | npt.NDArray[np.int32]],
        index: Sequence[int] | npt.NDArray[np.int64] | None = None,
        labels: Sequence[int] | npt.NDArray[np.int64] | None = None,
        share: float = 1.0,
    ) -> TokenBatch:
        """Pads word ids (without BOS and EOS) into a batch; sentences are numbered from 0 unless `index` is given."""
        lengths = np.fromiter((len(words) + 1 for words in sentences), dtype=np.int64, count=len(sentences))
        steps = int(lengths.max(initial=1))
        real = np.arange(steps) < lengths[:, None]
        inputs = np.full((len(sentences), steps), PAD, dtype=np.int64)
        targets = np.full((len(sentences), steps), PAD, dtype=np.int64)
        if sentences:
            words = np.concatenate(sentences)
            inputs[:, 1:][real[:, 1:]] = words
            targets[:, :-1][real[:, 1:]] = words
        inputs[:, 0] = BOS
        targets[np.arange(len(sentences)), lengths - 1] = EOS
        return cls(
            inputs=torch.from_numpy(inputs),
            targets=torch.from_numpy(targets),
            lengths=torch.from_numpy(lengths),
            index=torch.arange(len(sentences)) if index is None else torch.as_tensor(index, dtype=torch.int64),
            positions=torch.from_numpy(np.flatnonzero(real)),
            labels=None if labels is None else torch.as_tensor(labels, dtype=torch.int64),
            share=share,
        )

    def __len__(self) -> int:
        return self.lengths.shape[0]

    @property
    def mask(self) -> Tensor:
        """(B, T), true at real targets."""
        return length_mask(self.lengths, self.targets.shape[1])

    def tiled(self, count: int) -> TokenBatch:
        """The batch `count` times over, one after the other: (count * B) sentences of the same indices."""
        offsets = torch.arange(count, device=self.positions.device)[:, None] * self.targets.numel()
        return replace(
            self,
            inputs=self.inputs.repeat(count, 1),
            targets=self.targets.repeat(count, 1),
            lengths=self.lengths.repeat(count),
            index=self.index.repeat(count),
            positions=(self.positions + offsets).flatten(),
            labels=None if self.labels is None else self.labels.repeat(count),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TokenBatch:
        """The batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TokenBatch:
        """The batch in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function: Callable[[Tensor], Tensor]) -> TokenBatch:
        return replace(
            self,
            inputs=function(self.inputs),
            targets=function(self.targets),
            lengths=function(self.lengths),
            index=function(self.index),
            positions=function(self.positions),
            labels=None if self.labels is None else function(self.labels),
        )


def length_mask(lengths: Tensor, steps: int) -> Tensor:
    """(B, steps), true where the step is below the sentence's length (B,)."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]
