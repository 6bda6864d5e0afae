"""Where things lie: experiment files, run folders and the checkpoints in them."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import datetime
from pathlib import Path

import yaml
from jsonargparse import Namespace

from datamodules.errors import UsageError, require

EXPERIMENTS = Path(__file__).parent
VERSION_VARIABLE = "TEXTAE_VERSION"
FINISHED = "finished"
"""The file that marks a run which came to its end, its test included."""


def experiment_names() -> list[str]:
    """The experiments that come with the project, by name."""
    return sorted(file.stem for file in EXPERIMENTS.glob("*.yaml") if not file.stem.startswith("_"))


def find_config(name: str) -> str:
    """The path of a configuration that is given as a file or as an experiment's name.

    Raises:
        UsageError: There is no such file or experiment, and it lists the experiments; or the file is no configuration.
    """
    if Path(name).is_file():
        try:
            content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise UsageError(f"configuration {name} is no YAML: {error}") from error
        require(isinstance(content, dict), f"configuration {name} holds no settings")
        empty = [key for key in ("trainer", "model", "data") if key in content and content[key] is None]
        require(not empty, f"configuration {name} has nothing under {', '.join(empty)}: fill it, or leave it out")
        return name
    shipped = EXPERIMENTS / f"{Path(name).stem}.yaml"
    is_one = shipped.is_file() and shipped.stem != "_default"  # which every command reads anyway
    if is_one and name in (shipped.stem, f"experiments/{shipped.name}"):
        return str(shipped)
    raise UsageError(f"there is no experiment {name}; there are:\n  " + "\n  ".join(experiment_names()))


def find_configs(args: list[str]) -> list[str]:
    """Command-line arguments with every value of `--config` found."""
    found = list(args)
    for position, arg in enumerate(args):
        if arg in ("-c", "--config") and position + 1 < len(args):
            found[position + 1] = find_config(args[position + 1])
        elif arg.startswith("--config="):
            found[position] = "--config=" + find_config(arg.removeprefix("--config="))
    return found


def find_run(args: list[str]) -> list[str]:
    """Command-line arguments with `--run FOLDER` written out as the configuration and checkpoint of that run."""
    place = next((i for i, arg in enumerate(args) if arg == "--run" or arg.startswith("--run=")), None)
    if place is None:
        return args
    given = args[place + 1 :] if args[place] == "--run" else [args[place].removeprefix("--run="), *args[place + 1 :]]
    require(bool(given), "--run needs a folder, such as runs/daae_reviews")
    checkpoint = find_checkpoint(given[0], None)
    config = checkpoint.parent.parent / "config.yaml"
    require(config.is_file(), f"run folder {config.parent} has no config.yaml")
    return [*args[:place], "--config", str(config), "--ckpt_path", str(checkpoint), *given[1:]]


def experiment_folder(config: Namespace) -> Path:
    """The folder of an experiment's runs; where no name is given, it becomes that of the last configuration file."""
    if config.name is None:
        files = [Path(str(file)) for file in config.get("config") or []]
        config.name = files[-1].stem if files else "unnamed"
    plain = Path(config.name).name == config.name and config.name not in ("", "..")
    require(plain, f"--name {config.name}: give a name without slashes; --runs is the folder of all runs")
    return Path(config.runs) / str(config.name)


def named_version() -> str | None:
    """The version that the environment gives this process' run, and all other processes of its job."""
    version = _lasting_version()
    if version is None and "TORCHELASTIC_RUN_ID" in os.environ:
        # The ranks of a node share nothing else but their parent, those of several nodes the port of the first one.
        nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
        shared = os.getppid() if nodes == 1 else os.environ["MASTER_PORT"]
        version = f"torchrun_{os.environ['TORCHELASTIC_RUN_ID']}_{shared}"
    return version


def _lasting_version() -> str | None:
    """The version that a job has when it is started again, too."""
    return os.environ.get(VERSION_VARIABLE) or os.environ.get("SLURM_JOB_ID")


def unfinished_run(root: Path, seed: int) -> Path | None:
    """The folder of an experiment's newest run with this seed that did not come to its end, if there is one.

    Where the environment names a version, such as a SLURM job's, no other one is looked at: another job may be training
    it at this moment.
    """
    named = _lasting_version()
    found = [
        file
        for file in root.glob("*/config.yaml")
        if not (file.parent / FINISHED).exists()
        and (named is None or re.fullmatch(rf"{re.escape(named)}(_\d+)?", file.parent.name))
        and _seed(file) == seed
    ]
    if not found:
        return None
    folder = max((file.parent for file in found), key=_begun).absolute()
    os.environ[VERSION_VARIABLE] = folder.name
    return folder


def _begun(folder: Path) -> float:
    """When a run was begun, or begun again; its checkpoints may be copies of an older one's."""
    file = folder / "config.yaml"
    return (file if file.is_file() else folder).stat().st_mtime


def _seed(file: Path) -> int | None:
    """Of a configuration; none where a process died while it wrote it."""
    try:
        return int(yaml.safe_load(file.read_text(encoding="utf-8"))["seed_everything"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None


def new_run_folder(root: Path) -> Path:
    """A new version's folder below `root`; every process of a job gets the same one, through the environment.

    A version that the environment names gets a number where a run of that name has finished.
    """
    version = named_version()
    taken = FINISHED
    if version is None:
        version = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        taken = ""
    first, number = version, 1
    while (root / version / taken).exists():
        number += 1
        version = f"{first}_{number}"
    os.environ[VERSION_VARIABLE] = version
    return (root / version).absolute()


def find_checkpoint(run: str | None, checkpoint: str | None) -> Path:
    """The checkpoint of `--run FOLDER` (a run, or an experiment's folder: its newest run) or `--checkpoint FILE`.

    Raises:
        UsageError: Neither or both are given, or there is none.
    """
    if checkpoint is not None and run is None:
        return Path(checkpoint)
    if run is None or checkpoint is not None:
        raise UsageError(
            "give either --run FOLDER (such as runs/daae_reviews, for its newest run) or --checkpoint FILE"
        )
    require(Path(run).is_dir(), f"there is no run folder {run}")
    folders = [Path(run) / "checkpoints", *Path(run).glob("*/checkpoints")]
    # A training that has not validated yet has no best one, but perhaps a last one.
    kept = [[folder / name for name in ("best.ckpt", "last.ckpt") if (folder / name).is_file()] for folder in folders]
    found = [files[0] for files in kept if files]
    require(bool(found), f"{run} holds no checkpoints/best.ckpt: has its training validated once?")
    newest = max(found, key=lambda file: _begun(file.parent.parent))
    if newest.parent.parent != Path(run):
        print(f"newest run: {newest.parent.parent}", file=sys.stderr)
    return newest


def run_folder_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in, if it lies in one."""
    folder = checkpoint.absolute().parent.parent
    return folder if checkpoint.parent.name == "checkpoints" and (folder / "config.yaml").is_file() else None


def require_writable(folder: Path) -> None:
    """Checks, before anything is trained or tested, that a run folder can be made or written to.

    Raises:
        UsageError: It cannot.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    usable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    require(usable, f"run folder {folder} cannot be written to, for {there} cannot: choose another with --runs")


def write_json(file: str, content: object) -> None:
    """Writes the file that `--output` asks for.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        Path(file).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {file} cannot be written: {error.strerror}") from error
