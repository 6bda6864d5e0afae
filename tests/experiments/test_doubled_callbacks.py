"""Of callbacks of one kind the last counts: an experiment's may be set anew on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Command = Callable[..., Any]
PURITY = "--trainer.callbacks+=callbacks.NeighborPurity"


def test_the_last_of_a_kind_counts_and_it_is_said(textae: Command, trained: Any) -> None:
    twice = (PURITY, "--trainer.callbacks.k=5", PURITY, "--trainer.callbacks.k=1")
    figures = {}
    for name, options in {"last": twice[2:], "first": twice[:2], "both": twice}.items():
        outcome = textae("test", "--run", trained.run, *options)
        assert ("NeighborPurity" in outcome.error) == (name == "both")
        [file] = trained.run.glob("test_metrics.json")
        figures[name] = json.loads(file.read_text())["metrics"]["test/knn_purity"]["value"]
    assert figures["both"] == figures["last"] != figures["first"]
