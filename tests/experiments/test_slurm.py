"""`make submit` on a real cluster: two ranks, a preemption, and the weights of a training that had none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import torch
from cluster import cluster, job, missing, wait

ROOT = Path(__file__).parents[2]
SMALL = (
    "--trainer.accelerator=cpu --trainer.strategy=ddp --trainer.max_epochs=30 --trainer.logger=false "
    "--trainer.enable_progress_bar=false --last_checkpoint.every_n_train_steps=7 --data.init_args.subset.train=400 "
    "--data.init_args.subset.valid=40 --data.init_args.subset.test=40 --data.init_args.batching.sentences=16 "
    "--model.init_args.encoder.hidden_size=16 --model.init_args.decoder.hidden_size=16"
)
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=missing() or "")]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    folder = tmp_path / "slurm"
    folder.mkdir()
    with ExitStack() as stack:
        try:
            environment = stack.enter_context(cluster(folder))
        except TimeoutError:
            pytest.skip("SLURM is installed, but its daemons do not start on this machine")
        yield environment


def submit(folder: Path, environment: dict[str, str]) -> str:
    """A job in a folder that looks like a clone; gives its number."""
    options = ["EXP=daae_reviews", "GPUS=2", "CPU=1", f"ARGS={SMALL}", "SBATCH=--cpus-per-task=1 --time=20 --mem=0"]
    command = ["make", "--no-print-directory", "submit", *options]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return ended.stdout.split()[-1]


def test_a_job_that_is_preempted_goes_on(slurm: dict[str, str], tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("Makefile", "experiments"):
        (clone / name).symlink_to(ROOT / name)
    (clone / ".venv").symlink_to(Path(sys.executable).parent.parent)
    folders = []
    for disturbed in (True, False):
        number = submit(clone, slurm)
        folder = clone / "runs" / "daae_reviews" / number
        say = partial(job, number, environment=slurm)
        if disturbed:
            wait((folder / "checkpoints" / "last.ckpt").exists, 300)
            subprocess.run(["scancel", "--signal=USR1", number], env=slurm, check=True)
            wait(lambda: say("JobState") == "PENDING", 120)  # noqa: B023 (waited for within the round)
            subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], env=slurm, check=True)
        wait(lambda: say("JobState") in ENDED, 600)  # noqa: B023
        log = (clone / "runs" / "slurm" / f"daae_reviews-{number}.out").read_text()
        assert (say("JobState"), say("Restarts")) == ("COMPLETED", "1" if disturbed else "0"), log
        assert (folder / "finished").exists() and (folder / "test_metrics.json").exists()
        folders.append(folder)
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (torch.load(folder / "checkpoints" / name, weights_only=True) for folder in folders)
        assert one["global_step"] == other["global_step"]
        for key, weights in other["state_dict"].items():
            assert torch.equal(one["state_dict"][key], weights), (name, key)
    assert len(list((clone / "runs" / "daae_reviews").iterdir())) == 2
