"""Memory that a training frees is kept for its next step."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from models import command_line

from experiments import lightning_cli, memory
from experiments.bench import memory as bench
from experiments.bench.training import PAPER, daae_products

# Two blocks at a time, which glibc keeps none of: the pages that had to be had of the system for them.
ROUNDS = """
import ctypes, resource, sys
from experiments.memory import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("it is not kept")
libc, size = ctypes.CDLL(None), int(sys.argv[2])
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
for round in range(12):
    if round == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(size) for _ in range(2)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, size: int) -> int:
    kept = {name: value for name, value in os.environ.items() if name not in (*memory.VARIABLES, "GLIBC_TUNABLES")}
    command, folder = [sys.executable, "-c", ROUNDS, how, str(size)], Path(memory.__file__).parents[1]
    return int(subprocess.run(command, env=kept, cwd=folder, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="freed memory is kept with glibc alone")
# At the end of the heap, and with pages of their own, which they have from 32 MB on.
@pytest.mark.parametrize("size", [30_000_000, 200_000_000])
def test_what_is_kept_is_not_had_of_the_system_again(size: int) -> None:
    pages = 10 * 2 * size // os.sysconf("SC_PAGE_SIZE")
    assert faults("kept", size) < pages // 20
    assert faults("given back", size) > pages // 4


@pytest.mark.parametrize("name", [*memory.VARIABLES, "GLIBC_TUNABLES"])
def test_what_the_environment_says_of_it_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "glibc.malloc.trim_threshold=65536")
    assert not memory.keep_freed_memory()


SMALL = {"words": 40, "embedding": 6, "hidden": 7, "latent": 3}


def test_a_training_on_a_cpu_keeps_it(
    textae: Callable[..., Any], quiet: tuple[str, ...], trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(lightning_cli, "keep_freed_memory", lambda: asked.append("kept"))
    data = f"--data.init_args.data_dir={trained.data}"
    textae("fit", "--config", trained.config, data, "--trainer.max_epochs=1", "--trainer.logger=false", *quiet)
    assert asked == ["kept"]


def test_a_training_on_a_gpu_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(lightning_cli, "keep_freed_memory", lambda: asked.append("kept"))
    monkeypatch.setattr(lightning_cli, "allow_tf32", lambda *_: None)
    for device in ("cuda", "cpu"):
        lightning_cli.TextCLI.before_fit(command_line(device))
        assert asked == (["kept"] if device == "cpu" else [])


@pytest.mark.parametrize("bfloat16", [True, False])
def test_the_benchmark_compares_processes_that_keep_it_with_those_that_do_not(
    bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: Any) -> SimpleNamespace:
        given = json.loads(command[-1])
        keeps = given["keeps"]
        seconds = {("fp32", False): 3.0, ("fp32", True): 1.0, ("published", False): 5.0, ("published", True): 4.0}
        seconds["bf16-mixed", True] = 0.5
        found = {"seconds": seconds[given["loop"], keeps], "faults": 10 if keeps else 2000}
        found["megabytes"] = 60 if keeps else 50
        found["rate"] = 2e11 if keeps else 1e9
        return SimpleNamespace(stdout=json.dumps(found))

    monkeypatch.setattr(bench, "can_keep_freed_memory", lambda: True)
    monkeypatch.setattr("experiments.bench.memory.subprocess.run", run)
    monkeypatch.setattr(bench, "bfloat16_is_fast", lambda: bfloat16)
    daae, *published, share, vae_avg = bench.memory()
    assert [(row.ratio, row.target) for row in published] == [(5.0, 1.05), (10.0, 2.0)][: 1 + bfloat16]
    assert all("4.000 s for the published loop" in row.note for row in published)
    for row in (daae, vae_avg):
        assert row.ratio == 3.0 and row.note == "10 page faults instead of 2,000; at most 60 MB instead of 50"
    # The products of a step of the paper's size, counted on the model (see `test_bench.py`), at 200 GFLOP/s in 1 s.
    assert share.ratio == pytest.approx(daae_products(PAPER, 64, 9) / 2e11) and "200 GFLOP/s" in share.note


@pytest.mark.parametrize(("loop", "keeps"), [("fp32", True), ("fp32", False), ("published", False)])
def test_the_benchmarks_process_keeps_it_where_it_is_to(
    loop: bench.Loop, keeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(bench, "keep_freed_memory", lambda: asked.append(True) or True)
    found = bench.measured(bench.DAAE, SMALL, 1, loop, keeps)
    assert asked == [True] * keeps and found["seconds"] > 0 and found["rate"] > 1e6


@pytest.mark.parametrize(
    ("loop", "taken"), [("published", "published"), ("fp32", "ours, False"), ("bf16-mixed", "ours, True")]
)
def test_the_benchmarks_process_takes_the_loop_that_it_is_told(
    loop: bench.Loop, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = list[str]()
    monkeypatch.setattr(bench.PublishedDAAE, "step", lambda *_: steps.append("published"))
    monkeypatch.setattr(bench, "steps", lambda *_, bf16: lambda: steps.append(f"ours, {bf16}"))
    bench.measured(bench.DAAE, SMALL, 1, loop, False)
    assert steps == [taken] * 3  # two warm up


def test_the_benchmark_leaves_its_rows_out_where_memory_cannot_be_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert bench.memory() == []
    assert "memory: left out" in capsys.readouterr().err
