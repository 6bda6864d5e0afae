"""Files of sentences that belong to no corpus, such as those with one value of an attribute."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from tokenizers import Tokenizer

from datamodules.errors import UsageError, require
from datamodules.vocabulary import UNK


def read_lines(file: str | Path | None) -> list[str]:
    """All of `each_line`."""
    return list(each_line(file))


def each_line(file: str | Path | None) -> Iterator[str]:
    """The lines of a UTF-8 text file, or of standard input where none is named: a whitespace-tokenised sentence each.

    Only the line that is asked for is in memory.

    Raises:
        UsageError: It cannot be read, is empty, or has an empty line; at that line.
    """
    for number, line in _lines(file):
        sentence = " ".join(line.split())
        require(sentence != "", f"{_name(file)}, line {number}, is empty: give a sentence a line")
        yield sentence


def read_columns(file: str | Path, *names: str) -> list[list[str]]:
    """The rows of a UTF-8 file of columns between tabs, whitespace-tokenised.

    Args:
        file: Without a header.
        names: Of the columns, for the message.

    Raises:
        UsageError: It cannot be read, is empty, or a row has another number of columns, or an empty one.
    """
    rows = []
    for number, line in _lines(file):
        row = [" ".join(cell.split()) for cell in line.split("\t")]
        complete = len(row) == len(names) and all(row)
        require(complete, f"{file}, line {number}, is no row of {'<TAB>'.join(names)}: {' | '.join(row)}")
        rows.append(row)
    return rows


def _lines(file: str | Path | None) -> Iterator[tuple[int, str]]:
    """Lines and their numbers."""
    source, number = _name(file), 0
    try:
        # As bytes, for what text standard input is decoded to depends on the locale.
        with nullcontext(getattr(sys.stdin, "buffer", sys.stdin)) if file is None else Path(file).open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, line if isinstance(line, str) else line.decode("utf-8-sig" if number == 1 else "utf-8")
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is not UTF-8 text ({error.reason} in line {number}): convert it") from error
    require(number > 0, f"{source} is empty: give a sentence a line")


def _name(file: str | Path | None) -> str:
    return "standard input" if file is None else str(file)


def known_rows(sentences: Sequence[str], vocabulary: Tokenizer, source: str) -> list[int]:
    """Which sentences have a word of the vocabulary; one warning counts the others, which say nothing to a model.

    Args:
        sentences: Whitespace-tokenised.
        vocabulary: Of the model.
        source: Where they come from, for the messages.

    Raises:
        UsageError: None has.
    """
    encoded = vocabulary.encode_batch_fast(list(sentences))
    known = [row for row, encoding in enumerate(encoded) if set(encoding.ids) - {UNK}]
    require(bool(known), f"{source} has no sentence with a word that the model knows: is it of the model's corpus?")
    lost = len(encoded) - len(known)
    if lost:
        warnings.warn(
            f"{source}: {lost} of {len(encoded)} sentences have no known word, and are left out", stacklevel=2
        )
    return known


def as_seen(sentences: Sequence[str], vocabulary: Tokenizer) -> list[str]:
    """The sentences as a model of the vocabulary sees them: unknown words are `<unk>`."""
    encoded = vocabulary.encode_batch_fast(list(sentences))
    return [" ".join(str(vocabulary.id_to_token(word)) for word in encoding.ids) for encoding in encoded]


def known_sentences(file: str | Path, vocabulary: Tokenizer) -> list[str]:
    """The sentences of a file with a word of the vocabulary, as a model of it sees them.

    Raises:
        UsageError: There is none, or the file cannot be read or has an empty line.
    """
    lines = read_lines(file)
    return as_seen([lines[row] for row in known_rows(lines, vocabulary, str(file))], vocabulary)
