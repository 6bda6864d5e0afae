"""A SLURM cluster of one node, this machine, for as long as a test takes."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol", "scancel")
CONFIGURATION = """
ClusterName=textae
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there can be no cluster here, if there cannot."""
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if lacking:
        return f"SLURM's {', '.join(lacking)} not installed (apt-get install slurmctld slurmd slurm-client munge)"
    if getpass.getuser() != "root":
        return "SLURM's daemons are started by root"
    return None if (os.cpu_count() or 1) > 1 else "two tasks need two cores"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Runs the daemons on loopback; gives the environment of its commands."""
    host = socket.gethostname()
    ports = [_free_port() for _ in range(2)]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    file = folder / "slurm.conf"
    file.write_text(CONFIGURATION.format(host=host, folder=folder, controller=ports[0], daemon=ports[1]))
    # Nor what the `make` that may have started the tests tells another `make`.
    hidden = ("SLURM_", "TEXTAE_", "MAKE", "MFLAGS", "ARGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    # Lightning's own port is made of the job's number, which starts at 1 in every cluster.
    environment |= {"SLURM_CONF": str(file), "HOME": str(folder), "MASTER_PORT": str(_free_port())}
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    munge = ["munged", "--foreground", "--force", f"--key-file={folder / 'munge.key'}"]
    munge += [f"--{name}-file={folder / f'munge.{name}'}" for name in ("pid", "log", "seed")]
    daemons = [
        subprocess.Popen(
            [*munge, f"--socket={folder / 'munge.socket'}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    ]
    try:
        wait(lambda: (folder / "munge.socket").exists(), 10)
        for command in (["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", host]):
            daemons.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
        wait(lambda: "idle" in _output(["sinfo", "--noheader", "--format=%t"], environment), 30)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(20)


def wait(until: Callable[[], bool], seconds: float) -> None:
    """Waits until something is so.

    Raises:
        TimeoutError: It is not, after so many seconds.
    """
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.2)


def job(number: str, field: str, environment: dict[str, str]) -> str:
    """What SLURM says of a job, such as its JobState."""
    shown = _output(["scontrol", "show", "job", "--oneliner", number], environment).split()
    return next((word.removeprefix(f"{field}=") for word in shown if word.startswith(f"{field}=")), "")


def _output(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
