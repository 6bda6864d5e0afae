"""`textae compare`: means over seeds, what is said of them, and what is wrong with runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from comparing import cells, change

from callbacks.quantities import EOS_IN_BOTH

Command = Callable[..., Any]


def figures_of(row: dict[str, Any]) -> dict[tuple[str, str], tuple[float, float | None]]:
    return {(figure["quantity"], figure["kind"]): (figure["value"], figure["std"]) for figure in row["figures"]}


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


def test_what_a_mean_is_of_is_noted(write_run: Command, compare: Command) -> None:
    for seed, samples in ((0, 500), (0, 10), (1, 500)):
        folder = write_run("svae_reviews", seed, negative_elbo=(17.0, "bound"), nll_iw=(16.0, "importance-weighted"))
        change(folder, "nll_iw", samples=samples, sentences=50, below_floor=samples == 10)
    change(folder, "nll_iw", bf16_products=True)
    change(folder, "negative_elbo", value=None)
    _, [row] = compare()
    assert row["notes"] == [
        "negative_elbo of 2 of 3 runs",
        "importance-weighted with K = 10 and 500",
        "nll_iw with bf16 products of 1 of 3 runs",
        "nll_iw of 50 sentences",
        "below the entropy floor, so no likelihood: nll_iw of 1 of 3 runs",
        "several runs of one seed",
    ]


def test_the_gap_to_the_floor_has_a_column_for_each_kind(write_run: Command, compare: Command) -> None:
    folder = write_run(
        "svae_reviews",
        0,
        negative_elbo=(18.0, "upper bound"),
        nll_iw=(17.5, "importance-weighted"),
        perplexity=(7.0, "upper bound"),
    )
    for name, gap in (("negative_elbo", 1.25), ("nll_iw", 0.75), ("perplexity", 9.0)):
        change(folder, name, gap=gap)
    printed, rows = compare()
    found = {heading: cell for _, heading, cell in cells(printed)}
    assert found[f"above the floor {EOS_IN_BOTH}"] == "1.25"
    assert found[f"above the floor importance- weighted {EOS_IN_BOTH}"] == "0.75"
    assert [figure["value"] for figure in rows[0]["figures"] if figure["quantity"] == "gap"] == [1.25, 0.75]


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("test_metrics.json", None, "test_metrics.json"),
        ("test_metrics.json", '{"metrics":', "damaged"),
        ("test_metrics.json", "[]", "damaged"),
        ("test_metrics.json", '{"experiment": "a", "metrics": {"test/nll": 3.0}}', "test/nll"),
        ("test_metrics.json", '{"experiment": "a", "metrics": {}}', "corpus"),
        ("test_metrics.json", '{"experiment": 3, "metrics": {}}', "experiment"),
        ("test_metrics.json", '{"experiment": "a", "seed": [1], "metrics": {}}', "seed"),
        ("test_metrics.json", '{"experiment": "a", "metrics": {"test/nll": {"value": 1, "kind": ["b"]}}}', "kind"),
        (
            "test_metrics.json",
            '{"experiment": "a", "metrics": {"test/nll": {"value": 1, "kind": "b", "gap": null}}}',
            "nll",
        ),
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


def test_other_words_than_the_experiments_are_noted(write_run: Command, compare: Command) -> None:
    for seed, vocabulary in ((0, {"size": 12, "min_count": 1}), (1, {"size": None})):
        config = {"data": {"init_args": {"vocabulary": vocabulary, "subset": {"train": 5, "max_words": 3}}}}
        write_run("lm_ptb", seed, config, nll=(1.0, "exact"))
    _, rows = compare("--no-published")
    first = next(row for row in rows if row["seeds"] == [0])
    assert any("vocabulary.size is 12" in note for note in first["notes"])
    assert any("subset.max_words is 3" in note for note in first["notes"])
    assert not any("subset.train" in note for note in first["notes"])
    write_run("lm_reviews", 0, {"data": {"init_args": {"subset": {"max_words": None}}}}, nll=(1.0, "exact"))
    _, rows = compare("--no-published", "--corpus=reviews")
    assert not any("data.init_args" in note for note in rows[0]["notes"])


@pytest.mark.parametrize("callbacks", ["3", "[a]", "{a: b}", "[{init_args: {}}]"])
def test_callbacks_that_are_none_are_no_settings(callbacks: str, write_run: Command, compare: Command) -> None:
    folder = write_run("lm_ptb", 0, {}, nll=(1.0, "exact"))
    (folder / "config.yaml").write_text(f"trainer: {{callbacks: {callbacks}}}")
    assert compare("--no-published")[1][0]["model"] == "lm_ptb"


def test_a_ceiling_stands_beside_mutual_information(write_run: Command, compare: Command) -> None:
    figures = {"mutual_information": (8.0, "estimate"), "mutual_information_ceiling": (math.log(3000), "score")}
    write_run("daae_reviews", 0, **figures)
    _, [row] = compare()
    assert row["notes"] == ["I(x; z) is at most ln N of its N sentences, 8.01"]


@pytest.mark.parametrize(
    "chosen, notes", [((0.01, 0.01), []), ((0.02, 0.02), ["0.02"]), ((0.02, 0.01), ["0.01 and 0.02"]), ((), [])]
)
def test_an_unusual_threshold_of_active_units_is_noted(
    chosen: tuple[float, ...], notes: list[str], write_run: Command, compare: Command
) -> None:
    for seed in range(2):
        folder = write_run("svae_reviews", seed, active_units=(3.0, "score"))
        change(folder, "active_units", **({"threshold": chosen[seed]} if chosen else {}))
    _, [row] = compare()
    assert row["notes"] == [f"active_units with threshold {named}" for named in notes]


def test_of_several_latents_the_kl_is_said_to_be_ones(write_run: Command, compare: Command) -> None:
    folder = write_run("vae_avg_reviews", 0, kl=(2.0, "part"))
    file = folder / "test_metrics.json"
    for family, noted in (("AveragingVAE", True), ("SentenceVAE", False)):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"model": family}))
        assert any("one of the L latents" in note for note in compare()[1][0]["notes"]) == noted


def test_folders_without_a_tested_run_are_left_out(
    write_run: Command, compare: Command, tmp_path: Path, textae: Command
) -> None:
    tested = write_run("lm_reviews", 0, nll=(15.0, "exact"))
    untested = tested.parent.parent / "svae_reviews_sweep"
    (untested / "trial_0" / "checkpoints").mkdir(parents=True)
    assert "svae_reviews_sweep" in textae("compare", tested, untested).error
    assert [row["model"] for row in compare()[1]] == ["lm_reviews"]  # of the folder of all runs
    assert "svae_reviews_sweep holds no test_metrics.json" in textae("compare", untested, fails=True).error
