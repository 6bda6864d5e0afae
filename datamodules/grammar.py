"""An unambiguous probabilistic grammar of short reviews, with exact probabilities, labels and tense change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, combinations

import numpy as np
import numpy.typing as npt

from datamodules.grammar_lexicon import LEXICON, PLURAL_SHARE, TEMPLATES, Slot, read_slot

NEGATIVE, POSITIVE = 0, 1
PRESENT, PAST = 0, 1
_SENTIMENTS = {NEGATIVE: "neg", POSITIVE: "pos"}
_NUMBERS = {"sg": 1.0 - PLURAL_SHARE, "pl": PLURAL_SHARE}


@dataclass(frozen=True)
class Expansion:
    """A template with its sentiment, tense and number fixed: a row of independent slots.

    A sentence of the language belongs to exactly one expansion.
    """

    template: str
    sentiment: int
    tense: int
    probability: float
    slots: tuple[Slot, ...]

    def overlaps(self, other: Expansion) -> bool:
        """Tell whether some sentence belongs to both expansions."""
        return len(self.slots) == len(other.slots) and all(
            not mine.ranks.keys().isdisjoint(theirs.ranks) for mine, theirs in zip(self.slots, other.slots, strict=True)
        )


class ReviewGrammar:
    """A distribution over review-like sentences with labels for sentiment and tense.

    A template, a sentiment (0 negative, 1 positive), a tense (0 present, 1 past) and, where the template inflects for
    it, a number are drawn independently; they fix the word list of every position, and one word is drawn from each
    list. No sentence can be made in two ways, so probabilities and labels follow from the words alone.

    Attributes:
        words: Every terminal, sorted.
        entropy: Entropy of the sentence distribution, in nats a sentence.
        mean_length: Expected number of words of a sentence, punctuation included.
        expansions: The alternatives of the first draw; the present and past of a pair stand next to each other.
    """

    def __init__(self, templates: Mapping[str, float] = TEMPLATES, lexicon: Mapping[str, str] = LEXICON) -> None:
        """Expand the templates and derive the closed forms.

        Args:
            templates: Weight of each template; weights need not sum to one.
            lexicon: Word lists by slot, in the notation of `datamodules.grammar_lexicon`.

        Raises:
            ValueError: If some sentence would have two derivations.
            KeyError: If a template names a slot that the lexicon lacks.
        """
        total = sum(templates.values())
        self.expansions: tuple[Expansion, ...] = tuple(
            expansion
            for template, weight in templates.items()
            for expansion in _expand(template, weight / total, lexicon)
        )
        for one, other in combinations(self.expansions, 2):
            if one.overlaps(other):
                raise ValueError(f"ambiguous templates: {one.template!r} and {other.template!r}")
        self.words: tuple[str, ...] = tuple(sorted(_words_of(self.expansions)))
        # No sentence has two derivations, so the sentence's entropy is that of its derivation.
        self.entropy: float = sum(
            e.probability * (sum(slot.entropy for slot in e.slots) - math.log(e.probability)) for e in self.expansions
        )
        self.mean_length: float = sum(e.probability * len(e.slots) for e in self.expansions)
        self._matches = _index_words(self.expansions)
        self._bearers = {attribute: _bearers(self.expansions, attribute) for attribute in ("sentiment", "tense")}

    def sample(self, count: int, seed: int) -> list[str]:
        """Draw sentences independently.

        Args:
            count: Number of sentences.
            seed: Seed of the draws; a smaller count with the same seed gives a prefix.

        Returns:
            The sentences, in order of drawing.
        """
        width = 1 + max(len(expansion.slots) for expansion in self.expansions)
        uniform = np.random.default_rng(seed).random((count, width))
        chosen = _choose([expansion.probability for expansion in self.expansions], uniform[:, 0])
        sentences = [""] * count
        for index, expansion in enumerate(self.expansions):
            rows = np.flatnonzero(chosen == index)
            columns = [
                [slot.words[rank] for rank in _choose(slot.probabilities, uniform[rows, position])]
                for position, slot in enumerate(expansion.slots, start=1)
            ]
            for row, words in zip(rows, zip(*columns, strict=True), strict=True):
                sentences[row] = " ".join(words)
        return sentences

    def log_probability(self, sentence: str) -> float:
        """Return the natural logarithm of the sentence's probability, -inf when it is not in the language."""
        index = self._parse(sentence)
        if index is None:
            return -math.inf
        expansion = self.expansions[index]
        return math.log(expansion.probability) + sum(
            math.log(slot.probabilities[slot.ranks[word]])
            for slot, word in zip(expansion.slots, sentence.split(" "), strict=True)
        )

    def is_grammatical(self, sentence: str) -> bool:
        """Tell whether the sentence is in the language; its words must be separated by single spaces."""
        return self._match(sentence) != 0

    def labels(self, sentence: str) -> tuple[int, int] | None:
        """Return (sentiment, tense) of a sentence, None when it is not in the language."""
        index = self._parse(sentence)
        return None if index is None else (self.expansions[index].sentiment, self.expansions[index].tense)

    def value(self, sentence: str, attribute: str) -> int | None:
        """Return the value of an attribute on which all words of a text agree, grammatical or not.

        A word bears the attribute when it occurs with one value only: verb forms and adverbs of time bear tense; what
        is said of people and things, and how they act, bears sentiment.

        Args:
            sentence: Any text; words that do not bear the attribute, or are unknown, are passed over.
            attribute: "sentiment" (0 negative, 1 positive) or "tense" (0 present, 1 past).

        Returns:
            The value, None when no word bears the attribute or two disagree.

        Raises:
            KeyError: If there is no such attribute.
        """
        bearers = self._bearers[attribute]
        values = {bearers[word] for word in sentence.split() if word in bearers}
        return values.pop() if len(values) == 1 else None

    def content(self, sentence: str, attribute: str) -> list[str]:
        """Return the words of a text that do not bear the attribute, in their order."""
        bearers = self._bearers[attribute]
        return [word for word in sentence.split() if word not in bearers]

    def with_tense(self, sentence: str, tense: int) -> str:
        """Return the sentence with its verbs and adverbs of time in the given tense, all else as it was.

        The result is in the language and as probable as the sentence.

        Args:
            sentence: A sentence of the language.
            tense: 0 for present, 1 for past.

        Raises:
            ValueError: If the sentence is not in the language, or the tense is neither 0 nor 1.
        """
        index = self._parse(sentence)
        if index is None:
            raise ValueError(f"not in the language: {sentence!r}")
        if tense not in (PRESENT, PAST):
            raise ValueError(f"tense must be {PRESENT} (present) or {PAST} (past), got {tense!r}")
        source = self.expansions[index]
        target = self.expansions[index - source.tense + tense]
        return " ".join(
            to.words[of.ranks[word]]
            for of, to, word in zip(source.slots, target.slots, sentence.split(" "), strict=True)
        )

    def derivations(self, sentence: str) -> int:
        """Return how many derivations the sentence has: 1 when it is in the language, else 0."""
        return self._match(sentence).bit_count()

    def _match(self, sentence: str) -> int:
        """Return a bit set of all expansions to which the sentence belongs."""
        words = sentence.split(" ")
        positions = self._matches.get(len(words), [])
        found = -1 if positions else 0
        for position, word in zip(positions, words, strict=False):
            found &= position.get(word, 0)
        return found

    def _parse(self, sentence: str) -> int | None:
        """Return the index of the sentence's expansion, None when it is not in the language."""
        found = self._match(sentence)
        return found.bit_length() - 1 if found else None


