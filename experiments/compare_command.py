"""`textae compare`: models side by side with what papers print of the same corpus."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

from rich.console import Console

from datamodules.errors import require
from experiments.comparison import print_comparison
from experiments.data_settings import changed_data
from experiments.figures import GAP, INSTEAD, LIKELIHOODS, QUANTITIES, Figure, Row
from experiments.published import content, melbo_note, published_rows
from experiments.records import Run, by_title, mean_and_std, read_runs
from experiments.runs import write_json
from lightning_modules import AveragingVAE
from lightning_modules.metrics.perplexity import CONVENTIONS, OTHER_CONVENTIONS, WITHOUT_EOS

# What published figures of words by TweetTokenizer are counted like, by their names in `results/published.yaml`.
PUBLISHED_AS = {"eos_in_tokens": "tweet_words_plus_1"}
# What defines a figure beside its name, with the value that goes without saying.
DEFINED_BY: dict[str, tuple[str, float]] = {"active_units": ("threshold", 0.01), "latent_entropy": ("neighbors", 3)}


def run(args: list[str]) -> None:
    """Prints a table for each corpus: the runs, means over seeds, and the published rows.

    A column holds figures of one quantity and token convention, which are exact or upper bounds, or all of one other
    kind. Runs are shown in the default convention, in those of published figures, and in those that are asked for.
    Where the terminal is too narrow, the conventions follow one another.
    """
    parser = argparse.ArgumentParser(prog="textae compare", exit_on_error=False)
    parser.add_argument("runs", nargs="+", help="run folders, experiments' folders, or files of `textae results`")
    parser.add_argument("--corpus", metavar="NAME", help="only this one of the runs' corpora, such as ptb")
    parser.add_argument(
        "--conventions",
        nargs="+",
        default=[],
        choices=OTHER_CONVENTIONS,
        help="also of the runs in these conventions, which `make evaluate` measures",
    )
    parser.add_argument("--output", metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--no-published", action="store_true", help="leave out what papers print")
    options = parser.parse_args(args)
    corpora = _measured(read_runs(options.runs), options.conventions)
    if options.corpus is not None:
        known = f"no run is of the corpus {options.corpus}; there are: {', '.join(corpora)}"
        require(options.corpus in corpora, known)
        corpora = {options.corpus: corpora[options.corpus]}
    if not options.no_published:
        corpora = {corpus: rows + published_rows(corpus) for corpus, rows in corpora.items()}
    if options.output is not None:
        write_json(options.output, [asdict(row) for row in chain(*corpora.values())])
    print_comparison(Console(markup=False, highlight=False), corpora)


def _measured(runs: Sequence[Run], conventions: Sequence[str]) -> dict[str, list[Row]]:
    """A row for each model, by corpus."""
    corpora: dict[str, list[Run]] = {}
    for found in runs:
        require("corpus" in found.record, f"{found.title}: its test_metrics.json names no corpus; test the run again")
        corpora.setdefault(str(found.record["corpus"]), []).append(found)
    return {
        corpus: [_row(corpus, title, seeds, conventions) for title, seeds in by_title(found).items()]
        for corpus, found in corpora.items()
    }


def _row(corpus: str, title: str, runs: Sequence[Run], conventions: Sequence[str]) -> Row:
    figures: list[Figure] = []
    notes: list[str] = []
    below: dict[str, str] = {}
    for name, quantity in QUANTITIES.items():
        found = _found(runs, name)
        if name in INSTEAD and any(figure.quantity == quantity for figure in figures):
            continue
        if found:
            kind, convention = found[0]["kind"], _convention(found[0], runs[0])
            figures.append(_figure(quantity, kind, convention, [figure["value"] for figure in found]))
            gaps = [figure["gap"] for figure in found if "gap" in figure and quantity == "nll"]
            if gaps:
                figures.append(_figure(GAP, kind, convention, gaps))
        if flagged := sum(bool(figure.get("below_floor")) for figure in found):
            below[name] = name + _share(flagged, found)
        if name == "melbo" and found:
            notes.append(melbo_note(*sorted({figure["sentences"] for figure in found if "sentences" in figure})))
        notes += _of_what(name, found, runs)
    notes = list(dict.fromkeys(notes))
    if below:
        notes.append(f"below the entropy floor, so no likelihood: {', '.join(below.values())}")
    figures += _in_other_conventions(runs, conventions)
    if len({run.record.get("seed") for run in runs}) < len(runs):
        notes.append("several runs of one seed")
    ours = {run.record["sentences"] for run in runs if "sentences" in run.record}
    theirs = content()["corpora"].get(corpus, {}).get("test")
    if theirs is not None and ours - {theirs}:
        notes.append(f"tested on {' and '.join(map(str, sorted(ours)))} sentences, the papers on {theirs}")
    others = [f"{key.split('.')[-1]} {value}" for key, value in runs[0].tested_with.items()]
    notes += [f"tested with another setting than trained with: {', '.join(others)}"] if others else []
    notes += changed_data(runs[0])
    seeds = tuple(run.record["seed"] for run in runs if "seed" in run.record)
    return Row(corpus, title, tuple(figures), seeds=seeds, runs=len(runs), notes=tuple(notes))


def _of_what(name: str, found: Sequence[Mapping[str, Any]], runs: Sequence[Run]) -> list[str]:
    """What a mean says nothing of by itself: missing runs, samples, settings, sentences that are not the test's."""
    notes = [f"{name} of {len(found)} of {len(runs)} runs"] if 0 < len(found) < len(runs) else []
    if name in ("nll_iw", "nll_iw_kl_once"):
        samples = sorted({figure["samples"] for figure in found if "samples" in figure})
        notes += [f"importance-weighted with K = {' and '.join(map(str, samples))}"] if samples else []
        lower = sum(bool(figure.get("bf16_products")) for figure in found)
        notes += [f"{name} with bf16 products{_share(lower, found)}"] if lower else []
    if name == "mutual_information":
        ceilings = sorted({f"{figure['value']:.2f}" for figure in _found(runs, f"{name}_ceiling")})
        notes += [f"I(x; z) is at most ln N of its N sentences, {' and '.join(ceilings)}"] if ceilings else []
    if name == "kl" and found and any(run.record.get("model") == AveragingVAE.__name__ for run in runs):
        notes.append("KL and I(x; z) are of one of the L latents of a sentence")
    setting, usual = DEFINED_BY.get(name, ("", None))
    chosen = sorted({figure[setting] for figure in found if setting in figure})
    notes += [f"{name} with {setting} {' and '.join(map(str, chosen))}"] if chosen not in ([], [usual]) else []
    whole = {run.record.get("sentences") for run in runs}
    part = sorted({figure["sentences"] for figure in found if "sentences" in figure} - whole)
    return notes + ([f"{name} of {' and '.join(map(str, part))} sentences"] if part else [])


