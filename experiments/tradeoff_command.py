"""`textae tradeoff`: generation against reconstruction over runs (Shen et al. 2020)."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from datamodules.errors import require
from experiments.model_options import print_table
from experiments.plots import write_plot
from experiments.records import Run, by_title, mean_and_std, read_runs

BLEU = "test/reconstruction_bleu"
PERPLEXITIES = ("test/forward_perplexity", "test/reverse_perplexity")
HEADINGS = {BLEU: "BLEU-4", **{name: name.removeprefix("test/").replace("_", " ") for name in PERPLEXITIES}}
MEASURED = "textae test --run {folder} --trainer.callbacks+=callbacks.{callback}"


def run(args: list[str]) -> None:
    """Prints, and draws where that is asked for, the perplexities of prior samples against BLEU of reconstructions.

    A point is a model, the mean over its seeds; models of one experiment, which differ in a setting, are on one line.
    """
    parser = argparse.ArgumentParser(prog="textae tradeoff", exit_on_error=False)
    parser.add_argument("runs", nargs="+", help="run folders, or experiments' folders: all of their runs")
    parser.add_argument("--output", metavar="FILE", help="FILE.png is the plot, FILE.json its points")
    options = parser.parse_args(args)
    runs = read_runs(options.runs)
    for found in runs:
        _require_figures(found)
    points = [_point(title, seeds) for title, seeds in by_title(runs).items()]
    if options.output is not None:
        write_plot(options.output, _draw(points), points)
    print_table(
        [
            {
                "model": point["model"],
                "seeds": str(len(point["seeds"])),
                **{heading: _cell(point[name]) for name, heading in HEADINGS.items()},
            }
            for point in points
        ]
    )


def _require_figures(run: Run) -> None:
    """Checks that a run has what is plotted.

    Raises:
        UsageError: It has not; it says which command measures it.
    """
    metrics, model = run.record["metrics"], run.record.get("model")
    require(model != "LanguageModel", f"{run.folder}: a language model has no reconstructions: leave it out")
    for name, callback in [(BLEU, "Reconstructions"), *((name, "SamplePerplexity") for name in PERPLEXITIES)]:
        how = MEASURED.format(folder=run.folder, callback=callback)
        require(name in metrics, f"{run.folder} has no {name.removeprefix('test/')}; this measures it: {how}")


def _point(title: str, runs: Sequence[Run]) -> dict[str, Any]:
    figures = {
        name: mean_and_std([run.record["metrics"][name]["value"] for run in runs]) for name in (BLEU, *PERPLEXITIES)
    }
    record = runs[0].record
    about = {"model": title, "experiment": record["experiment"], "corpus": record.get("corpus")}
    seeds = [run.record.get("seed") for run in runs]
    return about | {"seeds": seeds} | {name: {"mean": mean, "std": std} for name, (mean, std) in figures.items()}


def _draw(points: Sequence[dict[str, Any]]) -> Figure:
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for point in points:
        lines[point["experiment"]].append(point)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), PERPLEXITIES, strict=True):
        for experiment, models in lines.items():
            models = sorted(models, key=lambda point: point[BLEU]["mean"])
            x, y = ([point[quantity]["mean"] for point in models] for quantity in (BLEU, name))
            spread = [[point[quantity]["std"] or 0.0 for point in models] for quantity in (BLEU, name)]
            axes.errorbar(x, y, xerr=spread[0], yerr=spread[1], marker="o", linewidth=1, label=experiment)
            for point, place in zip(models, zip(x, y, strict=True), strict=True):
                settings = point["model"].removeprefix(experiment).strip()
                axes.annotate(settings, place, xytext=(4, 4), textcoords="offset points", fontsize="x-small")
        axes.set(xlabel="BLEU-4 of reconstructions", ylabel=HEADINGS[name])
        axes.legend(fontsize="small")
    return figure


def _cell(figure: dict[str, Any]) -> str:
    return f"{figure['mean']:.3f}" + ("" if figure["std"] is None else f" ± {figure['std']:.3f}")
