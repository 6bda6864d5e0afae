"""What people read of a test's figures."""

from __future__ import annotations

import io
from functools import partial

import pytest
from rich.console import Console

from callbacks import summary
from callbacks.figure_table import print_figures


@pytest.mark.parametrize("width", [200, 80])
def test_a_wide_terminal_has_the_convention(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # By the console that a test's summary makes.
    figure = {"value": 1.25, "error": 0.5, "kind": "exact", "convention": "eos_in_both", "sentences": 3000}
    written = io.StringIO()
    monkeypatch.setattr(summary, "Console", partial(Console, file=written, width=width))
    print_figures(summary.make_console(), "a test", {"test/nll": figure | {"meaning": "nats a sentence"}})
    printed = written.getvalue()
    assert "1.2500" in printed and "0.5000" in printed and "exact" in printed
    assert ("[eos_in_both]" in printed) == ("3,000 sentences" in printed) == (width == 200)
