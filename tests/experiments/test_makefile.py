"""`make help` names everything that make can do."""

from __future__ import annotations

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
    return subprocess.run(["make", "-C", str(ROOT), *args], capture_output=True, text=True, timeout=60)


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
