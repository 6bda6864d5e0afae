"""Probes: figures against their definitions, and no sentence judged by a probe that saw its label."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from callbacks.linear_probe import STRENGTHS, bags_of_words, majority, pair_features, probe
from datamodules.errors import UsageError

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(120, 5)).astype(np.float32)
LABELS = [("a", "b", "c")[int(row.argmax())] for row in FEATURES[:, :3]]


def test_classes_that_features_show_are_found() -> None:
    found = probe(FEATURES, LABELS, folds=5)
    assert found.accuracy > 0.85 and found.f1 > 0.85 and found.strength in STRENGTHS


def test_labels_that_features_do_not_show_are_guessed() -> None:
    # More features than sentences: a probe that saw a label would have it right.
    features = RNG.normal(size=(200, 300)).astype(np.float32)
    labels = [str(label) for label in RNG.integers(2, size=200)]
    assert probe(features, labels, folds=4).accuracy == pytest.approx(0.5, abs=4 * 0.5 / 200**0.5)


def test_other_sentences_are_judged_by_a_regression_on_all_training_ones() -> None:
    others = RNG.normal(size=(50, 5)).astype(np.float32)
    true = [("a", "b", "c")[int(row.argmax())] for row in others[:, :3]]
    found = probe(FEATURES, LABELS, (others, true), folds=5)
    mean, scale = FEATURES.mean(0), FEATURES.std(0)
    regression = LogisticRegression(C=found.strength, max_iter=5000).fit((FEATURES - mean) / scale, LABELS)
    assert found.accuracy == np.mean(regression.predict((others - mean) / scale) == true)


def test_a_strong_penalty_is_chosen_where_features_are_noise_beside_one() -> None:
    features = RNG.normal(size=(60, 200)).astype(np.float32)
    labels = ["yes" if row[0] + row[1] > 0 else "no" for row in features]
    twice = np.concatenate((features[:, :1] * 50, features[:, 1:2] * 50), axis=1)
    assert probe(features, labels, folds=5).strength < probe(twice, labels, folds=5).strength


@pytest.mark.parametrize(("classes", "f1"), [(("0", "1"), 2 * 3 / (2 * 3 + 1 + 2)), (("n", "y"), None)])
def test_f1_by_its_definition(classes: tuple[str, str], f1: float | None) -> None:
    negative, positive = classes
    features = np.repeat([[-1.0], [1.0]], 10, axis=0).astype(np.float32)
    labels = [negative] * 10 + [positive] * 10
    # Three right positives, one wrong; four right negatives, two wrong.
    test = np.array([[1.0]] * 4 + [[-1.0]] * 6, dtype=np.float32)
    true = [positive] * 3 + [negative] + [negative] * 4 + [positive] * 2
    other = 2 * 4 / (2 * 4 + 2 + 1)
    found = probe(features, labels, (test, true), folds=5)
    assert found.accuracy == 0.7
    assert found.f1 == pytest.approx(f1 if f1 is not None else (2 * 3 / (2 * 3 + 1 + 2) + other) / 2)


def test_pairs_by_their_definition_dense_and_sparse() -> None:
    first, second = FEATURES[:4] * (FEATURES[:4] > 0), FEATURES[4:8] * (FEATURES[4:8] > 0)
    true = [[*(a * b for a, b in zip(x, y, strict=True)), *(abs(a - b) for a, b in zip(x, y, strict=True))]
            for x, y in zip(first.tolist(), second.tolist(), strict=True)]  # fmt: skip
    np.testing.assert_allclose(pair_features(first, second), true, rtol=1e-6)
    np.testing.assert_allclose(
        pair_features(sparse.csr_array(first), sparse.csr_array(second)).toarray(), true, rtol=1e-6
    )


def test_bags_hold_the_words_of_the_first_sentences() -> None:
    [found] = bags_of_words(["b A .", "A A"], ["A b b", "a new ."])
    assert found.toarray().tolist() == [[0, 1, 1], [1, 0, 0]]  # in the order . A b


def test_a_probe_takes_bags() -> None:
    sentences = ["good food", "good day", "bad food", "bad day"] * 5
    labels = ["1", "1", "0", "0"] * 5
    [bags] = bags_of_words(sentences, sentences)
    assert probe(bags, labels, folds=2).accuracy == 1


def test_the_majority_is_of_the_training_labels() -> None:
    assert majority(["x", "x", "y"], ["y", "y", "x", "z"]) == 0.25


@pytest.mark.parametrize(
    ("labels", "folds", "said"),
    [
        (["a"] * 6, 2, "every label is a"),
        (["a", "b"] * 3, 1, "folds is 1: give 2 or more"),
        (["a", "b"] * 10, 10, "no class has more than 9 sentences to cut within another"),
        (["a"] * 18 + ["b"] * 2, 3, "only one class has 3 sentences or more"),
    ],
)
def test_what_cannot_be_probed(labels: list[str], folds: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        probe(FEATURES[: len(labels)], labels, folds=folds)


def test_what_can_barely_be_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where check_classes lets it pass, scikit-learn does, too, without a warning."""
    monkeypatch.setattr("callbacks.linear_probe.STRENGTHS", (0.1, 10.0))
    for labels, folds in ((["a", "b"] * 10, 8), (["a"] * 17 + ["b"] * 3, 10), (["a"] * 9 + ["b"] * 3 + ["c"], 2)):
        assert 0 <= probe(FEATURES[: len(labels)], labels, folds=folds).accuracy <= 1
    test = FEATURES[:4], ["a", "b", "a", "b"]
    assert probe(FEATURES[:12], ["a"] * 10 + ["b"] * 2, test, folds=10).strength > 0
    with pytest.raises(UsageError, match="only one class has 2"):
        probe(FEATURES[:12], ["a"] * 11 + ["b"], test, folds=10)
    with pytest.raises(UsageError, match="no class has more than 10 sentences to cut: give fewer"):
        probe(FEATURES[:12], ["a"] * 10 + ["b"] * 2, test, folds=11)


