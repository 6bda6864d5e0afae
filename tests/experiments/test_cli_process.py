"""The command line as a process of its own: what it imports, prints and exits with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import experiments


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address of this computer where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def process(*args: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "WANDB_"))}
    return subprocess.run(
        [sys.executable, "-m", "experiments.cli", *args],
        cwd=folder,
        env=kept | {"HOME": str(folder), "HF_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_one_batch_is_not_all_batches() -> None:
    # In a process of its own, for it depends on what was imported before.
    command = [sys.executable, "-W", "ignore", "-m", "experiments.cli", "fit", "--config", "ae_reviews"]
    options = ["--trainer.limit_test_batches", "1", "--print_config"]
    printed = subprocess.run([*command, *options], capture_output=True, text=True, timeout=100, check=True).stdout
    assert "limit_test_batches: 1\n" in printed


def test_a_corpus_that_is_not_to_be_had(tmp_path: Path, nobody: str) -> None:
    ended = process("fit", "--config", "daae_yelp", folder=tmp_path, HF_ENDPOINT=nobody, NO_PROXY="127.0.0.1")
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    message = ended.stderr[ended.stderr.index("textae fit:") :]
    assert "fancyzhx/yelp_polarity" in message and "hub" in message
    assert "DATA_DIR" in message
    assert "daae_reviews" in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("args", [["trian"], ["--help"], []])
def test_what_needs_no_library_waits_for_none(tmp_path: Path, args: list[str]) -> None:
    script = (
        "import sys; from experiments.cli import main\n"
        f"try: main({args})\n"
        "except SystemExit as end: print(end.code)\n"
        "print([name for name in ('torch', 'datasets', 'pytorch_lightning', 'numpy') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert printed.stderr == ""
    assert printed.stdout.splitlines()[-1] == "[]"
    assert "textae fit --config" in printed.stdout


def test_the_exit_status(tmp_path: Path) -> None:
    ended = process("trian", folder=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("textae trian:")
    assert ended.stdout == ""


@pytest.mark.parametrize("sent", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
def test_a_signal_ends_with_a_line_and_a_status(sent: tuple[signal.Signals, ...], tmp_path: Path) -> None:
    hidden = ("TEXTAE_", "SLURM_", "WANDB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    kept |= {"PYTHONPATH": str(Path(experiments.__file__).parents[1])}
    options = ["--trainer.max_epochs=1000", "--data.init_args.subset.train=64", "--data.init_args.subset.valid=64"]
    options += ["--trainer.logger=false", "--trainer.callbacks=[callbacks.RunFolder]", "--trainer.accelerator=cpu"]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "experiments.cli", "fit", "--config=ae_reviews", *options],
        cwd=tmp_path,
        env=kept,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, which these tests may be, ignores the signal, and its processes with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt")) and time.monotonic() < end:
        time.sleep(0.1)
    for each in sent:
        process.send_signal(each)
        time.sleep(0.3)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in error
    assert error.count("interrupted at step") == 1 and "RESUME=1" in error
    [folder] = (tmp_path / "runs" / "ae_reviews").iterdir()
    assert not (folder / "finished").exists() and str(folder) in error
