"""Where a figure comes from: the code, the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def provenance(device: torch.device) -> dict[str, Any]:
    """The commit (with `+changes` where the checkout has any), versions and hardware that a figure was measured on."""
    processor = f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"  # the name alone tells no generation
    hardware = f"{os.cpu_count()} CPU cores ({processor}), {torch.get_num_threads()} threads"
    if device.type == "cuda":
        hardware = f"{torch.cuda.get_device_name(device)}; {hardware}"
    return {
        "commit": _commit(),
        "textae": metadata.version("textae"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hardware": hardware,
    }


def _commit() -> str | None:
    here = Path(__file__).parent.parent
    commit = _output("git", "-C", str(here), "rev-parse", "HEAD")
    if commit is None or not (here / "pyproject.toml").is_file():
        return None
    return commit + ("+changes" if _output("git", "-C", str(here), "status", "--porcelain", "-uno") else "")


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in _lines(cpuinfo) if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
