"""`textae compare`: means over seeds beside published figures, no two conventions in a column."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import yaml

import experiments
from callbacks.quantities import EOS_IN_BOTH

Command = Callable[..., Any]
ROOT = Path(experiments.__file__).parent.parent
PUBLISHED = yaml.safe_load((ROOT / "experiments" / "results" / "published.yaml").read_text(encoding="utf-8"))
CORPORA = tuple(PUBLISHED["corpora"])
PARTS = ("kl", "active_units", "mutual_information", "reconstruction_bleu")


@pytest.fixture
def write_run(tmp_path: Path) -> Command:
    """Writes a tested run: figures by name as (value, kind), and a configuration if there is one."""

    def write(name: str, seed: int, config: dict[str, Any] | None = None, **figures: tuple[float, str]) -> Path:
        folder = tmp_path / "runs" / name / str(len(list((tmp_path / "runs").glob(f"{name}/*"))))
        folder.mkdir(parents=True)
        corpus = name.split("_")[-1]
        metrics = {
            f"test/{quantity}": {"value": value, "kind": kind}
            | ({} if quantity in PARTS else {"convention": EOS_IN_BOTH})
            for quantity, (value, kind) in figures.items()
        }
        sentences = PUBLISHED["corpora"].get(corpus, {}).get("test", 3000)
        record = {"corpus": corpus, "experiment": name, "seed": seed, "sentences": sentences, "metrics": metrics}
        (folder / "test_metrics.json").write_text(json.dumps(record))
        if config is not None:
            (folder / "config.yaml").write_text(json.dumps(config))
        return folder

    return write


@pytest.fixture
def compare(textae: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Compares all runs that were written, on a terminal of some width; what was printed, and the rows in the file."""

    def run(*options: str, width: int = 1000) -> tuple[str, list[dict[str, Any]]]:
        monkeypatch.setenv("COLUMNS", str(width))
        folders = sorted((tmp_path / "runs").glob("*"))
        printed = textae("compare", *folders, *options, "--output", "rows.json").out
        return printed, json.loads((tmp_path / "rows.json").read_text())

    return run


def figures_of(row: dict[str, Any]) -> dict[tuple[str, str], tuple[float, float | None]]:
    return {(figure["quantity"], figure["kind"]): (figure["value"], figure["std"]) for figure in row["figures"]}


def cells(printed: str) -> list[tuple[str, str, str]]:
    """(line, heading, cell) of each figure in the tables: both are aligned to the right, so they end together."""
    found = []
    lines = printed.splitlines()
    for number, line in enumerate(lines):
        if set(line.strip()) != {"─"}:
            continue
        first = max(i for i in range(number) if not lines[i].strip()) + 1
        headings: dict[int, list[str]] = {}
        for above in lines[first:number]:
            for word in re.finditer(r"\S+(?: \S+)*", above):
                headings.setdefault(word.end(), []).append(word.group())
        [runs] = [end for end, words in headings.items() if words == ["runs"]]
        for below in lines[number + 1 :]:
            if not below.strip():
                break
            for word in re.finditer(r"\S+(?: \S+)*", below):
                if word.start() > runs:
                    found.append((below, " ".join(headings[word.end()]), word.group()))
    return found


def test_means_over_seeds(write_run: Command, compare: Command) -> None:
    values = {0: 101.0, 1: 103.0, 2: 101.5}
    for seed, value in values.items():
        write_run("lm_ptb", seed, nll=(value, "exact"), perplexity=(value - 2, "exact"))
    write_run("ae_ptb", 7, reconstruction_bleu=(0.6123, "score"))
    printed, rows = compare()
    language_model = next(row for row in rows if row["model"] == "lm_ptb")
    assert figures_of(language_model) == {
        ("nll", "exact"): (pytest.approx(mean(values.values())), pytest.approx(stdev(values.values()))),
        ("perplexity", "exact"): (pytest.approx(mean(values.values()) - 2), pytest.approx(stdev(values.values()))),
    }
    assert language_model["seeds"] == [0, 1, 2] and language_model["runs"] == 3
    assert f"= {mean(values.values()):.2f} ± {stdev(values.values()):.2f}" in printed
    [autoencoder] = [(heading, cell) for line, heading, cell in cells(printed) if line.strip().startswith("ae_ptb")]
    assert autoencoder == ("BLEU-4", "0.612")


