"""`textae report` against a stand-in of W&B's server, and names that runs do log."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from models import families

from callbacks.quantities import QUANTITIES
from experiments.report_command import CURVES, FIGURES, SHOWN

PROJECT = {"__typename": "Project", "id": "p", "name": "textae", "entityName": "me", "createdAt": "2026-01-01"}
PROJECT |= {"isBenchmark": False, "internalId": "UHJvamVjdDox", "user": None, "isPublished": False}
VIEWER = {"id": "u", "entity": "me", "username": "me", "email": "a@b", "flags": "{}", "teams": {"edges": []}}
LAST_PAGE = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}


class StandIn(BaseHTTPRequestHandler):
    """Knows one user, one project, and takes what views it is given."""

    views: list[dict[str, Any]]

    def do_POST(self) -> None:
        given = self.rfile.read(int(self.headers["Content-Length"]))
        given = gzip.decompress(given) if given[:2] == b"\x1f\x8b" else given
        answer = json.dumps({"data": self.answer(json.loads(given))}) if b"query" in given else ""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def answer(self, given: dict[str, Any]) -> dict[str, Any]:
        query, variables = given["query"], given.get("variables") or {}
        if "upsertView" in query:
            self.views.append(variables)
            view = {
                "id": "VmlldzoxMjM=",
                "type": "runs",
                "project": PROJECT,
                "user": VIEWER | {"name": "me"},
            } | variables
            return {"upsertView": {"view": view | {"id": "VmlldzoxMjM="}, "inserted": True}}
        if "models(" in query:
            edge = {"cursor": "c", "node": PROJECT}
            return {"models": {"totalCount": 1, "edges": [edge], "pageInfo": LAST_PAGE}}
        return {"viewer": VIEWER} if "viewer" in query else {"project": PROJECT}

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    views: list[dict[str, Any]] = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnStandIn", (StandIn,), {"views": views}))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_address[1]}", views
    http.shutdown()
    http.server_close()


def report(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.run(
        [sys.executable, "-m", "experiments.cli", "report"],
        cwd=home,
        env=kept | {"HOME": str(home)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_layout_reaches_the_server(server: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    address, views = server
    ended = report(tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("http") and "/me/textae/reports/" in ended.stdout
    [view] = views
    assert view["displayName"] == "Autoencoders of text" and view["projectName"] == "textae"
    for names in (*CURVES.values(), *FIGURES.values(), *SHOWN.values()):
        assert all(f'"{name}"' in view["spec"] for name in names)


def test_who_is_not_logged_in_is_told_so(tmp_path: Path) -> None:
    ended = report(tmp_path, WANDB_BASE_URL="http://127.0.0.1:9")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "No API key configured" in ended.stderr and "`wandb login`" in ended.stderr


def test_what_is_drawn_is_what_runs_log() -> None:
    terms = {term for family in families() for term in family.terms} | {"loss", "lr", "kl_weight", "word_dropout"}
    speed = {"tokens_per_second", "matrix_product_share", "data_wait_share"}
    for name in (name for names in CURVES.values() for name in names):
        assert name.partition("/")[2] in terms | speed, name
    assert all(name.removeprefix("test/") in QUANTITIES for names in FIGURES.values() for name in names)
    sources = "".join(file.read_text() for file in (Path(__file__).parents[2] / "callbacks").glob("*.py"))
    assert all(f'"{name.partition("/")[2]}"' in sources for names in SHOWN.values() for name in names)
