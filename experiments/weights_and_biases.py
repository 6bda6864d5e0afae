"""Weights & Biases: in which mode a run is recorded, and its start, which never costs a training."""

from __future__ import annotations

import netrc
import os
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Timer
from urllib.parse import urlparse

import wandb
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger, WandbLogger

from datamodules.errors import UsageError, require

MODES = ("online", "offline", "disabled", "shared")
CHOSEN = "TEXTAE_WANDB_MODE"  # the mode that nobody asked for
START_SECONDS = 15  # W&B's own is 90, which a server that hangs would cost every training


@rank_zero_only
def start_wandb(
    loggers: Iterable[Logger], group: str | None = None, tags: Iterable[str] = (), run_id: str | None = None
) -> None:
    """Starts the W&B run of each logger that has one, before anything is trained.

    A server that cannot be reached or answers nonsense, and a key that it refuses, cost the network alone: the run is
    recorded offline. Where `WANDB_MODE` insists on the server, the command ends.

    Args:
        loggers: The trainer's.
        group: Under which a dashboard shows the run; `WANDB_RUN_GROUP` comes before it.
        tags: By which it can be found; `WANDB_TAGS` come before them.
        run_id: Of the run that a fit goes on with; `WANDB_RUN_ID` comes before it.

    Raises:
        UsageError: `WANDB_MODE` is no mode of W&B, or W&B cannot start in it.
    """
    given = [logger for logger in loggers if isinstance(logger, WandbLogger)]
    if not given:
        return
    if os.environ.get("WANDB_MODE") == os.environ.get(CHOSEN):  # by an earlier training of this process
        os.environ.pop("WANDB_MODE", None)
    insists = bool(os.environ.get("WANDB_MODE"))
    os.environ["WANDB_MODE"] = wandb_mode(os.environ)
    if not insists:
        os.environ[CHOSEN] = os.environ["WANDB_MODE"]
    for name, value in (("WANDB_RUN_GROUP", group), ("WANDB_TAGS", ",".join(tags)), ("WANDB_RUN_ID", run_id)):
        if value:
            os.environ.setdefault(name, value)
    # Else W&B follows every character that the progress bar draws, at a tenth of the time of a small model's step.
    os.environ.setdefault("WANDB_CONSOLE", "off")
    os.environ.setdefault("WANDB_INIT_TIMEOUT", str(START_SECONDS))
    for logger in given:
        _be_brief_offline()
        try:
            if os.environ["WANDB_MODE"] == "online":
                wandb.Api(timeout=START_SECONDS)  # asks whose the key is, as W&B itself does at the first table alone
            _ = logger.experiment
        except (wandb.Error, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            _end_service()  # else it stays with the mode it had
            if insists:
                raise UsageError(
                    f"W&B cannot start with WANDB_MODE={os.environ['WANDB_MODE']}: {reason} (WANDB_MODE=offline needs "
                    "neither a key nor a network)"
                ) from error
            print(f"W&B cannot start ({reason}); recording offline (WANDB_MODE=online insists)", file=sys.stderr)
            os.environ["WANDB_MODE"] = os.environ[CHOSEN] = "offline"
            _be_brief_offline()
            _ = logger.experiment


def _end_service() -> None:
    """Ends W&B's process, by force if it still asks a server that says nothing: W&B would wait for it for minutes."""
    # W&B has no other way to it.
    process = getattr(getattr(getattr(wandb.setup(), "_connection", None), "_proc", None), "_process", None)
    force = Timer(START_SECONDS, lambda: process and process.kill())
    force.start()
    with suppress(Exception, SystemExit):  # it ends this process, too, where its own has failed
        wandb.teardown()
    force.cancel()


def _be_brief_offline() -> None:
    """Offline, our summary says how to look and how to sync, once."""
    if os.environ["WANDB_MODE"] == "offline":
        os.environ.setdefault("WANDB_SILENT", "true")


def wandb_mode(environment: Mapping[str, str]) -> str:
    """`WANDB_MODE` if set, else online where a key is found and its server or a proxy answers, else offline.

    So W&B never asks for an account and never waits for a network that is not there.

    Raises:
        UsageError: `WANDB_MODE` is no mode of W&B, or needs a key that is not there, for which W&B would ask; or
            `WANDB_BASE_URL` is no address.
    """
    if "WANDB_BASE_URL" in environment:
        server = urlparse(environment["WANDB_BASE_URL"])
        require(
            server.scheme in ("http", "https") and bool(server.hostname),
            f"WANDB_BASE_URL is {environment['WANDB_BASE_URL']!r}: give an address such as https://HOST",
        )
    servers = [environment["WANDB_BASE_URL"]] if "WANDB_BASE_URL" in environment else _default_servers()
    known = [server for server in servers if environment.get("WANDB_API_KEY") or _has_netrc_key(environment, server)]
    if mode := environment.get("WANDB_MODE"):
        require(mode in MODES, f"WANDB_MODE is {mode!r}: give one of {', '.join(MODES)}, or leave it out")
        has_key = bool(known) or "WANDB_IDENTITY_TOKEN_FILE" in environment
        require(
            has_key or mode not in ("online", "shared"),
            f"WANDB_MODE is {mode}, but there is no key: set WANDB_API_KEY, run `wandb login`, or leave WANDB_MODE out",
        )
        return mode
    if not known:
        return "offline"
    silent = [address for server in known if not _answers(address := _proxy(environment, server) or server)]
    if len(silent) < len(known):
        return "online"
    print(f"W&B: there is a key, but {silent[0]} does not answer; recording offline (WANDB_MODE=online insists)")
    return "offline"


def _default_servers() -> list[str]:
    return list(dict.fromkeys((str(wandb.Settings().base_url), "https://api.wandb.ai")))


def _proxy(environment: Mapping[str, str], server: str) -> str | None:
    """The address of the proxy that requests to a server take, if there is one."""
    name = f"{urlparse(server).scheme}_proxy"
    proxy = environment.get(name) or environment.get(name.upper())
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _has_netrc_key(environment: Mapping[str, str], server: str) -> bool:
    file = Path(environment.get("NETRC", Path.home() / ".netrc"))
    url = urlparse(server)
    try:
        keys = netrc.netrc(file)
        return any(keys.authenticators(host or "") is not None for host in (url.netloc, url.hostname))
    except (OSError, netrc.NetrcParseError):
        return False


def _answers(server: str) -> bool:
    """Whether anybody listens at an address; how well is for W&B to find out."""
    url = urlparse(server)
    try:
        with socket.create_connection((url.hostname, url.port or (80 if url.scheme == "http" else 443)), timeout=3):
            return True
    except (OSError, ValueError):
        return False