def test_other_settings_and_other_corpora_are_other_rows(write_run: Command, compare: Command) -> None:
    for lr, value in ((0.1, 100.0), (0.1, 104.0), (0.2, 90.0)):
        write_run("svae_ptb", 0, {"model": {"init_args": {"lr": lr}}}, negative_elbo=(value, "upper bound"))
    write_run("svae_reviews", 0, negative_elbo=(17.0, "upper bound"))
    printed, rows = compare("--no-published")
    models = [(row["corpus"], row["model"], row["figures"][0]["value"]) for row in rows]
    expected = [("ptb", "svae_ptb lr=0.1", 102.0), ("ptb", "svae_ptb lr=0.2", 90.0), ("reviews", "svae_reviews", 17.0)]
    assert models == expected
    assert "Penn Treebank" in printed and "Kruengkrai" not in printed
    _, rows = compare("--corpus=reviews")
    assert [row["model"] for row in rows] == ["svae_reviews"]  # of which nothing is published


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
        if heading == "KL":
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
    assert sorted(cell for _, heading, cell in cells(narrow) if not heading.startswith("KL")) == sorted(
        cell for _, heading, cell in cells(wide) if not heading.startswith("KL")
    )
    for convention in PUBLISHED["conventions"]:
        assert f"Penn Treebank: {convention}" in narrow


def test_what_is_to_be_known_of_a_run_is_said(write_run: Command, compare: Command) -> None:
    folder = write_run("lm_ptb", 0, nll=(1.0, "exact"))
    record = json.loads((folder / "test_metrics.json").read_text())
    record["sentences"] = 64
    record["metrics"]["test/nll"]["below_floor"] = True
    (folder / "test_metrics.json").write_text(json.dumps(record))
    printed, rows = compare()
    assert any("64" in note and "3761" in note for note in rows[0]["notes"])
    assert any("below the entropy floor" in note for note in rows[0]["notes"])
    assert "lm_ptb [1] [2]" in printed


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
    write_run("lm_yahoo", 0, config, nll=(1.0, "exact"))
    assert compare()[1][0]["figures"][0]["convention"] == convention


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("test_metrics.json", None, "test_metrics.json"),
        ("test_metrics.json", '{"metrics":', "damaged"),
        ("test_metrics.json", "[]", "damaged"),
        ("test_metrics.json", '{"experiment": "a", "metrics": {"test/nll": 3.0}}', "test/nll"),
        ("test_metrics.json", '{"experiment": "a", "metrics": {}}', "corpus"),
        ("config.yaml", "model: {", "damaged"),
        ("config.yaml", "- a", "damaged"),
    ],
)
def test_what_is_wrong_is_named(
    file: str, content: str | None, named: str, write_run: Command, textae: Command
) -> None:
    folder = write_run("lm_ptb", 0, nll=(1.0, "exact"))
    (folder / file).unlink(missing_ok=True)
    if content is not None:
        (folder / file).write_text(content)
    error = textae("compare", folder, fails=True).error
    assert error.startswith("textae compare: ") and error.count("\n") == 1
    assert named in error and (named == "corpus" or file in error)


def test_options_that_are_wrong_are_named(write_run: Command, textae: Command) -> None:
    folder = write_run("lm_ptb", 0, nll=(1.0, "exact"))
    assert "nowhere" in textae("compare", "nowhere", fails=True).error
    error = textae("compare", folder, "--corpus=yahoo", fails=True).error
    assert "yahoo" in error and "ptb" in error
    assert "no/such" in textae("compare", folder, "--output=no/such/file", fails=True).error
    assert "runs" in textae("compare", fails=True).error


def test_it_is_a_command(textae: Command) -> None:
    assert "  compare " in textae("--help").out
    printed = textae("compare", "--help").out
    for option in ("runs", "--corpus", "--output", "--no-published"):
        assert option in printed


def change(folder: Path, name: str, **notes: Any) -> None:
    """Adds to what is noted of a figure of a run."""
    file = folder / "test_metrics.json"
    record = json.loads(file.read_text())
    record["metrics"][f"test/{name}"] |= notes
    file.write_text(json.dumps(record))


def convention_figures(value: float, kind: str, name: str, nats: str) -> dict[str, tuple[float, str]]:
    """A perplexity in three conventions, and its nats without EOS, all different."""
    others = ("eos_in_neither", "eos_in_tokens", "bos_and_eos")
    found = {f"{name}_{convention}": (value + i, kind) for i, convention in enumerate(others, start=1)}
    return found | {name: (value, kind), nats: (value + 10, kind), f"{nats}_without_eos": (value + 20, kind)}


