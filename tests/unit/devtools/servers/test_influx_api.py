"""The stand-in itself: what it keeps, what it does to influxd, how it starts."""

from __future__ import annotations

import json
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devtools.servers import influx_api
from devtools.servers.http import missing_status
from devtools.servers.influx_api import Api, NoDatabases, State
from devtools.servers.waiting import wait_until
from tests.doubles.influx_management import ADMIN_TOKEN

HEADERS = {"Authorization": f"Token {ADMIN_TOKEN}"}


class Recorded:
    """Databases that record what was done to them."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[int, int]] = {}
        self.broken = False

    def keep(self, name: str, retention_seconds: int, shard_seconds: int) -> None:
        if self.broken:
            raise OSError("influxd is away")
        self.kept[name] = (retention_seconds, shard_seconds)

    def drop(self, name: str) -> None:
        del self.kept[name]


def ask(api: Api, method: str, target: str, document: Any = None) -> tuple[int, Any]:
    body = b"" if document is None else json.dumps(document).encode()
    response = api.respond(method, target, HEADERS, body)
    return response.status, response.document


def started(path: Path, databases: influx_api.Databases) -> Api:
    api = Api(State.load(path), databases)
    api.set_up(ADMIN_TOKEN, "o", "b", 7200)
    return api


def test_what_was_made_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    api = started(path, NoDatabases())
    org_id = ask(api, "GET", "/api/v2/orgs?org=o")[1]["orgs"][0]["id"]
    status, bucket = ask(api, "POST", "/api/v2/buckets", {"orgID": org_id, "name": "more"})
    assert status == 201
    right = {"action": "read", "resource": {"type": "buckets", "id": bucket["id"]}}
    status, made = ask(
        api, "POST", "/api/v2/authorizations", {"orgID": org_id, "permissions": [right]}
    )
    assert status == 201

    again = Api(State.load(path), NoDatabases())
    again.set_up("another token", "other", "other")  # it is set up already
    assert again.state == api.state
    assert ask(again, "GET", f"/api/v2/authorizations/{made['id']}") == (200, made)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


def test_a_bucket_is_a_database_with_its_retention(tmp_path: Path) -> None:
    databases = Recorded()
    api = started(tmp_path / "state.json", databases)
    assert databases.kept == {}  # influxd may not listen yet: the first check of /health does it
    assert ask(api, "GET", "/health")[0] == 200
    assert databases.kept == {"b": (7200, 3600)}

    org_id = ask(api, "GET", "/api/v2/orgs?org=o")[1]["orgs"][0]["id"]
    _, made = ask(api, "POST", "/api/v2/buckets", {"orgID": org_id, "name": "c"})
    assert databases.kept["c"] == (0, 7 * 86_400)
    rule = {"type": "expire", "everySeconds": 86_400, "shardGroupDurationSeconds": 3600}
    assert ask(api, "PATCH", f"/api/v2/buckets/{made['id']}", {"retentionRules": [rule]})[0] == 200
    assert databases.kept["c"] == (86_400, 3600)
    assert ask(api, "DELETE", f"/api/v2/buckets/{made['id']}")[0] == 204
    assert databases.kept.keys() == {"b"}


def test_without_influxd_it_is_not_healthy_and_makes_no_bucket(tmp_path: Path) -> None:
    databases = Recorded()
    databases.broken = True
    api = started(tmp_path / "state.json", databases)
    status, health = ask(api, "GET", "/health")
    assert (status, health["status"], health["message"]) == (503, "fail", "influxd is away")
    databases.broken = False
    assert ask(api, "GET", "/health")[0] == 200
    databases.broken = True
    org_id = ask(api, "GET", "/api/v2/orgs?org=o")[1]["orgs"][0]["id"]
    assert ask(api, "POST", "/api/v2/buckets", {"orgID": org_id, "name": "c"})[0] == 500
    assert [one.name for one in api.state.buckets if one.type == "user"] == ["b"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"user_id": "x", "orgs": [{}]}'])
def test_a_state_that_is_none_is_an_error_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="is no state of this program"):
        State.load(path)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nonsense", 404),
        ("GET", "/api/v2/nonsense", 404),
        ("PUT", "/api/v2/orgs", 405),
        ("GET", "/api/v2/orgs/xyz", 400),
        ("GET", "/api/v2/orgs/0000000000000000", 400),
        ("POST", "/api/v2/orgs", 400),
        ("GET", "/ping", 204),
        ("GET", "/api/v2/setup", 200),
        ("GET", "/authorize", 403),
        ("GET", "/api/v2/buckets?offset=x", 400),
    ],
)
def test_other_requests(tmp_path: Path, method: str, target: str, status: int) -> None:
    assert ask(started(tmp_path / "state.json", NoDatabases()), method, target)[0] == status


def command(tmp_path: Path, port: int) -> list[str]:
    """As the container runs it: a copy of its folder alone, no packages."""
    alone = tmp_path / "alone"
    package = alone / "devtools" / "servers" / "influx_api"
    shutil.copytree(Path(influx_api.__file__).parent, package, dirs_exist_ok=True)
    return [
        *("env", "-i", f"PYTHONPATH={alone}", sys.executable, "-S", "-m"),
        "devtools.servers.influx_api",
        *("--listen", f"127.0.0.1:{port}"),
        *("--state-file", str(tmp_path / "state.json")),
        *("--admin-token-file", str(tmp_path / "token")),
        *("--org", "o", "--bucket", "b"),
    ]


def test_it_runs_from_its_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{ADMIN_TOKEN}\n", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with subprocess.Popen(command(tmp_path, port), cwd=tmp_path) as process:
        try:
            url = f"http://127.0.0.1:{port}/api/v2/orgs"
            wait_until(
                lambda: missing_status(url, headers=HEADERS) is None,
                deadline_seconds=30,
                what="the stand-in responds",
            )
        finally:
            process.terminate()


def test_without_a_token_it_does_not_start(tmp_path: Path) -> None:
    for content, why in ((None, "No such file"), ("\n", "is empty")):
        if content is not None:
            (tmp_path / "token").write_text(content, encoding="utf-8")
        ran = subprocess.run(
            command(tmp_path, 0), cwd=tmp_path, capture_output=True, text=True, timeout=30
        )
        assert ran.returncode == 2
        assert ran.stderr.startswith("influx_api: ")
        assert why in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
