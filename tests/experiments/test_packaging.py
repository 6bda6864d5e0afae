"""What is handed to others: the wheel, and the files of the repository."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import experiments

ROOT = Path(experiments.__file__).parent.parent
PACKAGES = ("callbacks", "datamodules", "experiments", "lightning_modules")


@pytest.fixture
def tracked() -> list[Path]:
    """The files that git knows."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True, timeout=60)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def test_the_wheel(tracked: list[Path], tmp_path: Path) -> None:
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("there is no setuptools to build it with, and the network is not asked for one")
    source = tmp_path / "source"  # a build leaves files beside its source
    for file in tracked:
        copy = source / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", str(source), *options, "--wheel-dir", str(tmp_path)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        str(file.relative_to(ROOT))
        for file in tracked
        if file.relative_to(ROOT).parts[0] in PACKAGES and (file.suffix in (".py", ".yaml") or file.name == "py.typed")
    }
    assert expected <= names
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    assert {"experiments/_default.yaml", "experiments/sweeps/published.yaml"} <= names and "callbacks/py.typed" in names
    assert not any("test" in Path(name).name for name in names)


def test_no_file_names_a_folder_of_somebodys_computer(tracked: list[Path]) -> None:
    # Spelled so that this file does not name one either.
    folders = "|".join(f"/{name}/" for name in ("work", "root", "home", "tmp", "Users"))
    found = []
    for file in tracked:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{file.relative_to(ROOT)}:{number}"
            for number, line in enumerate(text.splitlines(), start=1)
            if re.search(rf"(?<![\w.~}}])(?:{folders})", line)
        ]
    assert not found


def test_everything_that_is_imported_is_installed_with_it() -> None:
    """The modules of the wheel import nothing from the tests."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            assert not re.search(r"^\s*(?:from|import) (?:tests|pytest)\b", file.read_text(), flags=re.MULTILINE), file
