"""`textae word-dropout`: KL and reconstruction against the share of words that the decoder is told."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from datamodules.errors import require
from experiments.model_options import print_table
from experiments.plots import write_plot
from experiments.records import Run, by_title, mean_and_std, read_runs

SETTINGS = ("model.init_args.decoder.word_dropout", "model.init_args.decoder.inputless")
FIGURES = {"test/kl": "KL", "test/reconstruction": "reconstruction"}


def run(args: list[str]) -> None:
    """Prints, and draws where that is asked for, the two terms of the ELBO by keep rate (Bowman et al. 2016, Figure 3).

    A point is the mean over the seeds of one keep rate; runs that differ in other settings are on other lines. The
    decoder of keep rate 0 is inputless: it is told no words in the test either.
    """
    parser = argparse.ArgumentParser(prog="textae word-dropout", exit_on_error=False)
    parser.add_argument("runs", nargs="+", help="run folders, or experiments' folders: all of their runs")
    parser.add_argument("--output", metavar="FILE", help="FILE.png is the plot, FILE.json its points")
    options = parser.parse_args(args)
    points = _points(read_runs(options.runs))
    if options.output is not None:
        write_plot(options.output, _draw(points), points)
    print_table(
        [
            {
                "model": point["model"],
                "keep rate": f"{point['keep_rate']:g}",
                "seeds": str(len(point["seeds"])),
                **{f"{label} (nats)": _cell(point[name]) for name, label in FIGURES.items()},
            }
            for point in points
        ]
    )


def _points(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each model's keep rates, the largest first."""
    swept: dict[float, list[Run]] = defaultdict(list)
    for found in runs:
        others = {key: value for key, value in found.settings.items() if key not in SETTINGS}
        swept[_keep_rate(found)].append(replace(found, settings=others))
    points = [
        {"model": title, "keep_rate": keep, "seeds": [seed.record.get("seed") for seed in seeds]} | _figures(seeds)
        for keep, of_rate in swept.items()
        for title, seeds in by_title(of_rate).items()
    ]
    return sorted(points, key=lambda point: (point["model"], -point["keep_rate"]))


def _keep_rate(run: Run) -> float:
    dropout, inputless = (run.configuration.get(name) for name in SETTINGS)
    require(dropout is not None, f"{run.folder} has no config.yaml that says its decoder's word_dropout")
    for name, label in FIGURES.items():
        none = f"{run.folder} has no {label} (test/...): a {run.record.get('model')} does not measure it"
        require(name in run.record["metrics"], none)
    return 0.0 if inputless is not None else round(1 - float(dropout or 0), 6)


def _figures(runs: Sequence[Run]) -> dict[str, Any]:
    found = {name: mean_and_std([run.record["metrics"][name]["value"] for run in runs]) for name in FIGURES}
    return {name: {"mean": mean, "std": std} for name, (mean, std) in found.items()}


def _draw(points: Sequence[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for model in dict.fromkeys(point["model"] for point in points):
        own = [point for point in points if point["model"] == model]
        for name, label in FIGURES.items():
            y, spread = ([point[name][part] or 0.0 for point in own] for part in ("mean", "std"))
            rates = [point["keep_rate"] for point in own]
            axes.errorbar(rates, y, yerr=spread, marker="o", linewidth=1, label=f"{model}: {label}")
    axes.invert_xaxis()
    axes.set(xlabel="keep rate of the decoder's words", ylabel="nats a sentence", ylim=(0, None))
    axes.legend(fontsize="small")
    return figure


def _cell(figure: dict[str, Any]) -> str:
    return f"{figure['mean']:.2f}" + ("" if figure["std"] is None else f" ± {figure['std']:.2f}")
