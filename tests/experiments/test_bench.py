"""What is timed computes the same thing. Times themselves are not tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from datamodules.batch import TokenBatch
from experiments.bench.__main__ import BENCHMARKS, main
from experiments.bench.importance import estimate, importance, made
from experiments.bench.neighbors import neighbors
from experiments.bench.reference import loop_over_samples, one_at_a_time
from experiments.bench.timing import Row, medians

WORDS = [[5, 9, 7, 12], [8, 8, 6, 11], [10, 5, 13, 7]]


def test_the_loops_give_the_same_estimate() -> None:
    model = made(words=40, hidden=12)
    batch = TokenBatch.from_ids(WORDS)
    noise = model.random(batch).normal("importance", 20, model.latent_size)
    ours = estimate(model, batch, 20).float()
    torch.testing.assert_close(loop_over_samples(model, batch, noise), ours, rtol=1e-5, atol=1e-4)
    alone = [TokenBatch.from_ids([words]) for words in WORDS]
    torch.testing.assert_close(one_at_a_time(model, alone, noise), ours, rtol=1e-5, atol=1e-4)


def test_the_median_of_rounds_in_turn() -> None:
    order: list[str] = []
    found = medians({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3
    assert found.keys() == {"a", "b"} and min(found.values()) >= 0
    assert Row("x", reference=3.0, ours=1.5).ratio == 2.0


def test_small_benchmarks_give_their_rows() -> None:
    rows = importance(words=40, hidden=8, sentences=3, length=4, samples=5, repeats=1)
    assert [row.target for row in rows] == [1.15, 2.0, 10.0]
    assert "nats" in rows[0].note and "MB" in rows[0].note
    [row] = neighbors(sentences=120, latent_size=2)
    assert row.reference == 180 and row.ours < 180


def test_the_table_and_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(BENCHMARKS, "neighbors", lambda: [Row("this; that", 4.0, 2.0, 1.5, "a note")])
    main(["neighbors", "--output", str(tmp_path / "bench.json")])
    printed = capsys.readouterr().out
    assert "this; that" in printed and "2.00" in printed and "1.5" in printed and "a note" in printed
    record = json.loads((tmp_path / "bench.json").read_text())
    assert record["rows"][0]["ratio"] == 2.0 and record["hardware"]


def test_an_unknown_benchmark_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "importance" in capsys.readouterr().err
