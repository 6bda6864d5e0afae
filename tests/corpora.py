"""What tests of corpora share: folders of text that are written, splits that are read back, and the one message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from torch.utils.data import DataLoader

from datamodules import TextDataModule
from datamodules.batch import TokenBatch
from datamodules.errors import UsageError

SPLITS = ("train", "valid", "test")
# Words 1 to 9 in a sentence, none of them the same; every word is in the training split.
SENTENCES = {
    split: [" ".join(f"w{(start + 7 * k) % 60}" for k in range(1 + start % 9)) for start in range(first, last)]
    for split, (first, last) in {"train": (0, 60), "valid": (60, 85), "test": (85, 100)}.items()
}


class Mine(TextDataModule):
    """A corpus with its own folder below DATA_DIR."""

    corpus = "mine"
    label_names = ("even", "odd")


def write_folder(folder: Path, splits: Mapping[str, list[str] | bytes], labels: bool = False) -> str:
    """Writes text files; the label of a sentence is the parity of its number of words."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, lines in splits.items():
        content = lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode()
        (folder / f"{split}.txt").write_bytes(content)
        if labels and not isinstance(lines, bytes):
            (folder / f"{split}.labels").write_text("".join(f"{len(line.split()) % 2}\n" for line in lines))
    return str(folder)


def everywhere(content: list[str] | bytes) -> dict[str, list[str] | bytes]:
    """The same content in every split."""
    return {split: content for split in SPLITS}


def sentences_of(module: TextDataModule, split: str) -> list[str]:
    """The encoded split as text, by position."""
    words, encoded = vocabulary_words(module.vocabulary), module.split(split).encoded
    return [" ".join(words[token] for token in ids) for ids in encoded["ids"][:]]


def loaders(module: TextDataModule) -> dict[str, DataLoader[TokenBatch]]:
    """The loader of each split."""
    return {
        "train": module.train_dataloader(),
        "valid": module.val_dataloader(),
        "test": module.test_dataloader(),
    }


def check_batches(module: TextDataModule, split: str, expected: list[str], batches: list[TokenBatch]) -> None:
    """Every sentence comes once, under its position in the split."""
    words = vocabulary_words(module.vocabulary)
    seen: list[int] = []
    for batch in batches:
        for row, index in enumerate(batch.index.tolist()):
            targets = batch.targets[row, : batch.lengths[row]].tolist()
            assert " ".join(words[token] for token in targets) == f"{expected[index]} <eos>"
            if batch.labels is not None:
                assert int(batch.labels[row]) == len(expected[index].split()) % 2
            seen.append(index)
    assert sorted(seen) == list(range(len(expected))), split


def message_of(module: TextDataModule) -> str:
    """The message of the one UsageError that preparing the corpus ends in."""
    with pytest.raises(UsageError) as caught:
        module.prepare_data()
    return str(caught.value)


def vocabulary_words(tokenizer: Tokenizer) -> list[str]:
    """Every token by id, the specials first."""
    words: dict[str, int] = json.loads(tokenizer.to_str())["model"]["vocab"]
    return sorted(words, key=words.__getitem__)
