"""In which mode W&B records, and servers with which it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from pytorch_lightning.loggers import WandbLogger
from wandb.sdk.lib.wbauth import write_netrc_auth

from datamodules.errors import UsageError
from experiments import weights_and_biases
from experiments.weights_and_biases import start_wandb, wandb_mode


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, None, "offline"),
        ({"WANDB_API_KEY": ""}, None, "offline"),
        ({"WANDB_MODE": ""}, None, "offline"),
        ({"WANDB_API_KEY": "k" * 40}, None, "online"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "k" * 40}, None, "disabled"),
        ({"WANDB_MODE": "online", "WANDB_API_KEY": "k" * 40}, None, "online"),
        ({"WANDB_MODE": "online"}, "machine api.wandb.ai login user password secret", "online"),
        ({"WANDB_MODE": "offline"}, "machine api.wandb.ai login user password secret", "offline"),
        ({}, "machine api.wandb.ai login user password secret", "online"),
        ({}, "machine example.org login user password secret", "offline"),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, "machine api.wandb.ai login u password s", "offline"),
        (
            {"WANDB_BASE_URL": "https://wandb.example.org:8443/x"},
            "machine wandb.example.org login u password s",
            "online",
        ),
        ({}, "this is no netrc", "offline"),
    ],
)
def test_wandb_mode(
    environment: dict[str, str], netrc: str | None, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    if netrc is not None:
        file.write_text(netrc + "\n")
        file.chmod(0o600)
    monkeypatch.setattr(weights_and_biases, "_answers", lambda server: True)
    assert wandb_mode(environment | {"NETRC": str(file)}) == mode


def test_the_netrc_of_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert wandb_mode({}) == "offline"
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setattr(weights_and_biases, "_answers", lambda server: True)
    assert wandb_mode({}) == "online"


def test_the_key_that_wandb_itself_writes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(file))
    monkeypatch.setattr(weights_and_biases, "_answers", lambda server: True)
    assert wandb_mode({"NETRC": str(file)}) == "offline"
    write_netrc_auth(host=str(wandb.Settings().base_url), api_key="0" * 40)
    assert wandb_mode({"NETRC": str(file)}) == "online"


def test_a_key_without_a_network_is_offline_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        server = f"http://127.0.0.1:{taken.getsockname()[1]}"
        environment = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": server}
        assert wandb_mode(environment) == "offline"
        assert server in capsys.readouterr().out
        taken.listen()
        assert wandb_mode(environment) == "online"


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"WANDB_MODE": "offlin"}, ("'offlin'", "offline")),
        ({"WANDB_BASE_URL": "nonsense"}, ("'nonsense'", "WANDB_BASE_URL")),
        ({"WANDB_BASE_URL": "", "WANDB_MODE": "offline"}, ("''", "WANDB_BASE_URL")),
        ({"WANDB_MODE": "online"}, ("WANDB_API_KEY", "wandb login")),  # W&B itself would ask
    ],
)
def test_modes_that_cannot_be(environment: dict[str, str], named: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        wandb_mode(environment | {"NETRC": str(tmp_path / "none")})
    assert all(name in str(caught.value) for name in named)


def test_a_proxy_is_asked_in_place_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{taken.getsockname()[1]}"
        # A name that no resolver knows: only the proxy could reach it.
        environment = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "https://wandb.invalid", "HTTPS_PROXY": proxy}
        assert wandb_mode(environment) == "offline"
        assert proxy in capsys.readouterr().out
        taken.listen()
        assert wandb_mode(environment) == "online"


class Nonsense(BaseHTTPRequestHandler):
    answer = b"hello"

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Nobody(Nonsense):
    answer = b"{}"  # with which W&B starts, and fails at the first table


def serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def nonsense() -> Iterator[str]:
    yield from serve(Nonsense)


@pytest.fixture
def nobody() -> Iterator[str]:
    yield from serve(Nobody)


@pytest.fixture
def silence() -> Iterator[str]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


START = """
from callbacks import SteadyWandbLogger
from experiments.weights_and_biases import start_wandb
logger = SteadyWandbLogger(save_dir=".", project="textae")
start_wandb([logger])
logger.log_metrics({"a": 1.0}, step=1)
logger.log_table("b", columns=["c"], data=[["d"]])
logger.experiment.finish()
"""


@pytest.mark.parametrize(
    ("server", "insists"),
    [
        ("nonsense", False),
        ("nobody", True),
        *(
            pytest.param(server, insists, marks=pytest.mark.slow)
            for server, insists in (("nonsense", True), ("nobody", False), ("silence", False), ("silence", True))
        ),
    ],
)
def test_a_server_that_does_not_do(server: str, insists: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    kept |= {"HOME": str(tmp_path), "WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": request.getfixturevalue(server)}
    kept |= {"WANDB_INIT_TIMEOUT": "2"} | ({"WANDB_MODE": "online"} if insists else {})
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-W", "ignore", "-c", START]
    kept["PYTHONPATH"] = root
    ended = subprocess.run(
        command, cwd=tmp_path, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
    )
    if insists:
        assert ended.returncode != 0
        assert "UsageError: W&B cannot start with WANDB_MODE=online" in ended.stderr
    else:
        assert ended.returncode == 0, ended.stderr
        assert "recording offline" in ended.stderr
        [offline] = (tmp_path / "wandb").glob("offline-run-*")
        assert list(offline.glob("*.wandb"))


def test_a_process_of_wandbs_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        connection = SimpleNamespace(_proc=SimpleNamespace(_process=process))
        monkeypatch.setattr(weights_and_biases.wandb, "setup", lambda: SimpleNamespace(_connection=connection))
        monkeypatch.setattr(weights_and_biases.wandb, "teardown", lambda: sys.exit(process.wait()))
        monkeypatch.setattr(weights_and_biases, "START_SECONDS", 0.2)
        weights_and_biases._end_service()
        assert process.returncode == -signal.SIGKILL


def test_a_mode_that_nobody_asked_for_does_not_insist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two trainings of one process: what was chosen for the first one is chosen anew for the second."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "TEXTAE_WANDB"))]:
        monkeypatch.delenv(name)
    for name in ("WANDB_MODE", "TEXTAE_WANDB_MODE", "WANDB_CONSOLE", "WANDB_INIT_TIMEOUT", "WANDB_SILENT"):
        monkeypatch.setenv(name, "")  # so that it is gone again at the end
        monkeypatch.delenv(name)
    asked = iter(["online", "offline"])
    monkeypatch.setattr(weights_and_biases, "wandb_mode", lambda given: given.get("WANDB_MODE") or next(asked))
    monkeypatch.setattr(weights_and_biases.wandb, "Api", lambda timeout: None)

    class Silent(WandbLogger):
        @property
        def experiment(self) -> None:  # type: ignore[override]  # none is needed here
            return None

    for mode in ("online", "offline"):
        start_wandb([Silent(save_dir=str(tmp_path))])
        assert os.environ["WANDB_MODE"] == mode
    monkeypatch.setenv("WANDB_MODE", "disabled")
    start_wandb([Silent(save_dir=str(tmp_path))])
    assert os.environ["WANDB_MODE"] == "disabled"