def test_other_conventions_are_shown_where_they_are_asked_for(write_run: Command, compare: Command) -> None:
    write_run("svae_ptb", 0, **convention_figures(100.0, "upper bound", "perplexity", "negative_elbo"))
    printed, rows = compare("--no-published")
    assert {figure["convention"] for figure in rows[0]["figures"]} == {EOS_IN_BOTH}
    printed, rows = compare("--no-published", "--conventions", "eos_in_neither", "eos_in_tokens")
    found = {(figure["quantity"], figure["convention"]): figure["value"] for figure in rows[0]["figures"]}
    assert found == {
        ("perplexity", EOS_IN_BOTH): 100,
        ("nll", EOS_IN_BOTH): 110,
        ("perplexity", "eos_in_neither"): 101,
        ("nll", "eos_in_neither"): 120,
        ("perplexity", "eos_in_tokens"): 102,
        ("nll", "eos_in_tokens"): 120,
    }
    assert len({heading for _, heading, _ in cells(printed)}) == 6


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


def test_the_gap_to_the_floor_has_a_column_for_each_kind(write_run: Command, compare: Command) -> None:
    folder = write_run("svae_reviews", 0, negative_elbo=(18.0, "upper bound"), nll_iw=(17.5, "importance-weighted"))
    for name, gap in (("negative_elbo", 1.25), ("nll_iw", 0.75)):
        change(folder, name, gap=gap)
    printed, rows = compare()
    found = {heading: cell for _, heading, cell in cells(printed)}
    assert found[f"above the floor {EOS_IN_BOTH}"] == "1.25"
    assert found[f"above the floor importance- weighted {EOS_IN_BOTH}"] == "0.75"
    assert [figure["value"] for figure in rows[0]["figures"] if figure["quantity"] == "gap"] == [1.25, 0.75]


def with_callbacks(*classes: str, lr: float = 0.1, **trainer: Any) -> dict[str, Any]:
    callbacks = [{"class_path": name, "init_args": {"weight": "kl_weight", "end": 3}} for name in classes]
    return {"model": {"init_args": {"lr": lr}}, "trainer": {"callbacks": callbacks, **trainer}}


def test_what_only_measures_or_shows_makes_no_other_model(write_run: Command, compare: Command) -> None:
    schedule, measuring = "callbacks.LinearAnnealing", "callbacks.NeighborPurity"
    write_run("svae_ptb", 0, with_callbacks(schedule, accelerator="cpu"), nll=(100.0, "exact"))
    write_run("svae_ptb", 1, with_callbacks(measuring, schedule, enable_progress_bar=False), nll=(102.0, "exact"))
    write_run("svae_ptb", 2, with_callbacks(measuring), nll=(110.0, "exact"))
    _, rows = compare("--no-published")
    assert [(row["model"], row["runs"]) for row in rows] == [("svae_ptb weight=kl_weight end=3", 2), ("svae_ptb", 1)]


def test_an_option_that_only_one_run_has_makes_another_model(write_run: Command, compare: Command) -> None:
    config: dict[str, Any] = {"model": {"init_args": {"lr": 1}}}
    write_run("svae_ptb", 0, config, nll=(17.0, "exact"))
    write_run("svae_ptb", 1, {"model": {"init_args": {"lr": 1, "free_bits": 3}}}, nll=(22.0, "exact"))
    _, rows = compare("--no-published")
    assert [(row["model"], row["runs"]) for row in rows] == [("svae_ptb", 1), ("svae_ptb free_bits=3", 1)]


def test_what_a_mean_is_of_is_noted(write_run: Command, compare: Command) -> None:
    for seed, samples in ((0, 500), (0, 10), (1, 500)):
        folder = write_run("svae_reviews", seed, negative_elbo=(17.0, "bound"), nll_iw=(16.0, "importance-weighted"))
        change(folder, "nll_iw", samples=samples, sentences=50)
    change(folder, "negative_elbo", value=None)
    _, [row] = compare()
    assert row["notes"] == [
        "negative_elbo of 2 of 3 runs",
        "importance-weighted with K = 10 and 500",
        "nll_iw of 50 sentences",
        "several runs of one seed",
    ]
