"""Memory that a training frees is kept for its next step."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import lightning_cli, memory

# Two tensors of 64 MB at a time, which glibc keeps none of: the pages that had to be had of the system for them.
ROUNDS = """
import resource, sys
import torch
from experiments.memory import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("this C library has no mallopt")
for round in range(20):
    if round == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(16_000_000) for _ in range(2)]
    del tensors
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    kept = {name: value for name, value in os.environ.items() if name not in memory.VARIABLES}
    command, folder = [sys.executable, "-c", ROUNDS, how], Path(memory.__file__).parents[1]
    ran = subprocess.run(command, env=kept, cwd=folder, capture_output=True, text=True)
    if "mallopt" in ran.stderr:
        pytest.skip(ran.stderr)
    return int(ran.stdout)


def test_what_is_kept_is_not_had_of_the_system_again() -> None:
    pages = 10 * 2 * 64_000_000 // os.sysconf("SC_PAGE_SIZE")
    assert faults("kept") < pages // 20
    assert faults("given back") > pages // 2


@pytest.mark.parametrize("name", memory.VARIABLES)
def test_what_the_environment_says_of_it_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "glibc.malloc.trim_threshold=65536")
    assert not memory.keep_freed_memory()


def test_a_training_on_a_cpu_keeps_it(
    textae: Callable[..., Any], quiet: tuple[str, ...], trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(lightning_cli, "keep_freed_memory", lambda: asked.append("kept"))
    data = f"--data.init_args.data_dir={trained.data}"
    textae("fit", "--config", trained.config, data, "--trainer.max_epochs=1", "--trainer.logger=false", *quiet)
    assert asked == ["kept"]
