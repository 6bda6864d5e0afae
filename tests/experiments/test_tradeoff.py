"""`textae tradeoff` and `textae word-dropout`: points that are means over seeds, and what a run lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from matplotlib.figure import Figure

Command = Callable[..., Any]
FIGURES = ("reconstruction_bleu", "forward_perplexity", "reverse_perplexity")


@pytest.fixture
def write_run(tmp_path: Path) -> Command:
    """Writes a tested run of figures by name, and what its configuration says of the model."""

    def write(experiment: str, seed: int, settings: dict[str, Any], model: str = "X", **figures: float) -> Path:
        folder = tmp_path / "runs" / experiment / str(len(list((tmp_path / "runs").glob(f"{experiment}/*"))))
        folder.mkdir(parents=True)
        metrics = {f"test/{name}": {"value": value, "kind": "score"} for name, value in figures.items()}
        record = {"corpus": "toy", "experiment": experiment, "seed": seed, "model": model, "metrics": metrics}
        (folder / "test_metrics.json").write_text(json.dumps(record))
        (folder / "config.yaml").write_text(json.dumps({"model": {"init_args": settings}}))
        return folder

    return write


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The pictures that are saved, as matplotlib has them."""
    saved: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **options: Any) -> None:
        saved.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def curves(figure: Figure, panel: int) -> dict[str, list[tuple[float, float]]]:
    """The points of each line, by its label."""
    drawn = figure.axes[panel].containers
    return {str(line.get_label()): list(zip(*line.lines[0].get_data(), strict=True)) for line in drawn}


@pytest.mark.parametrize("output", ["plot.png", "plot.json"])
def test_points_are_means_over_seeds_on_a_line_for_each_experiment(
    textae: Command, write_run: Command, figures: list[Figure], tmp_path: Path, output: str
) -> None:
    measured = {0.5: [(0.2, 30.0, 40.0), (0.4, 34.0, 48.0)], 0.1: [(0.8, 90.0, 70.0), (0.9, 94.0, 80.0)]}
    for weight, seeds in measured.items():
        for seed, values in enumerate(seeds):
            write_run("vae", seed, {"kl_weight": weight}, **dict(zip(FIGURES, values, strict=True)))
    write_run("aae", 7, {}, **dict(zip(FIGURES, (0.6, 55.0, 65.0), strict=True)))
    printed = textae("tradeoff", "runs/vae", "runs/aae", "--output", output).out
    points = {point["model"]: point for point in json.loads((tmp_path / "plot.json").read_text())}
    assert set(points) == {"vae kl_weight=0.5", "vae kl_weight=0.1", "aae"}
    for weight, seeds in measured.items():
        point = points[f"vae kl_weight={weight}"]
        assert point["seeds"] == [0, 1] and f"vae kl_weight={weight}" in printed
        for name, values in zip(FIGURES, zip(*seeds, strict=True), strict=True):
            assert point[f"test/{name}"] == {"mean": pytest.approx(mean(values)), "std": pytest.approx(stdev(values))}
            assert f"{mean(values):.3f} ± {stdev(values):.3f}" in printed
    assert points["aae"]["test/reverse_perplexity"] == {"mean": 65.0, "std": None}
    [figure] = figures
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    for panel, place in ((0, 1), (1, 2)):
        lines = curves(figure, panel)
        assert lines["aae"] == [(0.6, (55.0, 65.0)[panel])]
        expected = [(mean(s[0] for s in seeds), mean(s[place] for s in seeds)) for seeds in measured.values()]
        assert lines["vae"] == [pytest.approx(point) for point in expected]  # by BLEU
        assert {text.get_text() for text in figure.axes[panel].texts} == {"kl_weight=0.5", "kl_weight=0.1", ""}


@pytest.mark.parametrize("missing", FIGURES)
def test_what_a_run_lacks_is_named_with_the_command_that_measures_it(
    textae: Command, write_run: Command, missing: str
) -> None:
    write_run("good", 0, {}, **dict.fromkeys(FIGURES, 1.0))
    poor = write_run("poor", 0, {}, **{name: 1.0 for name in FIGURES if name != missing})
    error = textae("tradeoff", "runs/good", "runs/poor", fails=True).error
    callback = "Reconstructions" if missing == "reconstruction_bleu" else "SamplePerplexity"
    assert f"{poor.relative_to(poor.parents[2])} has no {missing}" in error
    command = f"textae test --run {poor.relative_to(poor.parents[2])} --trainer.callbacks+=callbacks.{callback}"
    assert command in error and len(error.strip().splitlines()) == 1


def test_a_language_model_has_nothing_to_trade(textae: Command, write_run: Command) -> None:
    write_run("lm", 0, {}, "LanguageModel", forward_perplexity=1.0, reverse_perplexity=1.0)
    assert "language model has no reconstructions" in textae("tradeoff", "runs/lm", fails=True).error


@pytest.mark.parametrize("output", ["plot.pdf", "plot", "no/such/folder/plot.png"])
def test_where_it_cannot_be_written(textae: Command, write_run: Command, output: str) -> None:
    write_run("good", 0, {}, **dict.fromkeys(FIGURES, 1.0))
    error = textae("tradeoff", "runs/good", "--output", output, fails=True).error
    assert output.removesuffix(".png") in error


def test_keep_rates_are_points_and_other_settings_are_other_lines(
    textae: Command, write_run: Command, figures: list[Figure], tmp_path: Path
) -> None:
    def decoder(dropout: float, inputless: str | None, size: int) -> dict[str, Any]:
        return {"decoder": {"word_dropout": dropout, "inputless": inputless, "hidden_size": size}}

    for seed, (kl, reconstruction) in enumerate(((1.0, 30.0), (2.0, 34.0))):
        write_run("vae", seed, decoder(0.0, None, 8), kl=kl, reconstruction=reconstruction)
    write_run("vae", 0, decoder(0.25, None, 8), kl=4.0, reconstruction=33.0)
    write_run("vae", 0, decoder(1.0, "unknown", 8), kl=9.0, reconstruction=50.0)
    write_run("vae", 0, decoder(0.25, None, 99), kl=6.0, reconstruction=20.0)
    printed = textae("word-dropout", "runs/vae", "--output", "sweep.png").out
    points = json.loads((tmp_path / "sweep.json").read_text())
    found = {(point["model"], point["keep_rate"]): point for point in points}
    assert set(found) == {("vae hidden_size=8", rate) for rate in (1.0, 0.75, 0.0)} | {("vae hidden_size=99", 0.75)}
    assert found["vae hidden_size=8", 1.0]["test/kl"] == {"mean": 1.5, "std": pytest.approx(stdev((1, 2)))}
    assert found["vae hidden_size=8", 1.0]["seeds"] == [0, 1]
    assert "1.50 ± 0.71" in printed and "50.00" in printed
    lines = curves(figures[0], 0)
    assert lines["vae hidden_size=8: KL"] == [(1.0, 1.5), (0.75, 4.0), (0.0, 9.0)]
    assert lines["vae hidden_size=8: reconstruction"] == [(1.0, 32.0), (0.75, 33.0), (0.0, 50.0)]
    assert lines["vae hidden_size=99: KL"] == [(0.75, 6.0)]
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_a_family_without_a_kl_has_no_sweep(textae: Command, write_run: Command) -> None:
    write_run("ae", 0, {"decoder": {"word_dropout": 0.5}}, "Autoencoder", reconstruction=3.0)
    error = textae("word-dropout", "runs/ae", fails=True).error
    assert "runs/ae/0 has no KL" in error and "Autoencoder" in error
    write_run("old", 0, {}, kl=1.0, reconstruction=3.0)
    assert "word_dropout" in textae("word-dropout", "runs/old", fails=True).error
