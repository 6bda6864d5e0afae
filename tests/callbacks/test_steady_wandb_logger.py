"""A training outlives W&B's own process, and what W&B refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

from callbacks import SteadyWandbLogger

KILLED = """
import os, signal, time
from pathlib import Path
from callbacks import SteadyWandbLogger

logger = SteadyWandbLogger(save_dir=".", project="textae", offline=True)
logger.log_metrics({"a": 1.0}, step=1)
of = {int(file.parent.name): file.read_text().rpartition(")")[2].split() for file in Path("/proc").glob("[0-9]*/stat")}
[service] = [process for process, stat in of.items() if int(stat[1]) == os.getpid()]
os.kill(service, signal.SIGKILL)
os.waitpid(service, 0)
time.sleep(0.5)
for step in range(2, 10):
    logger.log_metrics({"a": 1.0}, step=step)
logger.log_table("b", columns=["c"], data=[["d"]])
logger.log_hyperparams({"e": 1})
logger.finalize("success")
print("the end")
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds W&B's process in /proc, which Linux alone has")
def test_the_death_of_its_process(tmp_path: Path) -> None:
    hidden = ("WANDB_", "NETRC")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    kept |= {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2]), "WANDB_SILENT": "true"}
    command = [sys.executable, "-W", "ignore", "-c", KILLED]
    ended = subprocess.run(
        command, cwd=tmp_path, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "the end\n"
    assert ended.stderr.count("W&B failed") == 1
    assert "Traceback" not in ended.stderr


class Refusing:
    """A run of W&B's that takes numbers and no tables."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.taken: list[object] = []

    def log(self, metrics: dict[str, object]) -> None:
        if any(isinstance(value, wandb.Table) for value in metrics.values()):
            raise self.error
        self.taken.append(metrics)


@pytest.mark.parametrize("kind", [wandb.Error, ValueError])
def test_what_it_refuses_is_left_out(kind: type[Exception], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = SteadyWandbLogger(save_dir=tmp_path, offline=True)
    # A stand-in has of a run only what the logger calls.
    run = logger._experiment = Refusing(kind("no tables today"))  # type: ignore[assignment]
    logger.log_metrics({"a": 1.0}, step=1)
    logger.log_table("b", columns=["c"], data=[["d"]])
    logger.log_table("b", columns=["c"], data=[["d"]])
    logger.log_metrics({"a": 2.0}, step=2)
    assert run.taken == [{"a": 1.0, "trainer/global_step": 1}, {"a": 2.0, "trainer/global_step": 2}]
    said = capsys.readouterr().err
    assert said.count("W&B failed") == 1
    assert "no tables today" in said
