"""Ids to text that people read, and text to batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.vocabulary import BOS, EOS, PAD
from lightning_modules.text_model import TextModel


def to_text(model: TextModel, ids_BT: Tensor) -> list[str]:
    """Sentences in reading order from ids in the decoder's order; each ends before its first EOS or PAD."""
    words = [_before_end(row) for row in ids_BT.tolist()]
    if model.decoder_config.direction == "right_to_left":
        words = [row[::-1] for row in words]
    return _join(model.vocabulary, words)


def batch_text(vocabulary: Tokenizer, batch: TokenBatch) -> list[str]:
    """The sentences of a batch, as the model sees them (unknown words are `<unk>`)."""
    return _join(vocabulary, [_before_end(row) for row in batch.targets.tolist()])


def text_batch(vocabulary: Tokenizer, sentences: Sequence[str]) -> TokenBatch:
    """A batch of whitespace-tokenised sentences, numbered from 0."""
    return TokenBatch.from_ids([encoding.ids for encoding in vocabulary.encode_batch_fast(list(sentences))])


def text_batches(vocabulary: Tokenizer, sentences: Sequence[str], size: int = 256) -> Iterator[TokenBatch]:
    """The same in batches of up to `size`, each numbered from 0; sentences without a word count, too."""
    for start in range(0, len(sentences), size):
        yield text_batch(vocabulary, sentences[start : start + size])


def _before_end(ids: list[int]) -> list[int]:
    ends = [ids.index(end) for end in (EOS, PAD) if end in ids]
    return ids[: min(ends, default=len(ids))]


def _join(vocabulary: Tokenizer, sentences: list[list[int]]) -> list[str]:
    return [" ".join(str(vocabulary.id_to_token(word)) for word in words if word != BOS) for words in sentences]