def _expand(template: str, weight: float, lexicon: Mapping[str, str]) -> Iterator[Expansion]:
    """Yield a template's expansions; one that does not inflect for number has no separate plural."""
    rows = {
        (sentiment, number, tense): tuple(
            read_slot(token, _SENTIMENTS[sentiment], number, tense, lexicon) for token in template.split()
        )
        for sentiment in _SENTIMENTS
        for number in _NUMBERS
        for tense in (PRESENT, PAST)
    }
    inflects = any(row != rows[sentiment, "sg", tense] for (sentiment, _, tense), row in rows.items())
    for (sentiment, number, tense), row in rows.items():
        if inflects or number == "sg":
            share = _NUMBERS[number] if inflects else 1.0
            yield Expansion(template, sentiment, tense, weight * share / 4, row)


def _bearers(expansions: tuple[Expansion, ...], attribute: str) -> dict[str, int]:
    """Map the words that occur with one value of the attribute only to that value."""
    none, one = (_words_of(e for e in expansions if getattr(e, attribute) == value) for value in (0, 1))
    return dict.fromkeys(none - one, 0) | dict.fromkeys(one - none, 1)


def _words_of(expansions: Iterator[Expansion] | tuple[Expansion, ...]) -> set[str]:
    return {word for expansion in expansions for slot in expansion.slots for word in slot.words}


def _index_words(expansions: tuple[Expansion, ...]) -> dict[int, list[dict[str, int]]]:
    """Map a sentence length to, for each position, the bit set of expansions that allow a word there."""
    index: dict[int, list[dict[str, int]]] = {}
    for bit, expansion in enumerate(expansions):
        positions = index.setdefault(len(expansion.slots), [{} for _ in expansion.slots])
        for position, slot in zip(positions, expansion.slots, strict=True):
            for word in slot.words:
                position[word] = position.get(word, 0) | 1 << bit
    return index


def _choose(probabilities: list[float] | tuple[float, ...], uniform: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Turn uniform numbers in [0, 1) into indices distributed as the probabilities."""
    bounds = np.array(list(accumulate(probabilities)))
    # Rounding may leave the last bound below one; the last index takes what lies beyond it.
    return np.minimum(np.searchsorted(bounds, uniform, side="right"), len(bounds) - 1)
