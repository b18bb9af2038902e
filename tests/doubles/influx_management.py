"""An InfluxDB 2 whose management API is asked: a real one if there is one, else the stand-in.

``ETL_TEST_INFLUXDB2_URL`` and ``ETL_TEST_INFLUXDB2_TOKEN_FILE`` (an operator token) name the real
one. Tests make organisations of names that nobody else has, and delete them.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from devtools.servers.http import session
from devtools.servers.influx_api import Api, NoDatabases, State, make_server

ADMIN_TOKEN = "stand-in-admin-token"


class Influx:
    """Where it is, and how it is asked."""

    def __init__(self, url: str, admin_token: str, *, real: bool) -> None:
        self.url = url
        self.admin_token = admin_token
        self._real = real
        self._session = session()

    def ask(
        self, method: str, path: str, document: Any = None, *, token: str | None = "", **query: str
    ) -> requests.Response:
        """One request of the management API, by the operator if nobody else is named."""
        headers = {}
        if token is not None:
            headers["Authorization"] = f"Token {token or self.admin_token}"
        return self._session.request(
            method,
            f"{self.url}{path}",
            params=query,
            json=document,
            headers=headers,
            timeout=30,
        )

    def write_status(self, token: str, org: str, bucket: str) -> int:
        """What an empty write is answered with."""
        return self._data("/api/v2/write", token, org=org, bucket=bucket).status_code

    def may_query(self, token: str, database: str) -> bool:
        """Whether a query of the database finds what is in it."""
        answer = self._data("/query", token, db=database, q="SHOW DATABASES")
        if not self._real:
            return answer.status_code == 204
        if answer.status_code != 200:
            return False
        series = answer.json()["results"][0].get("series", [{}])
        return [database] in series[0].get("values", [])

    def query(self, token: str, database: str, statement: str) -> tuple[int, Any]:
        """Status and result of a query of a database that the token may not read."""
        answer = self._data("/query", token, db=database, q=statement)
        return answer.status_code, answer.json()["results"][0]

    def _data(self, path: str, token: str, **query: str) -> requests.Response:
        headers = {"Authorization": f"Token {token}"}
        if self._real:
            method = "POST" if path == "/api/v2/write" else "GET"
            return self._session.request(
                method, f"{self.url}{path}", params=query, headers=headers, timeout=30
            )
        original = requests.Request("GET", f"http://x{path}", params=query).prepare().path_url
        headers["X-Original-URI"] = original
        # What nginx shows the client is what /refusal says; it asks /authorize whether to.
        decided = self._session.get(f"{self.url}/authorize", headers=headers, timeout=30)
        answer = self._session.get(f"{self.url}/refusal", headers=headers, timeout=30)
        assert decided.status_code == (
            answer.status_code if answer.status_code in (204, 401) else 403
        )
        return answer

    def close(self) -> None:
        self._session.close()


class Place:
    """A fresh organisation in an :class:`Influx`, gone afterwards."""

    def __init__(self, influx: Influx, org: str, org_id: str) -> None:
        self.influx = influx
        self.org = org
        self.org_id = org_id

    def bucket(self, name: str, **rule: int) -> dict[str, Any]:
        """Make a bucket with the rule's seconds."""
        rules = [{"type": "expire", **rule}] if rule else []
        answer = self.influx.ask(
            "POST",
            "/api/v2/buckets",
            {"orgID": self.org_id, "name": name, "retentionRules": rules},
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def authorize(self, *rights: tuple[str, str], description: str = "") -> dict[str, Any]:
        """An authorization for ``(action, bucket id)``."""
        answer = self.influx.ask(
            "POST",
            "/api/v2/authorizations",
            {
                "orgID": self.org_id,
                "description": description,
                "permissions": [permission(*right, self.org_id) for right in rights],
            },
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def authorize_for(self, *permissions: dict[str, Any]) -> str:
        """A token with these rights, as JSON has them."""
        answer = self.influx.ask(
            "POST",
            "/api/v2/authorizations",
            {"orgID": self.org_id, "permissions": permissions},
        )
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["token"]
        return token

    def rules(self) -> dict[str, tuple[int, int]]:
        """Name of each bucket that a user made → seconds of retention and of a shard."""
        answer = self.influx.ask("GET", "/api/v2/buckets", orgID=self.org_id, limit="100")
        return {
            bucket["name"]: (rule["everySeconds"], rule["shardGroupDurationSeconds"])
            for bucket in answer.json()["buckets"]
            if bucket["type"] == "user"
            for rule in bucket["retentionRules"]
        }

    def authorizations(self) -> list[dict[str, Any]]:
        """Those of the organisation."""
        answer = self.influx.ask("GET", "/api/v2/authorizations", orgID=self.org_id)
        found: list[dict[str, Any]] = answer.json()["authorizations"]
        return found


def permission(action: str, bucket_id: str, org_id: str) -> dict[str, Any]:
    """The JSON form of the right to one bucket."""
    return {"action": action, "resource": {"type": "buckets", "id": bucket_id, "orgID": org_id}}


@contextmanager
def serving(api: Api) -> Iterator[str]:
    """The URL under which ``api`` answers."""
    server = make_server(api, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def an_influx() -> Iterator[Influx]:
    """The real one, if the environment names one, else the stand-in."""
    if url := os.environ.get("ETL_TEST_INFLUXDB2_URL"):
        file = Path(os.environ["ETL_TEST_INFLUXDB2_TOKEN_FILE"])
        influx = Influx(url.rstrip("/"), file.read_text(encoding="utf-8").strip(), real=True)
        yield influx
        influx.close()
        return
    api = Api(State(), NoDatabases())
    api.set_up(ADMIN_TOKEN, "first-org", "first-bucket")
    with serving(api) as address:
        influx = Influx(address, ADMIN_TOKEN, real=False)
        yield influx
        influx.close()


@contextmanager
def a_place(influx: Influx) -> Iterator[Place]:
    """A fresh organisation; it, its buckets and its authorizations are deleted afterwards."""
    name = f"org-{uuid.uuid4().hex[:12]}"
    answer = influx.ask("POST", "/api/v2/orgs", {"name": name})
    assert answer.status_code == 201, answer.text
    place = Place(influx, name, answer.json()["id"])
    try:
        yield place
    finally:
        forget(place)


def forget(place: Place) -> None:
    """Delete what was made."""
    for one in place.authorizations():
        place.influx.ask("DELETE", f"/api/v2/authorizations/{one['id']}")
    place.influx.ask("DELETE", f"/api/v2/orgs/{place.org_id}")
