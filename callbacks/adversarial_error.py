"""The adversarial error: whether a classifier can tell written sentences from true ones (Bowman et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer

from callbacks.classifier_judge import ClassifierConfig, Labelled, accuracy, train_classifier
from datamodules.errors import require

TRUE, WRITTEN = 0, 1
# A tenth of the sentences stops the classifier's training, another one is what it is judged by.
TENTHS = 10


def adversarial_error(
    true: Sequence[str],
    written: Sequence[str],
    vocabulary: Tokenizer,
    config: ClassifierConfig,
    device: torch.device,
    seed: int,
) -> tuple[float, float]:
    """The accuracy of a classifier on held-out sentences minus 50%, which none exceeds on indistinguishable ones.

    0 is the best a writer can reach and 0.5 the worst; below 0 it is by chance alone. It is a two-sample test: `true`
    and `written` must come from different sentences. A sentence on both sides of the split, once true and once with
    another ending, would be known by its beginning, and taken for what its other version is.

    Args:
        true: Of the corpus.
        written: As many, by the model.
        vocabulary: Of both.
        config: The classifier.
        device: Where it is trained.
        seed: Of the split and the training.

    Returns:
        The error, and its standard error over the held-out sentences.

    Raises:
        UsageError: There are fewer than ten of each, or not as many of the one as of the other.
    """
    train, valid, test = split(true, written, seed)
    share = accuracy(train_classifier(train, valid, vocabulary, config, device, seed), test)
    return share - 0.5, math.sqrt(share * (1 - share) / len(test.labels))


def split(true: Sequence[str], written: Sequence[str], seed: int) -> tuple[Labelled, Labelled, Labelled]:
    """80%, 10% and 10% of the sentences, as many of the one kind as of the other in each; every sentence once.

    Raises:
        UsageError: There are fewer than ten of each, or not as many of the one as of the other.
    """
    count = len(true)
    require(count == len(written), f"there are {count} true sentences and {len(written)} written ones")
    require(count >= TENTHS, f"an 80/10/10 split needs {TENTHS} sentences of each kind or more, and there are {count}")
    tenth = count // TENTHS
    cuts = [slice(2 * tenth, None), slice(0, tenth), slice(tenth, 2 * tenth)]
    random = np.random.default_rng(seed)
    kinds = [(label, random.permutation(count), rows) for label, rows in ((TRUE, true), (WRITTEN, written))]
    parts = [[(rows[row], label) for label, order, rows in kinds for row in order[cut]] for cut in cuts]
    train, valid, test = (Labelled([text for text, _ in part], [label for _, label in part]) for part in parts)
    return train, valid, test
