"""The suite's own processes beside the stack: the load exporter and the fault proxies."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import psutil
import requests

from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.chaos.load import FRESH, LIMITED, ODD
from devtools.chaos.rules import Rule
from devtools.servers.http import missing_status, session
from devtools.servers.ports import HOST, HeldPort
from devtools.servers.processes import Server

_TIMEOUT_SECONDS = 10.0


class _Helper(Server):
    """A module of this package as a child process."""

    def environment(self) -> dict[str, str]:
        """This process' environment, with the project on the path."""
        path = os.pathsep.join(filter(None, (str(PROJECT_ROOT), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _post(url: str, document: Mapping[str, Any]) -> dict[str, Any]:
    try:
        with session() as opened:
            response = opened.post(url, json=document, timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise StackError(f"POST {url}: {error}") from error
    if response.status_code != 200:
        raise StackError(f"POST {url}: {response.status_code} {response.text[:300]}")
    found: dict[str, Any] = response.json()
    return found


class LoadExporter(_Helper):
    """The steady load."""

    def __init__(self, work_dir: Path, series: int, *, log_dir: Path) -> None:
        super().__init__("exporter", work_dir, log_dir=log_dir)
        self.series = series
        self._next = {ODD: 1, FRESH: 1, LIMITED: 1}

    @property
    def address(self) -> str:
        """``host:port``, as a scrape target."""
        return f"{HOST}:{self.port}"

    def command(self) -> Sequence[str]:
        """The exporter on its port."""
        return [sys.executable, "-m", "devtools.chaos.exporter", str(self.port), str(self.series)]

    def probe(self) -> str | None:
        """Any other path than the page: asking for that counts as a scrape."""
        return missing_status(f"http://{self.address}/", 404)

    def invite(self, prefix: str, count: int, scrapes: int) -> list[str]:
        """Let ``count`` new metrics with one series each appear; their names."""
        first = self._next[prefix]
        self._next[prefix] += count
        order = {"prefix": prefix, "first": first, "count": count, "scrapes": scrapes}
        _post(f"http://{self.address}/invite", order)
        return [f"{prefix}_{index:06d}" for index in range(first, first + count)]

    def upcoming(self, prefix: str, count: int) -> list[str]:
        """The names that the next invitation of ``count`` metrics will have."""
        first = self._next[prefix]
        return [f"{prefix}_{index:06d}" for index in range(first, first + count)]


class Proxies(_Helper):
    """All fault proxies, with ``more_http`` beside the usual.

    ``ports`` are where services find what is behind them.
    """

    KINDS: ClassVar = {"redis": "tcp", "influxdb": "http", "prometheus": "http"}

    def __init__(
        self, work_dir: Path, seed: str, *, log_dir: Path, more_http: Sequence[str] = ()
    ) -> None:
        super().__init__("proxies", work_dir, log_dir=log_dir)
        self._seed = seed
        self._kinds = {**self.KINDS, **dict.fromkeys(more_http, "http")}
        # Long before they listen.
        self._held = {name: HeldPort() for name in self._kinds}
        self.ports = {name: held.port for name, held in self._held.items()}

    def command(self) -> Sequence[str]:
        """The proxies on their ports, their control on that of this process."""
        described = [f"{name}={kind}:{self.ports[name]}" for name, kind in self._kinds.items()]
        return [
            sys.executable,
            "-m",
            "devtools.chaos.proxy",
            str(self.port),
            self._seed,
            *described,
        ]

    def probe(self) -> str | None:
        """Whether the control answers: it knows no such proxy."""
        return missing_status(f"http://{HOST}:{self.port}/nobody/state", 400)

    def send(self, name: str, verb: str, **order: Any) -> dict[str, Any]:
        """Give an order; the proxy's counts."""
        return _post(f"http://{HOST}:{self.port}/{name}/{verb}", order)

    def rule(self, name: str, rule: Rule) -> None:
        """One more rule for an HTTP proxy."""
        _post(f"http://{HOST}:{self.port}/{name}/rule", rule.as_json())

    def hits(self, name: str, action: str) -> int:
        """How many requests an action was done to."""
        return int(self.send(name, "state")["hits"].get(action, 0))

    def answers(self, name: str, status: int) -> int:
        """How many requests the server behind an HTTP proxy has answered with a status."""
        return int(self.send(name, "state")["answers"].get(str(status), 0))

    def connections_to(self, port: int) -> int:
        """How many connections to a server there are."""
        return sum(
            bool(connection.raddr) and connection.raddr.port == port
            for connection in psutil.Process(self.pid).net_connections(kind="tcp")
            if connection.status != psutil.CONN_TIME_WAIT
        )

    def left(self, name: str) -> int:
        """What was ordered and has not happened yet."""
        return int(self.send(name, "state")["left"])
