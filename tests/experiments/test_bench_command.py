"""The command `make bench`: which benchmarks it runs, where, and what becomes of their rows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.bench.__main__ import BENCHMARKS, main
from experiments.bench.timing import Row


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


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setitem(BENCHMARKS, "neighbors", lambda: ran.append("neighbors") or [])
    with pytest.raises(SystemExit):
        main(["neighbors", "--output", str(tmp_path / "no" / "bench.json")])
    assert "bench.json cannot be written: No such file or directory" in capsys.readouterr().err and not ran


def test_of_a_benchmark_that_fails_the_others_have_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"what": "this; that", "reference": 4.0, "ours": 2.0, "target": None, "note": "", "ratio": 2.0}

    def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if "experiments.bench" not in command:  # the commit is asked of git
            return real(command, **options)
        name, file = command[3], command[5]
        if name == "neighbors":
            return subprocess.CompletedProcess(command, 1)
        Path(file).write_text(json.dumps({"rows": [row]}), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0)

    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit, match="there are no rows, their errors are above: neighbors"):
        main(["corruption", "neighbors", "scaling", "--output", str(tmp_path / "bench.json")])
    assert len(json.loads((tmp_path / "bench.json").read_text())["rows"]) == 2
    assert "this; that" in capsys.readouterr().out


@pytest.mark.slow
def test_each_of_several_benchmarks_is_in_a_process_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def here() -> list[Row]:
        raise AssertionError("in this process")

    for name in ("corruption", "accelerator"):
        monkeypatch.setitem(BENCHMARKS, name, here)
    main(["accelerator", "corruption", "--output", str(tmp_path / "bench.json")])
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert any(row["what"].startswith("word drop") and row["target"] == 20 for row in rows)
    assert capfd.readouterr().out.count("seconds, medians") == 1
