"""Tests of `TokenBatch` against its definition, written out sentence by sentence."""

from __future__ import annotations

import pickle
import random
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.batch import TokenBatch, length_mask
from datamodules.vocabulary import BOS, EOS, PAD

TENSORS = ("inputs", "targets", "lengths", "index", "positions", "labels")


def random_sentences(seed: int) -> list[list[int]]:
    """Up to 8 sentences of up to 9 words, empty ones among them, whose ids may be those of specials."""
    draw = random.Random(seed)
    return [[draw.randrange(20) for _ in range(draw.choice((0, 0, 1, 3, 9)))] for _ in range(draw.randrange(1, 9))]


@pytest.mark.parametrize("seed", range(30))
def test_batch_holds_what_is_defined(seed: int) -> None:
    sentences = random_sentences(seed)
    steps = max(len(words) for words in sentences) + 1
    padded = [[PAD] * (steps - 1 - len(words)) for words in sentences]

    batch = TokenBatch.from_ids(sentences)

    assert len(batch) == len(sentences)
    assert batch.inputs.tolist() == [[BOS, *w, *rest] for w, rest in zip(sentences, padded, strict=True)]
    assert batch.targets.tolist() == [[*w, EOS, *rest] for w, rest in zip(sentences, padded, strict=True)]
    assert batch.lengths.tolist() == [len(words) + 1 for words in sentences]
    assert batch.mask.tolist() == [[t <= len(words) for t in range(steps)] for words in sentences]
    assert batch.index.tolist() == list(range(len(sentences)))
    assert batch.positions.tolist() == [
        row * steps + t for row, words in enumerate(sentences) for t in range(len(words) + 1)
    ]
    # What the positions select is every sentence's words and EOS, whatever the ids are.
    assert batch.targets.flatten()[batch.positions].tolist() == [t for words in sentences for t in (*words, EOS)]
    assert batch.labels is None
    assert batch.share == 1.0


def test_numpy_rows_index_labels_and_share_are_taken_over() -> None:
    sentences = [np.array([7, 8], dtype=np.int32), np.array([], dtype=np.int32)]

    batch = TokenBatch.from_ids(sentences, index=np.array([40, 2]), labels=[3, 0], share=0.25)

    assert batch.inputs.tolist() == [[BOS, 7, 8], [BOS, PAD, PAD]]
    assert batch.targets.tolist() == [[7, 8, EOS], [EOS, PAD, PAD]]
    assert batch.index.tolist() == [40, 2]
    assert batch.labels is not None
    assert batch.labels.tolist() == [3, 0]
    assert batch.share == 0.25
    # Embedding, cross-entropy and gather take no other type.
    assert {getattr(batch, name).dtype for name in TENSORS} == {torch.int64}


def test_only_an_empty_sentence_still_has_its_eos() -> None:
    batch = TokenBatch.from_ids([[]])
    assert batch.inputs.tolist() == [[BOS]]
    assert batch.targets.tolist() == [[EOS]]
    assert batch.positions.tolist() == [0]


def test_mask_comes_from_lengths_not_from_the_pad_id() -> None:
    batch = TokenBatch.from_ids([[PAD, PAD], [9]])
    assert batch.mask.tolist() == [[True, True, True], [True, True, False]]
    assert batch.positions.tolist() == [0, 1, 2, 3, 4]


def test_length_mask() -> None:
    assert length_mask(torch.tensor([0, 2, 5]), 3).tolist() == [[False] * 3, [True, True, False], [True] * 3]


@pytest.mark.parametrize("labels", [None, [1, 0]])
def test_to_moves_every_tensor_and_keeps_the_rest(labels: list[int] | None) -> None:
    batch = TokenBatch.from_ids([[5], [6, 7]], labels=labels, share=0.5)

    moved = batch.to("meta")

    # Whatever field is a tensor, also one that is added later, has to move.
    for field in fields(batch):
        before, after = getattr(batch, field.name), getattr(moved, field.name)
        if isinstance(before, Tensor):
            assert (after.device.type, after.shape, after.dtype) == ("meta", before.shape, before.dtype), field.name
            assert before.device.type == "cpu"
        else:
            assert after == before, field.name
    assert moved.share == 0.5


def test_pickle_keeps_everything() -> None:
    batch = TokenBatch.from_ids([[5], [6, 7]], index=[3, 1], labels=[1, 0], share=0.5)

    copy = pickle.loads(pickle.dumps(batch))

    assert copy.share == 0.5
    assert all(torch.equal(getattr(copy, name), getattr(batch, name)) for name in TENSORS)
    assert copy.mask.tolist() == batch.mask.tolist()


def test_tiled_is_the_batch_several_times_over() -> None:
    rows = [[5, 6, 7], [8], [9, 5]]
    batch = TokenBatch.from_ids(rows, index=[4, 2, 9], labels=[0, 1, 1])
    tiled = batch.tiled(3)
    expected = TokenBatch.from_ids(rows * 3, index=[4, 2, 9] * 3, labels=[0, 1, 1] * 3)
    for field in fields(TokenBatch):
        if field.name != "share":
            assert torch.equal(getattr(tiled, field.name), getattr(expected, field.name)), field.name
