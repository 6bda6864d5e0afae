"""Files of sentences with an attribute's two values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from datamodules.errors import require
from datamodules.sentences import as_seen, known_rows, known_sentences, read_lines

# Sentences with the first value, and with the second.
Pair = tuple[Sequence[str], Sequence[str]]
# Of the distinct sentences of files alone, these shares are changed, and stop the training of the classifier.
CHANGED, VALID = 0.2, 0.1


@dataclass(frozen=True)
class AttributeFiles:
    """Text files, one whitespace-tokenised sentence a line; of each kind one with the first value, one with the second.

    Attributes:
        vector: The sentences whose latents make the vector, such as `[valid.present, valid.past]`.
        changed: Those that are changed; where null, the corpus' test split if its labels hold the attribute, else a
            fifth of the sentences above, which is held out.
        references: What the lines of `changed` are to become, line by line, for BLEU.
    """

    vector: tuple[str, str]
    changed: tuple[str, str] | None = None
    references: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        named = self.references is None or self.changed is not None
        require(named, "files.references go line by line with files.changed: give these, too")

    def read(self, vocabulary: Tokenizer) -> Pair:
        """The sentences of the vector, as a model of the vocabulary sees them.

        Raises:
            UsageError: A file cannot be read, has an empty line, or no known word.
        """
        return known_sentences(self.vector[0], vocabulary), known_sentences(self.vector[1], vocabulary)

    def read_changed(self, vocabulary: Tokenizer) -> tuple[Pair, Pair | None] | None:
        """The sentences to change, as a model of the vocabulary sees them, and their references, where they are given.

        Raises:
            UsageError: A file cannot be read, has an empty line, or no known word, or the references are not as many.
        """
        if self.changed is None:
            return None
        lines = [read_lines(file) for file in self.changed]
        rows = [known_rows(read, vocabulary, file) for read, file in zip(lines, self.changed, strict=True)]
        seen = [as_seen([read[row] for row in some], vocabulary) for read, some in zip(lines, rows, strict=True)]
        if self.references is None:
            return (seen[0], seen[1]), None
        true = [read_lines(file) for file in self.references]
        for value in (0, 1):
            require(
                len(true[value]) == len(lines[value]),
                f"{self.references[value]} has {len(true[value])} lines, {self.changed[value]} has "
                f"{len(lines[value])}: give one reference a line",
            )
        kept = [[read[row] for row in some] for read, some in zip(true, rows, strict=True)]
        return (seen[0], seen[1]), (kept[0], kept[1])


def without(pair: Pair, others: Pair) -> Pair:
    """The distinct sentences of a pair, in their order, that are in neither side of another."""
    taken = {*others[0], *others[1]}
    first, second = ([sentence for sentence in dict.fromkeys(side) if sentence not in taken] for side in pair)
    return first, second


def parts_of(pair: Pair, shares: Sequence[float], seed: int = 0) -> list[Pair]:
    """A pair cut by seed into parts of these shares, and the rest, so that no sentence is in two of them."""
    distinct = list(dict.fromkeys([*pair[0], *pair[1]]))
    order = np.random.default_rng(seed).permutation(len(distinct))
    cuts = np.cumsum([round(share * len(distinct)) for share in shares])
    parts: list[Pair] = []
    for rows in np.split(order, cuts):
        chosen = {distinct[row] for row in rows}
        first, second = ([sentence for sentence in dict.fromkeys(side) if sentence in chosen] for side in pair)
        parts.append((first, second))
    return parts
