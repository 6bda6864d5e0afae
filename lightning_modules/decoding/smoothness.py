"""How smoothly sentences change along a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

from nltk.metrics.distance import edit_distance


@dataclass(frozen=True)
class Smoothness:
    """How the sentences along a path change from one to the next.

    Two sentences are as far apart as their normalised edit distance says: the fewest words to insert, delete or
    replace, over the words of the longer one, 0 to 1. A path that stays and then leaps has many repetitions and a large
    jump; one that changes little by little has a jump near its mean distance.

    Attributes:
        distance: The mean distance between neighbours on the path.
        jump: The largest.
        repeated: The share of steps that leave the sentence as it is.
    """

    distance: float
    jump: float
    repeated: float


def smoothness(sentences: Sequence[str]) -> Smoothness:
    """Of the sentences along a path, two or more."""
    steps = [word_distance(one, other) for one, other in pairwise(sentences)]
    return Smoothness(mean(steps), max(steps), mean(float(step == 0) for step in steps))


def mean_smoothness(paths: Sequence[Sequence[str]]) -> Smoothness:
    """Each figure's mean over paths."""
    found = [smoothness(path) for path in paths]
    return Smoothness(*(mean(getattr(path, name) for path in found) for name in ("distance", "jump", "repeated")))


def word_distance(one: str, other: str) -> float:
    """The normalised edit distance of two whitespace-tokenised sentences, 0 to 1; 0 of two without words."""
    words = one.split(), other.split()
    return float(edit_distance(*words)) / max(1, *map(len, words))