def _share(some: int, found: Sequence[object]) -> str:
    """Of how many runs something holds, where it is not all of them."""
    return "" if some == len(found) else f" of {some} of {len(found)} runs"


def _found(runs: Sequence[Run], name: str) -> list[dict[str, Any]]:
    """A figure of each run that has it."""
    return [run.record["metrics"][f"test/{name}"] for run in runs if f"test/{name}" in run.record["metrics"]]


def _figure(quantity: str, kind: str, convention: str | None, values: Sequence[float]) -> Figure:
    return Figure(quantity, kind, convention, *mean_and_std(values))


def _in_other_conventions(runs: Sequence[Run], conventions: Sequence[str]) -> list[Figure]:
    """Likelihoods as they are counted elsewhere, where that is asked for or published figures are counted like that."""
    figures = []
    for convention in OTHER_CONVENTIONS:
        published = PUBLISHED_AS.get(convention) if _is_split_by_us(runs[0]) else None
        if published is None and convention not in conventions:
            continue
        nats = WITHOUT_EOS if not CONVENTIONS[convention].end_in_nll else ""
        for name, quantity in QUANTITIES.items():
            ending = nats if quantity in ("nll", "nll_iw") else convention
            found = _found(runs, f"{name}_{ending}" if ending else name)
            if found:
                named = published or _convention({**found[0], "convention": convention}, runs[0])
                figures.append(_figure(quantity, found[0]["kind"], named, [figure["value"] for figure in found]))
    return figures


def _is_split_by_us(run: Run) -> bool:
    """Whether the words are NLTK's TweetTokenizer's rather than the corpus' own; older files do not say."""
    if "splits_words" in run.record:
        return bool(run.record["splits_words"])
    data = {key: run.configuration.get(f"data.init_args.{key}") for key in ("data_dir", "hub.repository")}
    return bool(
        run.configuration.get("data.init_args.hub.tweet_tokenize") and data["hub.repository"] and not data["data_dir"]
    )


def _convention(figure: Mapping[str, Any], run: Run) -> str | None:
    """A likelihood's convention, which names who split the words where these are not the corpus' own."""
    if figure["kind"] not in LIKELIHOODS:
        return None
    split = ", TweetTokenizer" if _is_split_by_us(run) else ""
    return str(figure.get("convention", "unknown tokens")) + split
