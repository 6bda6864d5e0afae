"""Tests of vocabularies against counting by hand and by brute force."""

from __future__ import annotations

import json
import random
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from corpora import vocabulary_words
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from datamodules.errors import UsageError
from datamodules.vocabulary import (
    BLANK,
    BOS,
    EOS,
    PAD,
    SPECIAL_TOKENS,
    UNK,
    VocabularyConfig,
    build_vocabulary,
    closed_vocabulary,
    parse_vocabulary,
    read_vocabulary,
)

SPECIALS = ["<pad>", "<unk>", "<bos>", "<eos>", "<blank>"]
RESERVED = ["<pad>", "<bos>", "<eos>", "<blank>", "<go>", "<s>", "</s>"]


def kept_words(tokenizer: Tokenizer) -> list[str]:
    words = vocabulary_words(tokenizer)
    assert words[:5] == SPECIALS
    return words[5:]


def decoded(tokenizer: Tokenizer, text: str) -> str:
    """The text after encoding, read back by looking every id up."""
    words = vocabulary_words(tokenizer)
    return " ".join(words[token] for token in tokenizer.encode(text).ids)


def random_corpus(seed: int) -> list[str]:
    """Lines of words with frequencies that fall quickly, so that there are frequent words, rare ones and ties."""
    draw = random.Random(seed)
    weights = [1 / rank for rank in range(1, 41)]
    words = [f"w{number}" for number in draw.sample(range(1000), 40)]
    return [" ".join(draw.choices(words, weights, k=draw.randrange(12))) for _ in range(60)]


def expected_words(lines: list[str], size: int | None, min_count: int, coverage: float | None) -> list[str]:
    """The definition, by trying every number of words."""
    tokens = [word for line in lines for word in line.split()]
    counts = Counter(tokens)
    ranked = [word for _, word in sorted((-count, word) for word, count in counts.items() if count >= min_count)]
    ranked = ranked if size is None else ranked[:size]
    if coverage is None:
        return ranked
    for number in range(1, len(ranked) + 1):
        if sum(token in ranked[:number] for token in tokens) >= coverage * len(tokens):
            return ranked[:number]
    return ranked


def test_specials_have_the_fixed_ids() -> None:
    assert [PAD, UNK, BOS, EOS, BLANK] == [0, 1, 2, 3, 4]
    assert list(SPECIAL_TOKENS) == SPECIALS
    tokenizer = build_vocabulary(["a"], VocabularyConfig())
    assert [tokenizer.token_to_id(special) for special in SPECIALS] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [None, 1, 10, 1000])
@pytest.mark.parametrize("min_count", [1, 3])
@pytest.mark.parametrize("coverage", [None, 0.25, 0.75, 1.0])  # binary fractions: no rounding in either sum
def test_limits_keep_what_brute_force_keeps(
    seed: int, size: int | None, min_count: int, coverage: float | None
) -> None:
    lines = random_corpus(seed)
    tokenizer = build_vocabulary(lines, VocabularyConfig(size=size, min_count=min_count, coverage=coverage))
    assert kept_words(tokenizer) == expected_words(lines, size, min_count, coverage)


def test_coverage_by_hand() -> None:
    lines = ["a a a a a a", "b b b", "c"]  # 6, 3 and 1 of 10 tokens
    by_share = {0.1: "a", 0.6: "a", 0.61: "ab", 0.9: "ab", 0.91: "abc", 1.0: "abc"}
    for share, kept in by_share.items():
        assert kept_words(build_vocabulary(lines, VocabularyConfig(coverage=share))) == list(kept)


def test_ties_are_alphabetical_whatever_the_order_of_the_lines() -> None:
    for lines in (["d c b a", "a d c b z z z"], ["z z z b c d a", "b c d a"]):
        assert kept_words(build_vocabulary(lines, VocabularyConfig(size=3))) == ["z", "a", "b"]


