from __future__ import annotations

import pytest
import torch
from models import enlarge, small

from datamodules.errors import UsageError
from lightning_modules import Autoencoder
from lightning_modules.decoding.search import greedy
from lightning_modules.decoding.text import to_text
from lightning_modules.decoding.traversal import traversal_offsets, traversals, traverse


def test_one_dimension_moves_and_the_others_stay() -> None:
    center = torch.tensor([1.0, -2.0, 0.5])
    z = traversals(center, [2, 0], [-1.0, 0.0, 3.0])
    assert z.tolist() == [
        [[1.0, -2.0, -0.5], [1.0, -2.0, 0.5], [1.0, -2.0, 3.5]],
        [[0.0, -2.0, 0.5], [1.0, -2.0, 0.5], [4.0, -2.0, 0.5]],
    ]
    assert center.tolist() == [1.0, -2.0, 0.5]


def test_offsets_are_equal_steps_around_zero() -> None:
    assert traversal_offsets(3.0, 7) == [-3, -2, -1, 0, 1, 2, 3]
    assert traversal_offsets(1.5, 2) == [-1.5, 1.5]
    for reach, steps, named in ((0.0, 3, "reach is 0"), (1.0, 1, "steps is 1")):
        with pytest.raises(UsageError, match=named):
            traversal_offsets(reach, steps)


def test_sentences_are_those_of_their_latents_alone() -> None:
    model = small(Autoencoder).eval()
    enlarge(model, 4.0)
    center, offsets = torch.linspace(-1, 1, 6), [-2.0, 0.0, 2.0, 4.0]
    found = traverse(model, center, [5, 1], offsets)
    for dimension, line in zip((5, 1), found, strict=True):
        for offset, sentence in zip(offsets, line, strict=True):
            z = center.clone()
            z[dimension] += offset
            assert [sentence] == to_text(model, greedy(model, z[None]))
    assert len({sentence for line in found for sentence in line}) > 3
