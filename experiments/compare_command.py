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
from experiments.figures import LIKELIHOODS, QUANTITIES, Figure, Row
from experiments.published import content, published_rows
from experiments.records import Run, by_title, mean_and_std, read_runs
from experiments.runs import write_json


def run(args: list[str]) -> None:
    """Prints a table for each corpus: the runs, means over seeds, and the published rows.

    A column holds figures of one quantity and token convention, which are exact or upper bounds, or all of one other
    kind. Where the terminal is too narrow, the conventions follow one another.
    """
    parser = argparse.ArgumentParser(prog="textae compare", exit_on_error=False)
    parser.add_argument("runs", nargs="+", help="run folders, or experiments' folders: all of their runs")
    parser.add_argument("--corpus", metavar="NAME", help="only this one of the runs' corpora, such as ptb")
    parser.add_argument("--output", metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--no-published", action="store_true", help="leave out what papers print")
    options = parser.parse_args(args)
    corpora = _measured(read_runs(options.runs))
    if options.corpus is not None:
        known = f"no run is of the corpus {options.corpus}; there are: {', '.join(corpora)}"
        require(options.corpus in corpora, known)
        corpora = {options.corpus: corpora[options.corpus]}
    if not options.no_published:
        corpora = {corpus: rows + published_rows(corpus) for corpus, rows in corpora.items()}
    if options.output is not None:
        write_json(options.output, [asdict(row) for row in chain(*corpora.values())])
    print_comparison(Console(markup=False, highlight=False), corpora)


def _measured(runs: Sequence[Run]) -> dict[str, list[Row]]:
    """A row for each model, by corpus."""
    corpora: dict[str, list[Run]] = {}
    for found in runs:
        require("corpus" in found.record, f"{found.title}: its test_metrics.json names no corpus; test the run again")
        corpora.setdefault(str(found.record["corpus"]), []).append(found)
    return {corpus: [_row(corpus, *seeds) for seeds in by_title(found).items()] for corpus, found in corpora.items()}


def _row(corpus: str, title: str, runs: Sequence[Run]) -> Row:
    figures, notes = [], []
    for name, quantity in QUANTITIES.items():
        found = [run.record["metrics"][f"test/{name}"] for run in runs if f"test/{name}" in run.record["metrics"]]
        if found:
            mean, std = mean_and_std([figure["value"] for figure in found])
            figures.append(Figure(quantity, found[0]["kind"], _convention(found[0], runs[0]), mean, std))
        if any(figure.get("below_floor") for figure in found):
            notes.append(f"{name} is below the entropy floor: no likelihood")
    ours = {run.record["sentences"] for run in runs if "sentences" in run.record}
    theirs = content()["corpora"].get(corpus, {}).get("test")
    if theirs is not None and ours - {theirs}:
        notes.append(f"tested on {' and '.join(map(str, sorted(ours)))} sentences, the papers on {theirs}")
    seeds = tuple(run.record["seed"] for run in runs if "seed" in run.record)
    return Row(corpus, title, tuple(figures), seeds=seeds, runs=len(runs), notes=tuple(notes))


def _convention(figure: Mapping[str, Any], run: Run) -> str | None:
    """A likelihood's convention, which names who split the words where these are not the corpus' own."""
    if figure["kind"] not in LIKELIHOODS:
        return None
    data = {key: run.configuration.get(f"data.init_args.{key}") for key in ("data_dir", "hub.repository")}
    split = (
        run.configuration.get("data.init_args.hub.tweet_tokenize") and data["hub.repository"] and not data["data_dir"]
    )
    return str(figure.get("convention", "unknown tokens")) + (", TweetTokenizer" if split else "")