def test_words_are_split_at_any_white_space() -> None:
    tokenizer = build_vocabulary(["  a\tb  c\u00a0d \n"], VocabularyConfig())
    assert kept_words(tokenizer) == ["a", "b", "c", "d"]
    assert decoded(tokenizer, "\td c\u00a0 b a\n") == "d c b a"


def test_a_word_that_is_not_kept_becomes_unknown() -> None:
    tokenizer = build_vocabulary(["a a b"], VocabularyConfig(size=1))
    assert tokenizer.encode("b a never").ids == [UNK, 5, UNK]
    assert tokenizer.encode("").ids == []


def test_lowercase_counts_and_encodes_one_word() -> None:
    lines = ["The the THE dog Élan élan"]
    assert sorted(kept_words(build_vocabulary(lines, VocabularyConfig()))) == sorted(set(lines[0].split()))
    tokenizer = build_vocabulary(lines, VocabularyConfig(lowercase=True))
    assert kept_words(tokenizer) == ["the", "élan", "dog"]
    assert decoded(tokenizer, "tHE DOG ÉLAN") == "the dog élan"


def test_digits_become_the_number_sign() -> None:
    lines = ["1999 2001 route66 # a"]
    assert sorted(kept_words(build_vocabulary(lines, VocabularyConfig()))) == sorted(lines[0].split())
    tokenizer = build_vocabulary(lines, VocabularyConfig(digits=True))
    assert kept_words(tokenizer) == ["####", "#", "a", "route##"]
    assert decoded(tokenizer, "1234 7 route01 56") == "#### # route## <unk>"


@pytest.mark.parametrize("literal", ["<unk>", "_UNK"])
def test_literal_unknown_is_unknown_and_takes_no_place(literal: str) -> None:
    with warnings.catch_warnings():  # an unknown word is nothing to be warned of
        warnings.simplefilter("error")
        tokenizer = build_vocabulary([f"{literal} a {literal} b {literal}", "a"], VocabularyConfig(size=2))
    assert vocabulary_words(tokenizer) == [*SPECIALS, "a", "b"]
    assert tokenizer.encode(f"a {literal} b").ids == [5, UNK, 6]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("literal", RESERVED)
def test_literal_special_becomes_unknown_and_shifts_no_other_word(literal: str, lowercase: bool) -> None:
    lines = [f"{literal} good food", f"good {literal} {literal} service {literal}"]
    with pytest.warns(UserWarning):
        tokenizer = build_vocabulary(lines, VocabularyConfig(lowercase=lowercase))

    assert vocabulary_words(tokenizer) == [*SPECIALS, "good", "food", "service"]
    assert tokenizer.get_vocab_size() == 8
    assert tokenizer.encode(lines[1]).ids == [5, UNK, UNK, 7, UNK]
    assert decoded(tokenizer, lines[0]) == "<unk> good food"
    assert tokenizer.encode(f"{literal}\tfood\n{literal}").ids == [UNK, 6, UNK]


@pytest.mark.parametrize("literal", ["<PAD>", "<Bos>", "<EOS>", "<BLANK>", "<GO>", "<S>", "</S>", "<UNK>"])
def test_lower_casing_makes_no_special_of_an_upper_case_literal(literal: str) -> None:
    lines = [f"{literal} good {literal} food"]
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        tokenizer = build_vocabulary(lines, VocabularyConfig(lowercase=True))
    assert vocabulary_words(tokenizer) == [*SPECIALS, "food", "good"]
    assert tokenizer.encode(lines[0]).ids == [UNK, 6, UNK, 5]


def test_a_literal_inside_a_word_is_an_ordinary_word() -> None:
    text = "x<pad> <pad>. <s>he _UNKs <<unk>>"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer = build_vocabulary([text], VocabularyConfig())
    assert sorted(kept_words(tokenizer)) == sorted(text.split())
    assert decoded(tokenizer, text) == text


