"""What a linear classifier reads off features of sentences (Bowman et al. 2016, appendix; Kiros et al. 2015)."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from datamodules.errors import require

# Inverse strengths of the L2 penalty, among which cross-validation chooses.
STRENGTHS = tuple(10.0**power for power in range(-4, 4))


@dataclass(frozen=True)
class ProbeFigures:
    """How well a probe does on sentences that it was not trained on.

    Attributes:
        accuracy: Share of right answers.
        f1: Of class `1` where the classes are `0` and `1`, else the mean over classes.
        strength: The inverse of the penalty; of several folds the median.
    """

    accuracy: float
    f1: float
    strength: float


def probe(
    features: Any, labels: Sequence[str], test: tuple[Any, Sequence[str]] | None = None, folds: int = 10, seed: int = 0
) -> ProbeFigures:
    """Trains an L2-regularised logistic regression, its strength chosen by cross-validation on the training sentences.

    Args:
        features: (N, F), an array or a sparse matrix; each feature is scaled by its standard deviation, a sparse one by
            its largest value.
        labels: Of the N sentences.
        test: Features and labels of other sentences. Without them, each sentence is predicted by a probe of the other
            folds, whose strength is chosen by cross-validation within these.
        folds: Of every cross-validation, stratified.
        seed: Of the folds.

    Raises:
        UsageError: There are fewer than two classes, or a class or the folds are too small.
    """
    check_classes(labels, folds, nested=test is None)
    require(0 <= seed < 2**32, f"seed is {seed}: give a number from 0 to {2**32 - 1}")
    given = np.asarray(labels)
    search = _search(sparse.issparse(features), folds, seed)
    with warnings.catch_warnings():
        # Classes with fewer sentences than folds are not in all of them.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        # OpenBLAS's kernel of five float32 columns for AVX-512 leaves lanes of a register as they were; where they look
        # like NaN, NumPy warns of a right product. scikit-learn has checked that the features are finite.
        warnings.filterwarnings("ignore", "invalid value encountered in matmul", RuntimeWarning)
        if test is not None:
            search.fit(features, given)
            return _figures(search.predict(test[0]), np.asarray(test[1]), set(labels), [_strength(search)])
        predicted, strengths = np.empty_like(given), []
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
        for others, held_out in parts.split(np.zeros(len(given)), given):
            search.fit(features[others], given[others])
            predicted[held_out] = search.predict(features[held_out])
            strengths.append(_strength(search))
    return _figures(predicted, given, set(labels), strengths)


def pair_features(first: Any, second: Any) -> Any:
    """(N, 2F) of pairs (N, F), arrays or sparse: the elementwise product, and the absolute value of the difference."""
    if sparse.issparse(first):
        return sparse.hstack((first.multiply(second), abs(first - second)), format="csr")
    return np.concatenate((first * second, np.abs(first - second)), axis=1)


def bags_of_words(fitted: Sequence[str], *files: Sequence[str]) -> list[Any]:
    """Sparse (N, W) matrices of which of the W words of the first sentences are in a sentence, one for each file."""
    bag = CountVectorizer(binary=True, tokenizer=str.split, token_pattern=None, lowercase=False, dtype=np.float32)
    bag.fit(fitted)
    return [bag.transform(sentences) for sentences in files]


def majority(labels: Sequence[str], test: Sequence[str]) -> float:
    """Accuracy of always answering the most frequent of `labels`."""
    [(most, _)] = Counter(labels).most_common(1)
    return sum(label == most for label in test) / len(test)


def check_classes(labels: Sequence[str], folds: int, nested: bool) -> None:
    """Raises a UsageError where a part of a cross-validation, or of one within another, would have one class alone."""
    counts = sorted(Counter(labels).values(), reverse=True)
    require(
        len(counts) > 1, f"every label is {next(iter(labels), 'missing')}: a probe tells two classes apart, or more"
    )
    require(folds > 1, f"folds is {folds}: give 2 or more")
    left = counts[0] - math.ceil(counts[0] / folds) if nested else counts[0]
    within = " within another" if nested else ""
    require(folds <= left, f"folds is {folds}, and no class has more than {left} sentences to cut{within}: give fewer")
    least = 3 if nested else 2
    require(counts[1] >= least, f"only one class has {least} sentences or more, which a cross-validation{within} takes")


def _search(is_sparse: bool, folds: int, seed: int) -> Any:
    scale = MaxAbsScaler() if is_sparse else StandardScaler()
    return GridSearchCV(
        make_pipeline(scale, LogisticRegression(max_iter=5000)),
        {"logisticregression__C": STRENGTHS},
        cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
    )


def _strength(search: Any) -> float:
    return float(search.best_params_["logisticregression__C"])


def _figures(
    predicted: npt.NDArray[Any], true: npt.NDArray[Any], classes: set[str], strengths: list[float]
) -> ProbeFigures:
    counted = ["1"] if classes == {"0", "1"} else None
    f1 = f1_score(true, predicted, labels=counted, average="macro", zero_division=0)
    return ProbeFigures(float((predicted == true).mean()), float(f1), float(np.median(strengths)))
