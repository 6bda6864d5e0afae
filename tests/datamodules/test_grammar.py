"""Tests of the review grammar against counts, hand calculations and parsers that share no code with it."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, product

import pytest

from datamodules.grammar import ReviewGrammar
from datamodules.grammar_lexicon import EXPONENT, LEXICON, TEMPLATES

PRESENT, PAST = 0, 1
Features = tuple[str, str, int]
ALL_FEATURES: list[Features] = list(product(("neg", "pos"), ("sg", "pl"), (PRESENT, PAST)))

# One inflecting template (weight 3 of 4) and one that does not inflect.
TINY_TEMPLATES = {"{noun} {be} {adj} .": 3.0, "we {love} !": 1.0}
TINY_LEXICON = {"noun.sg": "soup room", "noun.pl": "tacos", "be": "is/are/was/were", "adj.pos": "good fine"} | {
    "adj.neg": "bad",
    "love.pos": "love/loved",
    "love.neg": "hate/hated dread/dreaded",
}


@pytest.fixture(scope="module")
def grammar() -> ReviewGrammar:
    return ReviewGrammar()


@pytest.fixture(scope="module")
def samples(grammar: ReviewGrammar) -> list[str]:
    return grammar.sample(20_000, seed=1)


def forms(token: str, sentiment: str, number: str, tense: int) -> list[str]:
    """Read a slot's words from the raw lexicon, by a table of form positions."""
    if "{" not in token:
        return [token]
    name, *fixed = token[1:-1].split(":")
    number = fixed[0] if fixed else number
    (key,) = [k for k in LEXICON if k in (name, f"{name}.{sentiment}", f"{name}.{number}")]
    position = {1: 0, 2: tense, 3: 2 if tense else int(number == "pl"), 4: 2 * tense + (number == "pl")}
    entries = [entry.split("/") for entry in LEXICON[key].split()]
    return [entry[position[len(entry)]] for entry in entries]


def raw_rows() -> list[tuple[str, Features, list[list[str]]]]:
    """List the rows of word lists that the raw templates allow; without inflection there is no plural row."""
    rows: list[tuple[str, Features, list[list[str]]]] = []
    for template in TEMPLATES:
        tokens = template.split()
        inflects = any(forms(t, s, "sg", w) != forms(t, s, "pl", w) for t in tokens for s, _, w in ALL_FEATURES)
        kept = [features for features in ALL_FEATURES if inflects or features[1] == "sg"]
        rows += [(template, features, [forms(token, *features) for token in tokens]) for features in kept]
    return rows


def test_lengths_lie_in_range_and_average_as_stated(grammar: ReviewGrammar, samples: list[str]) -> None:
    lengths = [len(sentence.split(" ")) for sentence in samples]
    assert min(lengths) >= 4 and max(lengths) <= 15
    assert grammar.mean_length >= 8
    assert sum(lengths) / len(lengths) == pytest.approx(grammar.mean_length, abs=0.06)
    assert all(sentence == sentence.lower() and sentence.endswith((" .", " !")) for sentence in samples)


