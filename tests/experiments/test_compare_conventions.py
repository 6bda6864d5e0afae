"""`textae compare`: beside published figures, no two token conventions or kinds in a column."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import pytest
from comparing import PUBLISHED, cells, change

from callbacks.quantities import EOS_IN_BOTH
from experiments.figures import Figure, Row, columns_of

Command = Callable[..., Any]
CORPORA = tuple(PUBLISHED["corpora"])
# What counts no tokens, and so stands in every part of a table that is too wide for the terminal.
COUNT_NO_TOKENS = ("KL", "entropy of codes", "BLEU-1 by sentence")


@pytest.mark.parametrize("corpus", CORPORA)
def test_no_column_mixes_conventions_or_kinds(corpus: str, write_run: Command, compare: Command) -> None:
    kinds = {"negative_elbo": "upper bound", "nll_iw": "importance-weighted", "melbo": "MELBO", "kl": "part"}
    kinds |= {"nll_kl_once": "no bound", "nll_iw_kl_once": "no bound", "perplexity_kl_once": "no bound"}
    kinds |= {"perplexity": "upper bound", "perplexity_melbo": "MELBO", "perplexity_iw": "importance-weighted"}
    write_run(f"vae_{corpus}", 0, **{name: (100.0 + i, kind) for i, (name, kind) in enumerate(kinds.items())})
    hub = {"repository": "someone/something", "tweet_tokenize": True}
    write_run(f"hub_{corpus}", 0, {"data": {"init_args": {"hub": hub, "data_dir": None}}}, nll=(7.0, "exact"))
    conventions = {f"vae_{corpus}": "eos_in_both", f"hub_{corpus}": "eos_in_both, TweetTokenizer"}
    for table in PUBLISHED["tables"]:
        place = f"table {table['table']}" if "table" in table else f"in {table['quoted']}"
        conventions[f"{PUBLISHED['papers'][table['paper']]['short']}, {place}"] = table["convention"]
    marks = {"=": "", "<=": "", "~": "importance- weighted", ">": ""}
    printed, rows = compare()
    found = cells(printed)
    assert len(found) == sum(len(row["figures"]) for row in rows)
    for line, heading, cell in found:
        if heading in COUNT_NO_TOKENS:
            continue
        own = conventions[max((name for name in conventions if name in line), key=len)]
        # The whole heading is a quantity, perhaps a kind, and the row's convention, or one that it is not a part of.
        said = re.fullmatch(rf"(?:NLL|perplexity)(?:, sampled)? ?(.*?) ?{own}", heading)
        assert said is not None, (line, heading)
        mark = cell.split(" ")[0]
        if mark in marks:
            assert said.group(1) == marks[mark]
        else:
            assert said.group(1) in ("MELBO", "no bound", "unstated"), (heading, cell)


def test_a_narrow_terminal_loses_nothing(write_run: Command, compare: Command) -> None:
    write_run("lm_ptb", 0, nll=(101.0, "exact"))
    write_run("ae_ptb", 0, reconstruction_bleu=(0.5, "score"))
    wide, narrow = (compare(width=width)[0] for width in (1000, 80))
    once, often = [], []
    for printed in (narrow, wide):
        found = cells(printed)
        once.append(sorted(cell for _, heading, cell in found if heading not in COUNT_NO_TOKENS))
        often.append({(heading, cell) for _, heading, cell in found if heading in COUNT_NO_TOKENS})
    assert once[0] == once[1] and often[0] == often[1]
    for convention in PUBLISHED["conventions"]:
        assert f"Penn Treebank: {convention}" in narrow


@pytest.mark.parametrize(
    ("hub", "data_dir", "convention"),
    [
        ({"repository": "a/b", "tweet_tokenize": True}, None, "eos_in_both, TweetTokenizer"),
        ({"repository": "a/b", "tweet_tokenize": True}, "folder", "eos_in_both"),
        ({"repository": "a/b", "tweet_tokenize": False}, None, "eos_in_both"),
        ({"repository": "", "tweet_tokenize": True}, None, "eos_in_both"),
    ],
    ids=["hub", "folder", "hub of words", "built in"],
)
def test_words_that_were_split_are_a_convention(
    hub: dict[str, Any], data_dir: str | None, convention: str, write_run: Command, compare: Command
) -> None:
    config = {"data": {"init_args": {"hub": hub, "data_dir": data_dir}}}
    folder = write_run("lm_yahoo", 0, config, nll=(1.0, "exact"))
    assert compare()[1][0]["figures"][0]["convention"] == convention
    file = folder / "test_metrics.json"
    for said in (True, False):  # by the corpus itself, which knows best
        file.write_text(json.dumps(json.loads(file.read_text()) | {"splits_words": said}))
        assert compare()[1][0]["figures"][0]["convention"] == "eos_in_both" + (", TweetTokenizer" if said else "")


def convention_figures(value: float, kind: str, name: str, nats: str) -> dict[str, tuple[float, str]]:
    """A perplexity in three conventions, and its nats without EOS, all different."""
    others = ("eos_in_neither", "eos_in_tokens", "bos_and_eos")
    found = {f"{name}_{convention}": (value + i, kind) for i, convention in enumerate(others, start=1)}
    return found | {name: (value, kind), nats: (value + 10, kind), f"{nats}_without_eos": (value + 20, kind)}


def by_convention(rows: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """The figures of the one row that there is."""
    [row] = rows
    found = {(figure["quantity"], figure["convention"]): figure["value"] for figure in row["figures"]}
    assert len(found) == len(row["figures"])
    return found


def test_other_conventions_are_shown_where_they_are_asked_for(write_run: Command, compare: Command) -> None:
    write_run("svae_ptb", 0, **convention_figures(100.0, "upper bound", "perplexity", "negative_elbo"))
    printed, rows = compare("--no-published")
    assert {figure["convention"] for figure in rows[0]["figures"]} == {EOS_IN_BOTH}
    printed, rows = compare("--no-published", "--conventions", "eos_in_neither", "eos_in_tokens")
    expected = {
        ("perplexity", EOS_IN_BOTH): 100,
        ("nll", EOS_IN_BOTH): 110,
        ("perplexity", "eos_in_neither"): 101,
        ("nll", "eos_in_neither"): 120,
        ("perplexity", "eos_in_tokens"): 102,
        ("nll", "eos_in_tokens"): 120,
    }
    assert by_convention(rows) == expected
    assert len({heading for _, heading, _ in cells(printed)}) == 6
    # Where EOS is in the likelihood, its nats are those of the default convention.
    _, rows = compare("--no-published", "--conventions", "eos_in_neither", "eos_in_tokens", "bos_and_eos")
    assert by_convention(rows) == expected | {("perplexity", "bos_and_eos"): 103, ("nll", "bos_and_eos"): 110}


def test_a_papers_quantity_in_other_conventions(write_run: Command, compare: Command) -> None:
    """VAE-AVG's, importance-weighted and with the KL once, is nobody's bound and counted like any other."""
    write_run("vae_avg_ptb", 0, **convention_figures(50.0, "no bound", "perplexity_iw_kl_once", "nll_iw_kl_once"))
    _, rows = compare("--no-published", "--conventions", "eos_in_neither")
    assert by_convention(rows) == {
        ("perplexity_iw", EOS_IN_BOTH): 50,
        ("nll_iw", EOS_IN_BOTH): 60,
        ("perplexity_iw", "eos_in_neither"): 51,
        ("nll_iw", "eos_in_neither"): 70,
    }


def test_words_by_the_papers_tokeniser_stand_in_the_papers_column(write_run: Command, compare: Command) -> None:
    """SentenceMIM's MELBO: of TweetTokenizer's words, EOS among the tokens and not in the likelihood."""
    hub = {"repository": "someone/something", "tweet_tokenize": True}
    config = {"data": {"init_args": {"hub": hub, "data_dir": None}}}
    figures = convention_figures(20.0, "MELBO", "perplexity_melbo", "melbo")
    folder = write_run("smim_ptb", 0, config, **figures)
    change(folder, "melbo", sentences=1234)
    printed, rows = compare()
    own = {(f["quantity"], f["convention"]): f["value"] for f in rows[0]["figures"]}
    assert own[("perplexity", "tweet_words_plus_1")] == 22 and own[("nll", "tweet_words_plus_1")] == 40
    beside = {line.strip().split("  ")[0] for line, heading, _ in cells(printed) if "tweet_words_plus_1" in heading}
    assert any(name.startswith("smim_ptb") for name in beside) and any(name.startswith("sMIM") for name in beside)
    assert "MELBO with N = 3,761" in printed and "MELBO with N = 1,234" in rows[0]["notes"]


def test_columns_go_from_exact_to_unstated_and_end_with_what_has_no_convention() -> None:
    kinds = ("unstated", "no bound", "MELBO", "importance-weighted", "upper bound")
    figures = [Figure("perplexity", kind, "other", 1.0) for kind in kinds]
    figures += [Figure("kl", "part", None, 1.0)] + [Figure("nll", kind, "other", 1.0) for kind in kinds]
    row = Row("ptb", "a", (Figure("nll", "exact", "first", 1.0), *figures))
    expected = [("nll", "", "first")]
    for kind in ("", "importance-weighted", "MELBO", "no bound", "unstated"):
        expected += [("nll", kind, "other"), ("perplexity", kind, "other")]
    assert [astuple(column) for column in columns_of([row])] == [*expected, ("kl", "", None)]
