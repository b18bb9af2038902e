"""A client of Grafana's HTTP API, and where the environment says that one is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import requests

from devtools.servers.http import session

URL = "ETL_TEST_GRAFANA_URL"
TOKEN_FILE = "ETL_TEST_GRAFANA_TOKEN_FILE"
USER = "ETL_TEST_GRAFANA_USER"
PASSWORD_FILE = "ETL_TEST_GRAFANA_PASSWORD_FILE"
LOG = "ETL_TEST_GRAFANA_LOG"
RECEIVER = "ETL_TEST_GRAFANA_RECEIVER"

_PROVISIONING = "/api/v1/provisioning"


class Grafana:
    """A Grafana, asked as an administrator: by token, else by user and password."""

    def __init__(self, url: str, *, token: str = "", login: tuple[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._session = session()
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.auth = login
        # So that what a test makes, it can change and delete again.
        self._session.headers["X-Disable-Provenance"] = "true"

    def ask(self, method: str, path: str, document: Any = None, **query: str) -> requests.Response:
        """One request below the root URL."""
        return self._session.request(
            method, f"{self.url}{path}", params=query, json=document, timeout=60
        )

    def get(self, path: str, **query: str) -> Any:
        """The JSON of a GET."""
        return self._document(self.ask("GET", path, **query))

    def change(self, method: str, path: str, document: Any = None, **query: str) -> Any:
        """The JSON of a request that changes something."""
        return self._document(self.ask(method, path, document, **query))

    def provisioned(self, what: str) -> Any:
        """The JSON of a kind of alerting's resources: ``policies``, ``contact-points``, …"""
        return self.get(f"{_PROVISIONING}/{what}")

    def states(self, folder: str) -> dict[str, dict[str, Any]]:
        """Name → what the scheduler says of each rule in the folder of this title."""
        groups = self.get("/api/prometheus/grafana/api/v1/rules")["data"]["groups"]
        return {
            rule["name"]: rule for group in groups if group["file"] == folder
            for rule in group["rules"]
        }  # fmt: skip

    def query(self, queries: list[dict[str, Any]]) -> dict[str, Any]:
        """Ref id → result of queries of the last hour, as a panel asks them."""
        document = {"queries": queries, "from": "now-1h", "to": "now"}
        results: dict[str, Any] = self.change("POST", "/api/ds/query", document)["results"]
        return results

    def close(self) -> None:
        self._session.close()

    @staticmethod
    def _document(response: requests.Response) -> Any:
        assert response.ok, f"{response.request.method} {response.url}: {response.text[:1000]}"
        return response.json() if response.content else None


def grafana_from_environment() -> Grafana:
    """The Grafana that the environment names."""
    if file := os.environ.get(TOKEN_FILE):
        return Grafana(os.environ[URL], token=_secret(file))
    user = os.environ.get(USER, "admin")
    return Grafana(os.environ[URL], login=(user, _secret(os.environ[PASSWORD_FILE])))


def _secret(file: str) -> str:
    return Path(file).read_text(encoding="utf-8").strip()
