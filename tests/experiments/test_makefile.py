"""`make help` names everything that make can do."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import experiments
from experiments.runs import experiment_names

ROOT = Path(experiments.__file__).parent.parent
pytestmark = [
    pytest.mark.skipif(shutil.which("make") is None, reason="there is no make"),
    pytest.mark.skipif(not (ROOT / "Makefile").is_file(), reason="no checkout, but an installed package"),
]


def make(*args: str) -> subprocess.CompletedProcess[str]:
    # Not the variables of the `make test` that may have started this, such as ARGS.
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = ["make", "-C", str(ROOT), *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def textae_words(*args: str) -> list[str]:
    """The arguments that `make` would give to `textae`, as a shell splits them."""
    [line] = [line for line in make("--dry-run", *args).stdout.splitlines() if "/textae " in line]
    return shlex.split(line)[1:]


def test_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    [phony] = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    explained = dict(re.findall(r"^([A-Za-z0-9_-]+):.*?## (.*)$", makefile, flags=re.MULTILINE))
    assert set(explained) == set(phony.split())
    for printed in (make("help").stdout, make("--no-print-directory").stdout):  # it is what plain `make` does
        for target, meaning in explained.items():
            assert re.search(rf"^{target}\s+{re.escape(meaning)}$", printed, flags=re.MULTILINE), target
    for name in experiment_names():
        assert name in printed


def test_variables_reach_the_command() -> None:
    options = ["--trainer.max_epochs=3", "--seed_everything=1"]
    assert textae_words("train", "EXP=daae_yelp", f"ARGS={' '.join(options)}") == [
        "fit",
        "--config",
        "daae_yelp",
        *options,
    ]
    assert textae_words("train") == ["fit", "--config", "daae_reviews"]
    assert textae_words("evaluate", "EXP=aae_yelp") == ["test", "--run", "runs/aae_yelp", "--config", "_protocol"]
    assert textae_words("evaluate", "RUN=runs/my own") == ["test", "--run", "runs/my own", "--config", "_protocol"]
    assert textae_words("sample", "RUN=runs/x/y", "ARGS=--count=3") == ["sample", "--run", "runs/x/y", "--count=3"]


def test_every_target_can_be_planned() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in phony.split():
        assert make("--dry-run", target).returncode == 0, target
    assert make("--dry-run", "trian").returncode != 0


def test_a_sweep_trains_each_keep_rate_and_plots_them(tmp_path: Path) -> None:
    """With a `textae` that only notes how it is called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / ".installed").touch()
    script = tmp_path / "bin" / "textae"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "calls"}\n[ "$1" != fit ] || [ "$3" != fails ]\n')
    script.chmod(0o755)
    fit = "fit --config {} --model.init_args.decoder.word_dropout {}"
    inputless = "--model.init_args.decoder.inputless unknown"
    plot = "word-dropout runs/{0} --output runs/{0}/word_dropout.png"
    for args, expected in (
        ((), [fit.format("svae_reviews", x) for x in ("0", "0.25", "0.5", f"1 {inputless}")]),
        (
            ("EXP=svae_ptb", "KEEP=0.9 0.0", "ARGS=--a b"),
            [fit.format("svae_ptb", x) for x in ("0.1", f"1 {inputless}")],
        ),
    ):
        ended = make("word-dropout-sweep", f"VENV={tmp_path}", *args)
        assert ended.returncode == 0, ended.stderr
        further = " --a b" if args else ""
        experiment = "svae_ptb" if args else "svae_reviews"
        calls = (tmp_path / "calls").read_text().splitlines()
        assert calls == [*(call + further for call in expected), plot.format(experiment)]
        (tmp_path / "calls").unlink()
    assert make("word-dropout-sweep", f"VENV={tmp_path}", "EXP=fails").returncode != 0
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