@pytest.mark.parametrize(
    ("warning", "heard"), [("invalid value encountered in matmul", False), ("overflow encountered in matmul", True)]
)
def test_a_product_wrongly_called_invalid_is_not_the_users_matter(
    warning: str, heard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = LogisticRegression.fit

    def warning_fit(regression: LogisticRegression, *data: object) -> object:
        warnings.warn(warning, RuntimeWarning, stacklevel=1)
        return fit(regression, *data)

    monkeypatch.setattr(LogisticRegression, "fit", warning_fit)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert probe(FEATURES, LABELS, folds=2).accuracy > 0.5
    assert bool(caught) == heard


def test_no_strength_is_chosen_by_the_labels_it_is_judged_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, seen = GridSearchCV.fit, []

    def spied(search: GridSearchCV, features: object, labels: object) -> object:
        seen.append({tuple(row) for row in np.asarray(features).tolist()})
        assert search.cv.shuffle and search.cv.random_state == 7
        return fit(search, features, labels)

    monkeypatch.setattr(GridSearchCV, "fit", spied)
    probe(FEATURES, LABELS, folds=5, seed=7)
    everything = {tuple(row) for row in FEATURES.tolist()}
    held_out = [everything - rows for rows in seen]
    assert len(held_out) == 5 and sum(map(len, held_out)) == 120 and set.union(*held_out) == everything


def test_f1_is_of_class_1_where_training_has_0_and_1() -> None:
    features = np.repeat([[-9.0], [0.0], [9.0]], 10, axis=0).astype(np.float32)
    test = np.array([[-9.0], [0.0]], dtype=np.float32)
    three = probe(features, ["0"] * 10 + ["1"] * 10 + ["2"] * 10, (test, ["0", "1"]), folds=2)
    assert three.f1 == 1
    two = probe(features, ["0"] * 10 + ["1"] * 20, (test, ["0", "0"]), folds=2)
    assert two.accuracy == 0.5 and two.f1 == 0  # no class 1 to be found


def test_classes_smaller_than_the_folds_do() -> None:
    labels = ["rare" if row < 3 else LABELS[row] for row in range(120)]
    assert 0 < probe(FEATURES, labels, folds=5).accuracy < 1
