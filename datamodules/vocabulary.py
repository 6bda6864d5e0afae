"""The words a model knows: a `tokenizers.Tokenizer` whose JSON is the run's `vocabulary.json`.

The specials have fixed ids, so no one needs to look them up. A corpus may hold their spellings as ordinary text; the
tokenizer's own normalizer turns every such word into `<unk>`, so none becomes a second word of the same spelling (which
shifts every later id in the text-autoencoders code).
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase, Normalizer, Replace
from tokenizers.normalizers import Sequence as NormalizerSequence
from tokenizers.pre_tokenizers import WhitespaceSplit

from datamodules.errors import UsageError, require

PAD, UNK, BOS, EOS, BLANK = range(5)
SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>", "<blank>")
# Spellings that corpora use for an unknown word, and those that would collide with a special of ours or of others.
UNKNOWN_LITERALS = ("<unk>", "_UNK")
RESERVED_LITERALS = ("<pad>", "<bos>", "<eos>", "<blank>", "<go>", "<sos>", "<s>", "</s>")


@dataclass(frozen=True)
class VocabularyConfig:
    """Which words a corpus' vocabulary keeps; the limits combine.

    Attributes:
        size: At most this many words, the most frequent ones (the five specials come on top).
        min_count: Only words seen at least this often in the training split.
        coverage: The fewest words, most frequent first, that cover this share of the training tokens (Vani: 0.97).
        lowercase: Lower-case all text.
        digits: Replace every digit by `#`.
        file: Use this `vocabulary.json` instead of building one.
    """

    size: int | None = None
    min_count: int = 1
    coverage: float | None = None
    lowercase: bool = False
    digits: bool = False
    file: str | None = None

    def __post_init__(self) -> None:
        require(self.size is None or self.size > 0, f"vocabulary.size is {self.size}: give a positive number of words")
        require(self.min_count > 0, f"vocabulary.min_count is {self.min_count}: give 1 or more")
        require(
            self.coverage is None or 0 < self.coverage <= 1,
            f"vocabulary.coverage is {self.coverage}: give a share of the tokens above 0 and up to 1",
        )


def build_vocabulary(lines: Iterable[str], config: VocabularyConfig) -> Tokenizer:
    """Counts the words of a training split and keeps the most frequent ones, ties in alphabetical order.

    Words that are spelled like a special become unknown; one warning counts them.

    Raises:
        UsageError: No word is left.
    """
    tokenizer = _tokenizer([], config)
    counts: Counter[str] = Counter()
    reserved = re.compile(_words_pattern(RESERVED_LITERALS, config))
    specials: Counter[str] = Counter()
    for line in lines:
        if "<" in line:
            specials.update(reserved.findall(line))
        counts.update(tokenizer.normalizer.normalize_str(line).split())
    if specials:
        met = ", ".join(f"{word} ({count})" for word, count in sorted(specials.items()))
        warnings.warn(f"words spelled like special tokens become {SPECIAL_TOKENS[UNK]}: {met}", stacklevel=2)
    for literal in SPECIAL_TOKENS:
        counts.pop(literal, None)
    ranked = sorted((word for word in counts if counts[word] >= config.min_count), key=lambda w: (-counts[w], w))
    ranked = ranked[: config.size]
    if config.coverage is not None:
        ranked = ranked[: _words_covering(config.coverage, [counts[word] for word in ranked], counts.total())]
    require(bool(counts), "the training split has no words: it is blank, or holds unknown tokens alone")
    require(bool(ranked), "no word of the training split is left for the vocabulary: lower vocabulary.min_count")
    return _tokenizer(ranked, config)


def closed_vocabulary(words: Sequence[str]) -> Tokenizer:
    """A vocabulary of exactly these words, in this order."""
    return _tokenizer(words, VocabularyConfig())


def read_vocabulary(file: str | Path) -> Tokenizer:
    """Reads a `vocabulary.json`.

    Raises:
        UsageError: The file is missing, is no tokenizer, or lacks our specials at their ids.
    """
    try:
        return parse_vocabulary(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"vocabulary file {file} cannot be read: {error}") from error
    except UsageError as error:
        raise UsageError(f"vocabulary file {file}: {error}") from error


def parse_vocabulary(text: str) -> Tokenizer:
    """Makes the tokenizer from its JSON.

    Raises:
        UsageError: The text is no tokenizer's JSON, or lacks our specials at their ids.
    """
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the Rust side raises bare Exception
        raise UsageError(f"not a vocabulary of the tokenizers library ({error})") from error
    for token_id, token in enumerate(SPECIAL_TOKENS):
        found = tokenizer.token_to_id(token)
        require(found == token_id, f"special token {token} has id {found} instead of {token_id}: not made by textae")
    ids = sorted(tokenizer.get_vocab().values())
    require(ids == list(range(len(ids))), "its ids are not 0, 1, 2, ...: not made by textae")
    require(len(ids) > len(SPECIAL_TOKENS), "it holds no word")
    return tokenizer


def _words_covering(share: float, counts: Sequence[int], total: int) -> int:
    covered = 0
    for kept, count in enumerate(counts, start=1):
        covered += count
        if covered >= share * total:
            return kept
    return len(counts)


def _words_pattern(words: Sequence[str], config: VocabularyConfig) -> str:
    """Matches whole words; where text is lower-cased, `<PAD>` would become the special too."""
    return rf"{'(?i)' if config.lowercase else ''}(?<!\S)(?:{'|'.join(words)})(?!\S)"


def _tokenizer(words: Sequence[str], config: VocabularyConfig) -> Tokenizer:
    ids = {token: token_id for token_id, token in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=SPECIAL_TOKENS[UNK]))
    literals = [literal for literal in (*UNKNOWN_LITERALS, *RESERVED_LITERALS) if literal != SPECIAL_TOKENS[UNK]]
    steps: list[Normalizer] = [Replace(Regex(_words_pattern(literals, config)), SPECIAL_TOKENS[UNK])]
    if config.lowercase:
        steps.append(Lowercase())
    if config.digits:
        steps.append(Replace(Regex(r"\d"), "#"))
    tokenizer.normalizer = NormalizerSequence(steps)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer
