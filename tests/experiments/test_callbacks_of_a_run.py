"""The callbacks that a run has: an experiment's may be set anew on the command line, and a bar is among them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from pytorch_lightning.profilers import SimpleProfiler

import callbacks
from experiments.lightning_cli import TextCLI

Command = Callable[..., Any]
PURITY = "--trainer.callbacks+=callbacks.NeighborPurity"


def test_the_last_of_a_kind_counts_and_it_is_said(textae: Command, trained: Any) -> None:
    twice = (PURITY, "--trainer.callbacks.neighbors=5", PURITY, "--trainer.callbacks.neighbors=1")
    figures = {}
    for name, options in {"last": twice[2:], "first": twice[:2], "both": twice}.items():
        outcome = textae("test", "--run", trained.run, *options)
        assert ("NeighborPurity" in outcome.error) == (name == "both")
        [file] = trained.run.glob("test_metrics.json")
        figures[name] = json.loads(file.read_text())["metrics"]["test/knn_purity"]["value"]
    assert figures["both"] == figures["last"] != figures["first"]


@pytest.mark.parametrize(
    ("options", "bar"),
    [
        ((), callbacks.ProgressBar),
        (("--trainer.enable_progress_bar=true",), callbacks.ProgressBar),
        (("--trainer.enable_progress_bar=false",), None),
        (("--trainer.callbacks+=RichProgressBar",), RichProgressBar),
        (("--trainer.callbacks+=TQDMProgressBar",), TQDMProgressBar),
        (("--trainer.callbacks+=callbacks.ProgressBar",), callbacks.ProgressBar),
    ],
)
def test_a_run_has_one_bar_ours_unless_another_is_asked_for(
    options: tuple[str, ...], bar: type | None, textae: Command, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Trainer] = []
    monkeypatch.setattr(TextCLI, "before_test", lambda cli: seen.append(cli.trainer), raising=False)
    textae("test", "--run", trained.run, "--trainer.enable_progress_bar=null", *options)
    kinds = [type(each) for each in seen[0].callbacks if isinstance(each, ProgressBar)]  # type: ignore[attr-defined]
    assert kinds == ([] if bar is None else [bar])


def test_a_run_is_profiled_where_that_is_asked_for(
    textae: Command, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Trainer] = []
    monkeypatch.setattr(TextCLI, "before_test", lambda cli: seen.append(cli.trainer), raising=False)
    for options in ((), ("--trainer.profiler=simple",)):
        textae("test", "--run", trained.run, *options)
    kinds = [type(each.profiler) for each in seen]  # type: ignore[attr-defined]  # Lightning attaches it, untyped
    assert kinds == [callbacks.Unprofiled, SimpleProfiler]
