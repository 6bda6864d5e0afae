"""A stand-in of the Hugging Face hub on 127.0.0.1, so that `load_dataset` is tested end to end without a network."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

import datasets.config
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import HfFileSystem, close_session

CONVERTED = "refs/convert/parquet"

_RESOLVE = re.compile(r"/datasets/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_INFO = re.compile(r"/api/datasets/(?P<repository>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(r"/api/datasets/(?P<repository>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class HubStandIn:
    """Serves dataset repositories on 127.0.0.1 the way the hub does.

    Files lie where the hub keeps them: on a branch in `CONFIGURATION/SPLIT-00000-of-00001.parquet` with a README that
    lists the configurations (in `data/` and without a README where there is no configuration), and on
    `refs/convert/parquet` in `CONFIGURATION/SPLIT/0000.parquet`, where the hub writes no README. Without one a
    configuration is not asked for by name ("BuilderConfig not found"), but with `data_dir="CONFIGURATION"`.

    Attributes:
        requests: What was asked for, as "METHOD /path" with the path as it was sent, in the order of arrival.
        gated: Repositories that answer 401 as a gated one does to a stranger.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.gated: set[str] = set()
        # repository -> revision -> path -> file
        self._files: dict[str, dict[str, dict[str, Path]]] = {}
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def add(
        self,
        repository: str,
        splits: Mapping[str, pa.Table],
        configuration: str | None = None,
        revision: str = "main",
        readme: bool | None = None,
    ) -> None:
        """Adds one configuration, or a repository that has none; further calls add further configurations.

        Args:
            repository: `OWNER/NAME`.
            splits: The hub's split names to their rows.
            configuration: Name of the configuration.
            revision: A branch, or `refs/convert/parquet`.
            readme: Whether a README lists the configuration; by default wherever the hub has one.
        """
        patterns = {}
        for split, table in splits.items():
            if revision == CONVERTED:
                path, pattern = f"{configuration or 'default'}/{split}/0000.parquet", "{}/{}/*"
            else:
                path, pattern = f"{configuration or 'data'}/{split}-00000-of-00001.parquet", "{}/{}-*"
            patterns[split] = pattern.format(configuration, split)
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            self.write(repository, path, sink.getvalue().to_pybytes(), revision)
        if configuration is not None and (revision != CONVERTED if readme is None else readme):
            self._list_in_readme(repository, configuration, patterns, revision)

    def write(self, repository: str, path: str, content: bytes, revision: str = "main") -> None:
        """Puts any file into a repository, for instance a loading script `NAME.py`."""
        file = self.folder / repository / revision.replace("/", "%2F") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self._files.setdefault(repository, {}).setdefault(revision, {})[path] = file

    @property
    def endpoint(self) -> str:
        """The value for `HF_ENDPOINT`."""
        if self._server is None:
            raise RuntimeError("The stand-in is not running: use it in a `with` statement.")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="hub-stand-in")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is None or self._thread is None:
            return
        close_session()  # huggingface_hub's own client, so that no socket of this process outlives the server
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()  # joins the threads that were still answering
        self._server = self._thread = None

    def __contains__(self, repository: str) -> bool:
        return repository in self._files

    def snapshot(self, repository: str, revision: str) -> tuple[str, dict[str, Path]] | None:
        """Commit and files of a revision, which is a name or a commit; None if there is no such revision."""
        for name, files in self._files[repository].items():
            # The commit changes with the content, as caches rely on.
            digest = hashlib.sha1(name.encode())
            for path, file in sorted(files.items()):
                digest.update(path.encode() + file.read_bytes())
            if revision in (name, digest.hexdigest()):
                return digest.hexdigest(), files
        return None

    def _list_in_readme(self, repository: str, configuration: str, patterns: dict[str, str], revision: str) -> None:
        readme = self._files[repository][revision].get("README.md")
        configs = yaml.safe_load(readme.read_text().split("---\n")[1])["configs"] if readme else []
        data_files = [{"split": split, "path": pattern} for split, pattern in patterns.items()]
        configs.append({"config_name": configuration, "data_files": data_files})
        self.write(repository, "README.md", f"---\n{yaml.safe_dump({'configs': configs})}---\n".encode(), revision)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server waits for them and their sockets are closed

    def __init__(self, address: tuple[str, int], hub: HubStandIn) -> None:
        super().__init__(address, _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0, the default, closes after each answer: no thread waits on an idle connection when the server stops.
    timeout = 10
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test output quiet; `HubStandIn.requests` tells what was asked."""

    def _answer(self) -> None:
        hub = self.server.hub
        address = urlsplit(self.path)
        path = address.path
        hub.requests.append(f"{self.command} {path}")
        # The revision is one quoted segment (`refs%2Fconvert%2Fparquet`), so the path is taken apart before unquoting.
        match = _RESOLVE.fullmatch(path) or _TREE.fullmatch(path) or _INFO.fullmatch(path)
        if match is None:
            return self._fail(HTTPStatus.NOT_FOUND, "EntryNotFound")
        parts = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
        repository, revision = parts["repository"], parts.get("revision", "main")
        if repository in hub.gated:
            return self._fail(HTTPStatus.UNAUTHORIZED, "GatedRepo")
        if repository not in hub:
            return self._fail(HTTPStatus.NOT_FOUND, "RepoNotFound")
        snapshot = hub.snapshot(repository, revision)
        if snapshot is None:
            return self._fail(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        commit, files = snapshot
        if match.re is _INFO:
            siblings = [{"rfilename": name} for name in sorted(files)]
            self._send(_json({"id": repository, "sha": commit, "siblings": siblings, "tags": []}), commit)
        elif match.re is _TREE:
            recursive = parse_qs(address.query).get("recursive", ["false"])[0].lower() in ("true", "1")
            listing = _listing(files, parts.get("path", "").strip("/"), recursive)
            if listing:
                self._send(_json(listing), commit)
            else:
                self._fail(HTTPStatus.NOT_FOUND, "EntryNotFound", commit)
        elif parts["path"] in files:
            self._send(files[parts["path"]].read_bytes(), commit)
        else:
            self._fail(HTTPStatus.NOT_FOUND, "EntryNotFound", commit)

    def _send(self, content: bytes, commit: str) -> None:
        total = len(content)
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked is not None:
            start, stop = int(asked[1]), min(int(asked[2] or total) + 1, total)
            part = content[start:stop]
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
        else:
            part = content
            self.send_response(HTTPStatus.OK)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        self._finish(part)

    def _fail(self, status: HTTPStatus, code: str, commit: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        if commit is not None:
            self.send_header("X-Repo-Commit", commit)
        self._finish(_json({"error": code}))

    def _finish(self, body: bytes) -> None:
        self.send_header("Content-Type", "application/json" if body[:1] in b"[{" else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _listing(files: Mapping[str, Path], folder: str, recursive: bool) -> list[dict[str, object]]:
    """What lies directly in a folder of a repository, or anywhere below it."""
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, object]] = {}
    for path, file in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        names = path.removeprefix(prefix).split("/")
        for depth in range(1, len(names) + 1 if recursive else 2):
            entry = prefix + "/".join(names[:depth])
            kind, size = ("file", file.stat().st_size) if entry == path else ("directory", 0)
            oid = hashlib.sha1(entry.encode()).hexdigest()
            entries[entry] = {"type": kind, "path": entry, "oid": oid, "size": size}
    return list(entries.values())


def point_hub_at(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    """Lets `load_dataset` of this process talk to `endpoint`, online, with every cache in `cache`.

    `HF_ENDPOINT`, `HF_HUB_OFFLINE` and `HF_HOME` are read when the libraries are imported, which is long past in a test
    session, so what they were read into is patched; the environment is set as well for processes that a test starts.
    """
    hub, data = huggingface_hub.constants, datasets.config
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HOME", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    monkeypatch.setattr(hub, "ENDPOINT", endpoint)
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # a developer's token stays out of this
    monkeypatch.setattr(hub, "HF_HOME", str(cache))
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(hub, "AGENT_HARNESSES_PATH", str(cache / "agent-harnesses.json"), raising=False)

    monkeypatch.setattr(data, "HF_ENDPOINT", endpoint)
    monkeypatch.setattr(data, "HUB_DATASETS_URL", endpoint + "/datasets/{repo_id}/resolve/{revision}/{path}")
    monkeypatch.setattr(data, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(data, "HF_CACHE_HOME", str(cache))
    monkeypatch.setattr(data, "HF_DATASETS_CACHE", cache / "datasets")
    monkeypatch.setattr(data, "DOWNLOADED_DATASETS_PATH", cache / "datasets" / "downloads")
    monkeypatch.setattr(data, "EXTRACTED_DATASETS_PATH", cache / "datasets" / "downloads" / "extracted")
    monkeypatch.setattr(data, "HF_MODULES_CACHE", cache / "modules")
    # Both would ask other hosts: a download counter on S3 and `datasets-server.` + the endpoint's host.
    monkeypatch.setattr(data, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr(data, "USE_PARQUET_EXPORT", False)

    close_session()  # the shared client may hold connections and proxies of an earlier endpoint
    HfFileSystem.clear_instance_cache()  # so may its file systems, with listings


def unreachable_endpoint() -> str:
    """An endpoint of this machine where nobody listens: connections are refused at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