def test_one_warning_counts_the_literals_by_spelling() -> None:
    lines = ["<pad> a </s>", "<pad> <unk> <pad> _UNK b<s>", "<go> </s>"]
    with pytest.warns(UserWarning, match="special") as caught:
        build_vocabulary(lines, VocabularyConfig())
    assert len(caught) == 1
    message = str(caught[0].message)
    for count in ("<pad> (3)", "</s> (2)", "<go> (1)"):
        assert count in message
    assert "<s>" not in message.replace("</s>", "")
    assert "_UNK" not in message


def test_no_word_left_is_a_usage_error() -> None:
    for lines, config, named in (
        (["a b c"], VocabularyConfig(min_count=2), "min_count"),
        ([], VocabularyConfig(), "no words"),
        (["", " "], VocabularyConfig(), "no words"),
        (["<unk> _UNK"], VocabularyConfig(), "no words"),
    ):
        with pytest.raises(UsageError, match=named):
            build_vocabulary(lines, config)


def test_closed_vocabulary_keeps_words_in_their_order() -> None:
    assert kept_words(closed_vocabulary(["b", "c", "a"])) == ["b", "c", "a"]


@pytest.mark.parametrize("config", [VocabularyConfig(), VocabularyConfig(size=7, lowercase=True, digits=True)])
def test_json_round_trip(config: VocabularyConfig, tmp_path: Path) -> None:
    lines = [*random_corpus(5), "Some 12 UPPER and Émile"]
    tokenizer = build_vocabulary(lines, config)
    file = tmp_path / "vocabulary.json"
    file.write_text(tokenizer.to_str(), encoding="utf-8")

    for copy in (parse_vocabulary(tokenizer.to_str()), read_vocabulary(file), read_vocabulary(str(file))):
        assert vocabulary_words(copy) == vocabulary_words(tokenizer)
        assert copy.to_str() == tokenizer.to_str()
        for line in [*lines, "<pad> some upper _UNK 34 </s>"]:
            assert copy.encode(line).ids == tokenizer.encode(line).ids


def changed_json(**ids: int) -> str:
    """A vocabulary's JSON in which some specials have other ids."""
    content = json.loads(closed_vocabulary(["a", "b"]).to_str())
    content["model"]["vocab"].update(ids)
    return json.dumps(content)


def test_unusable_files_are_usage_errors_that_name_the_file(tmp_path: Path) -> None:
    foreign = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1, "a": 2}, unk_token="<unk>")).to_str()
    unusable = {
        "text.json": b"no json",
        "empty.json": b"",
        "object.json": b'{"a": 1}',
        "binary.json": b"\xff\xfe\x00\x01",
        "elsewhere.json": changed_json(**{"<bos>": 3, "<eos>": 2}).encode(),
        "foreign.json": foreign.encode(),
    }
    for name, content in unusable.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.json").mkdir()
    for name in (*unusable, "folder.json", "missing.json"):
        with pytest.raises(UsageError) as caught:
            read_vocabulary(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(UsageError, match="<bos> has id 3"):
        read_vocabulary(tmp_path / "elsewhere.json")


@pytest.mark.parametrize(
    "setting",
    [{"size": 0}, {"size": -1}, {"min_count": 0}, {"coverage": 0.0}, {"coverage": 1.01}, {"coverage": -0.5}],
)
def test_config_out_of_range_is_a_usage_error(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(UsageError, match=f"vocabulary.{name}"):
        VocabularyConfig(**setting)
    VocabularyConfig(**{name: 1})  # the edge of the range


@pytest.mark.parametrize(
    "words, problem", [({"good": 5, "bad": 7}, "not 0, 1, 2"), ({"good": 1005}, "not 0, 1, 2"), ({}, "holds no word")]
)
def test_ids_with_gaps_and_no_words_are_refused(words: dict[str, int], problem: str) -> None:
    content = json.loads(closed_vocabulary(["a"]).to_str())
    content["model"]["vocab"] = {name: number for number, name in enumerate(SPECIAL_TOKENS)} | words
    with pytest.raises(UsageError, match=problem):
        parse_vocabulary(json.dumps(content))
