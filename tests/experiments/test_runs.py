"""Where runs, checkpoints and configurations lie."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from datamodules.errors import UsageError
from experiments import runs


def test_a_second_run_of_a_job_does_not_overwrite_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for _ in range(3):
        monkeypatch.delenv("TEXTAE_VERSION", raising=False)
        monkeypatch.setenv("SLURM_JOB_ID", "77")
        folders.append(runs.new_run_folder(tmp_path / "exp"))
        folders[-1].mkdir(parents=True)
        assert runs.new_run_folder(tmp_path / "exp") == folders[-1]  # unfinished: a requeue, or another rank
        (folders[-1] / "finished").touch()
    assert [folder.name for folder in folders] == ["77", "77_2", "77_3"]


def test_every_run_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for _ in range(4):
        monkeypatch.delenv("TEXTAE_VERSION", raising=False)
        folders.append(runs.new_run_folder(tmp_path / "exp"))
        assert folders[-1].parent == tmp_path / "exp"
        folders[-1].mkdir(parents=True)
    assert len(set(folders)) == 4
    assert sorted(folder.name for folder in folders) == [folder.name for folder in folders]  # by name as by age


def test_the_processes_of_a_job_share_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTAE_VERSION", raising=False)
    monkeypatch.chdir(tmp_path)
    mine = runs.new_run_folder(Path("runs"))
    mine.mkdir(parents=True)  # one rank may be there before another asks
    assert runs.new_run_folder(Path("runs")) == mine == tmp_path / "runs" / mine.name
    assert os.environ["TEXTAE_VERSION"] == mine.name  # which a process that is started from here inherits


def test_a_slurm_job_names_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTAE_VERSION", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "815")
    assert runs.new_run_folder(tmp_path) == tmp_path / "815"
    (tmp_path / "815").mkdir()
    assert runs.new_run_folder(tmp_path) == tmp_path / "815"  # a requeued job goes on in its folder


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[Path, Path]:
    """The checkpoints of an older and a newer run; by name they are the other way round."""
    files = []
    for age, name in ((100, "b"), (50, "a")):
        file = tmp_path / "exp" / name / "checkpoints" / "best.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file.parent.parent, (file.stat().st_mtime - age,) * 2)
        files.append(file)
    (tmp_path / "exp" / "c").mkdir()  # one that has not come to a checkpoint
    return files[0], files[1]


def test_the_newest_checkpoint(two_runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older, newer = two_runs
    assert runs.find_checkpoint(str(tmp_path / "exp"), None) == newer
    assert capsys.readouterr().err == f"newest run: {newer.parent.parent}\n"  # out is for what a command prints
    assert runs.find_checkpoint(str(older.parent.parent), None) == older
    assert not any(capsys.readouterr())
    assert runs.find_checkpoint(None, str(older)) == older
    os.utime(older.parent.parent)
    assert runs.find_checkpoint(str(tmp_path / "exp"), None) == older


def test_a_run_that_began_with_the_checkpoint_of_another(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    older, newer = two_runs
    for file, time in ((older, 100), (newer, 200)):
        (file.parent.parent / "config.yaml").touch()
        os.utime(file.parent.parent / "config.yaml", (time, time))
    shutil.copy2(older, newer)
    os.utime(older)
    assert runs.find_checkpoint(str(tmp_path / "exp"), None) == newer


def test_no_checkpoint(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    for run, message in (("exp/c", "best.ckpt"), ("exp/d", "exp/d"), (".", "best.ckpt")):
        with pytest.raises(UsageError, match=message):
            runs.find_checkpoint(run, None)
    for run, checkpoint in ((None, None), (str(tmp_path / "exp"), str(two_runs[0]))):
        with pytest.raises(UsageError, match=r"--run.*--checkpoint"):
            runs.find_checkpoint(run, checkpoint)


def test_a_run_stands_for_its_configuration_and_checkpoint(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    _, newer = two_runs
    with pytest.raises(UsageError, match=r"config\.yaml"):
        runs.find_run(["--run", "exp"])
    config = newer.parent.parent / "config.yaml"
    config.write_text("name: exp\n")
    written_out = ["--config", str(config), "--ckpt_path", str(newer)]
    written_out = [part.replace(f"{tmp_path}/", "") for part in written_out]
    assert runs.find_run(["--run", "exp", "--x=1"]) == [*written_out, "--x=1"]
    assert runs.find_run(["--x", "1", "--run=exp", "--y"]) == ["--x", "1", *written_out, "--y"]
    assert runs.find_run(["--runs", "exp"]) == ["--runs", "exp"]
    assert runs.find_run([]) == []
    assert runs.run_folder_of(newer) == newer.parent.parent
    assert runs.run_folder_of(two_runs[0]) is None  # it has no configuration
    assert runs.run_folder_of(config) is None


def test_configurations_by_name_and_by_file(tmp_path: Path) -> None:
    shipped = Path(runs.EXPERIMENTS)
    assert runs.find_config("daae_yelp") == runs.find_config("experiments/daae_yelp.yaml")
    assert Path(runs.find_config("daae_yelp")) == shipped / "daae_yelp.yaml"
    mine = tmp_path / "daae_yelp"
    mine.write_text("name: mine\n")
    assert runs.find_config("daae_yelp") == "daae_yelp"  # a file that is there goes before a name
    assert runs.find_config(str(mine)) == str(mine)
    for wrong in ("daae_yel", "_default", "other/daae_yelp.yaml", ""):
        with pytest.raises(UsageError, match="there are") as error:
            runs.find_config(wrong)
        assert "daae_reviews" in str(error.value)


def test_every_configuration_of_a_command_line_is_found() -> None:
    one, two = (runs.find_config(name) for name in ("ae_yelp", "daae_yelp"))
    args = ["--config", "ae_yelp", "--x", "ae_yelp", "--config=daae_yelp", "-c", "ae_yelp", "--y=daae_yelp"]
    found = ["--config", one, "--x", "ae_yelp", f"--config={two}", "-c", one, "--y=daae_yelp"]
    assert runs.find_configs(args) == found
    assert args[1] == "ae_yelp"
    assert runs.find_configs(["--config"]) == ["--config"]
    with pytest.raises(UsageError):
        runs.find_configs(["-c", "nothing"])


def test_the_experiments_by_name() -> None:
    names = runs.experiment_names()
    assert names == sorted(names)
    assert {"daae_reviews", "daae_yelp", "daae_yahoo"} <= set(names)
    assert not any(name.startswith("_") for name in names)


@pytest.mark.parametrize(("nodes", "shared"), [("1", str(os.getppid())), ("2", "29400")])
def test_torchruns_ranks_share_a_folder(
    nodes: str, shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "job"), ("GROUP_WORLD_SIZE", nodes), ("MASTER_PORT", "29400")):
        monkeypatch.setenv(name, value)
    for name in ("TEXTAE_VERSION", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert runs.new_run_folder(tmp_path) == tmp_path / f"torchrun_job_{shared}"


def test_a_new_torchrun_goes_on_with_the_run_of_an_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEXTAE_VERSION", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    old = tmp_path / "torchrun_none_1" / "config.yaml"  # of another parent than ours
    old.parent.mkdir()
    old.write_text("seed_everything: 3")
    assert runs.unfinished_run(tmp_path, seed=4) is None
    assert runs.unfinished_run(tmp_path, seed=3) == old.parent
    monkeypatch.delenv("TEXTAE_VERSION")
    monkeypatch.setenv("SLURM_JOB_ID", "815")
    assert runs.unfinished_run(tmp_path, seed=3) is None  # a job's own alone
