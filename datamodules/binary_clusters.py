"""The toy data of Shen et al. (2020): clusters of bit strings."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer

from datamodules.errors import require
from datamodules.text import TextDataModule
from datamodules.vocabulary import closed_vocabulary


class BinaryClusters(TextDataModule):
    """Sequences of bits around random centres; the label is the cluster.

    The experiment asks how a model lays out the very data it is trained on: all splits hold the same sequences.

    Args:
        clusters: Number of centres, drawn uniformly.
        size: Sequences of each cluster.
        bits: Length of a sequence.
        flip: Probability that a bit differs from its centre's. The paper's slides do not state theirs.
        kwargs: See `TextDataModule`.
    """

    corpus = "binary_clusters"
    built_in = True

    def __init__(self, clusters: int = 5, size: int = 100, bits: int = 50, flip: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require(min(clusters, size, bits) > 0, "clusters, size and bits must be positive")
        require(0 <= flip <= 0.5, f"flip is {flip}: give a probability of at most 0.5, where no cluster is left")
        self.clusters = clusters
        self.size = size
        self.bits = bits
        self.flip = flip
        self.label_names = tuple(f"cluster {number}" for number in range(clusters))

    def make_vocabulary(self) -> Tokenizer:
        """The two words `0` and `1`."""
        return closed_vocabulary(["0", "1"])

    def read_split(self, split: str) -> Dataset:
        """All sequences, in the order of their clusters."""
        random = np.random.default_rng(self.seed)
        centres = random.integers(2, size=(self.clusters, 1, self.bits))
        flipped = random.random((self.clusters, self.size, self.bits)) < self.flip
        sequences = np.where(flipped, 1 - centres, centres).reshape(-1, self.bits)
        return Dataset.from_dict(
            {
                "text": [" ".join(str(bit) for bit in sequence) for sequence in sequences],
                "label": [cluster for cluster in range(self.clusters) for _ in range(self.size)],
            }
        )