def test_vocabulary_is_large_used_and_zipf_like(grammar: ReviewGrammar, samples: list[str]) -> None:
    counts = Counter(word for sentence in samples for word in sentence.split(" "))
    assert 500 <= len(grammar.words) <= 600
    assert list(grammar.words) == sorted(counts)
    assert set(" ".join(LEXICON.values()).replace("/", " ").split()) <= set(counts)
    ranked = sorted(counts.values(), reverse=True)
    assert sum(ranked[:100]) > 0.7 * sum(ranked)
    assert sum(ranked[len(ranked) // 2 :]) < 0.12 * sum(ranked)
    # Within a slot, frequency falls as 1 / rank ** EXPONENT.
    assert counts["uncomfortable"] / counts["inconvenient"] == pytest.approx(10**EXPONENT, rel=0.5)


def test_entropy_is_high_and_equals_the_mean_surprise(grammar: ReviewGrammar, samples: list[str]) -> None:
    surprises = [-grammar.log_probability(sentence) for sentence in samples]
    mean = sum(surprises) / len(surprises)
    variance = sum((s - mean) ** 2 for s in surprises) / (len(surprises) - 1)
    assert abs(mean - grammar.entropy) < 4 * math.sqrt(variance / len(surprises))
    assert 16.0 <= grammar.entropy <= 17.0


def test_tiny_grammar_matches_hand_calculation() -> None:
    tiny = ReviewGrammar(TINY_TEMPLATES, TINY_LEXICON)
    # Template 3/4, sentiment 1/2, tense 1/2, singular 0.65; of two words, the second is 2 ** EXPONENT times rarer.
    first = 1 / (1 + 2**-EXPONENT)
    assert tiny.log_probability("room was good .") == pytest.approx(math.log(3 / 16 * 0.65 * (1 - first) * first))
    assert tiny.log_probability("tacos are bad .") == pytest.approx(math.log(3 / 16 * 0.35))
    assert tiny.log_probability("we dreaded !") == pytest.approx(math.log(1 / 16 * (1 - first)))
    assert tiny.log_probability("tacos is bad .") == -math.inf
    assert tiny.mean_length == pytest.approx(0.75 * 4 + 0.25 * 3)
    # The whole language, found among all strings of its words, sums to one and has the stated entropy.
    strings = [" ".join(words) for length in (3, 4) for words in product(tiny.words, repeat=length)]
    probabilities = [math.exp(tiny.log_probability(string)) for string in strings if tiny.is_grammatical(string)]
    assert len(probabilities) == 2 * (3 * 2 + 3 * 1) + 2 * 3
    assert sum(probabilities) == pytest.approx(1)
    assert -sum(p * math.log(p) for p in probabilities) == pytest.approx(tiny.entropy)


def test_one_real_template_enumerated_has_its_weight(grammar: ReviewGrammar) -> None:
    template = "{we} {love} this {shop} {end}"
    rows = [lists for name, _, lists in raw_rows() if name == template]
    sentences = {" ".join(words) for lists in rows for words in product(*lists)}
    mass = sum(math.exp(grammar.log_probability(sentence)) for sentence in sentences)
    assert mass == pytest.approx(TEMPLATES[template] / sum(TEMPLATES.values()))


def test_sampled_frequencies_follow_probabilities(grammar: ReviewGrammar) -> None:
    drawn = Counter(grammar.sample(50_000, seed=3))
    for sentence in sorted(drawn, key=grammar.log_probability)[-30:]:
        expected = 50_000 * math.exp(grammar.log_probability(sentence))
        assert abs(drawn[sentence] - expected) < 5 * math.sqrt(expected)


def test_no_two_rows_of_word_lists_share_a_sentence() -> None:
    rows = raw_rows()
    assert all(len(set(words)) == len(words) for _, _, lists in rows for words in lists)
    for (*_, one), (*_, other) in combinations(rows, 2):
        if len(one) == len(other):
            assert any(set(mine).isdisjoint(theirs) for mine, theirs in zip(one, other, strict=True)), (one, other)


def test_each_sample_has_one_derivation_which_gives_its_labels(grammar: ReviewGrammar, samples: list[str]) -> None:
    rows = [(features, [set(words) for words in lists]) for _, features, lists in raw_rows()]
    for sentence in samples[:5000]:
        words = sentence.split(" ")
        same_length = [(features, lists) for features, lists in rows if len(lists) == len(words)]
        found = [f for f, lists in same_length if all(w in allowed for w, allowed in zip(words, lists, strict=True))]
        assert len(found) == grammar.derivations(sentence) == 1
        assert grammar.labels(sentence) == (int(found[0][0] == "pos"), found[0][2])
        assert grammar.value(sentence, "tense") == found[0][2]
        assert grammar.value(sentence, "sentiment") == int(found[0][0] == "pos")


def test_ambiguous_grammars_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        ReviewGrammar({"{noun} {be} .": 1}, {"noun": "soup soup", "be.pos": "is/was", "be.neg": "isn't/wasn't"})
    with pytest.raises(ValueError, match="ambiguous"):
        ReviewGrammar({"{noun} {be} .": 1}, {"noun": "soup", "be": "is/was"})


def test_sentiment_and_tense_are_balanced_and_independent(grammar: ReviewGrammar, samples: list[str]) -> None:
    cells = Counter(grammar.labels(sentence) for sentence in samples)
    assert set(cells) == set(product((0, 1), (0, 1)))
    assert all(count / len(samples) == pytest.approx(0.25, abs=0.015) for count in cells.values())
    labels = [grammar.labels(sentence) for sentence in samples if len(sentence.split(" ")) == 9]
    assert all(n / len(labels) == pytest.approx(0.25, abs=0.03) for n in Counter(labels).values())


def test_labels_show_in_words_used_under_no_other_label(samples: list[str], grammar: ReviewGrammar) -> None:
    for position in (0, 1):
        seen: tuple[set[str], set[str]] = (set(), set())
        for _, (sentiment, _, tense), lists in raw_rows():
            seen[(int(sentiment == "pos"), tense)[position]].update(*lists)
        for sentence in samples:
            label = (grammar.labels(sentence) or (-1, -1))[position]
            words = set(sentence.split(" "))
            assert words - seen[1 - label]
            assert not words - seen[label]


def test_no_verb_form_serves_two_tenses_or_another_role() -> None:
    entries = [entry.split("/") for text in LEXICON.values() for entry in text.split()]
    past = {form for entry in entries for form in entry[(len(entry) + 1) // 2 :]}
    present = {form for entry in entries if len(entry) > 1 for form in entry[: (len(entry) + 1) // 2]}
    other = {entry[0] for entry in entries if len(entry) == 1}
    literal = {token for template in TEMPLATES for token in template.split() if "{" not in token}
    assert not past & present
    assert not (past | present) & (other | literal)


def test_tense_change_is_a_bijection_that_keeps_probability(grammar: ReviewGrammar, samples: list[str]) -> None:
    sources = sorted(set(samples))
    images = []
    for sentence in sources:
        sentiment, tense = grammar.labels(sentence) or (-1, -1)
        image = grammar.with_tense(sentence, 1 - tense)
        assert grammar.labels(image) == (sentiment, 1 - tense)
        assert grammar.log_probability(image) == pytest.approx(grammar.log_probability(sentence))
        assert grammar.with_tense(image, tense) == sentence == grammar.with_tense(sentence, tense)
        images.append(image)
    assert len(set(images)) == len(sources)


def test_known_tense_pair_and_refusals(grammar: ReviewGrammar) -> None:
    present = "whenever we come , the room is dirty and the nurses are very rude !"
    past = "whenever we came , the room was dirty and the nurses were very rude !"
    assert (grammar.with_tense(present, PAST), grammar.with_tense(past, PRESENT)) == (past, present)
    with pytest.raises(ValueError, match="not in the language"):
        grammar.with_tense("the waiters brings our fresh fries quickly .", PAST)
    with pytest.raises(ValueError, match="tense must be"):
        grammar.with_tense("i love this salon .", 2)


CORRUPTED = """whenever we come , the room was dirty and the nurses were very rude !
the soup was delicious and the waiter is kind .
the soup was very delicious and cold .
we love the greasy fries at this diner .
the waiters is very kind and helpful .
the fries tastes so good .
i love  this salon .
i love this salon
i love this zeppelin .
salon this love i .
"""


@pytest.mark.parametrize("sentence", CORRUPTED.split("\n"))
def test_corrupted_sentences_are_not_in_the_language(grammar: ReviewGrammar, sentence: str) -> None:
    assert (grammar.log_probability(sentence), grammar.labels(sentence)) == (-math.inf, None)
    assert (grammar.is_grammatical(sentence), grammar.derivations(sentence)) == (False, 0)


def test_dropping_or_swapping_words_leaves_the_language(grammar: ReviewGrammar, samples: list[str]) -> None:
    for sentence in samples[:300]:
        words = sentence.split(" ")
        for i in range(len(words)):
            assert grammar.log_probability(" ".join(words[:i] + words[i + 1 :])) == -math.inf
            swapped = words[:i] + words[i + 1 : i + 2] + words[i : i + 1] + words[i + 2 :]
            assert i == len(words) - 1 or not grammar.is_grammatical(" ".join(swapped))


def test_changing_some_of_the_verbs_is_never_grammatical(grammar: ReviewGrammar, samples: list[str]) -> None:
    for sentence in samples[:5000]:
        _, tense = grammar.labels(sentence) or (-1, -1)
        words, others = sentence.split(), grammar.with_tense(sentence, 1 - tense).split()
        verbs = [i for i, (word, other) in enumerate(zip(words, others, strict=True)) if word != other]
        assert 1 <= len(verbs) <= 3
        assert all(grammar.value(words[i], "tense") == tense for i in verbs)
        for i in verbs if len(verbs) > 1 else []:
            mixed = " ".join([*words[:i], others[i], *words[i + 1 :]])
            assert (grammar.log_probability(mixed), grammar.value(mixed, "tense")) == (-math.inf, None)


def test_tense_of_text_outside_the_language(grammar: ReviewGrammar) -> None:
    texts = ["soup was was unknownword", "soup  love is", "soup love was", "the soup .", ""]
    assert [grammar.value(text, "tense") for text in texts] == [PAST, PRESENT, None, None, None]


def test_sentiment_of_text_outside_the_language(grammar: ReviewGrammar) -> None:
    texts = ["soup bland unknownword", "love  delicious was", "rude but kind", "the soup was .", ""]
    assert [grammar.value(text, "sentiment") for text in texts] == [0, 1, None, None, None]
    with pytest.raises(KeyError):
        grammar.value("the soup", "number")


def test_content_is_what_bears_no_attribute(grammar: ReviewGrammar) -> None:
    sentence = "the waiter was rude and brought our zeppelin slowly today !"
    assert grammar.content(sentence, "tense") == "the waiter rude and our zeppelin slowly !".split()
    assert grammar.content(sentence, "sentiment") == "the waiter was and brought our zeppelin today !".split()


def test_few_test_sentences_occur_in_train(grammar: ReviewGrammar) -> None:
    train = set(grammar.sample(30_000, seed=11))
    assert sum(sentence in train for sentence in grammar.sample(3_000, seed=12)) <= 0.10 * 3_000


def test_sampling_depends_only_on_seed_and_extends(grammar: ReviewGrammar) -> None:
    assert grammar.sample(10, seed=5) == grammar.sample(100, seed=5)[:10] == ReviewGrammar().sample(10, seed=5)
    assert grammar.sample(10, seed=5) != grammar.sample(10, seed=6)
