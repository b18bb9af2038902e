"""Sinks of the contract tests: a real influxd 1.6, the fake 2.x; a handler that writes there."""

from __future__ import annotations

import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pytest
import requests
from prometheus_client import CollectorRegistry

from common.config.query import READ_CHECK
from common.runtime.telemetry import Telemetry
from common.state.verdict import Entry, Settle, Verdict
from devtools.servers.influx_server import InfluxServer
from services.loader.influx import InfluxSink
from services.loader.load import LoadHandler
from tests.doubles.influx_engine import ORG, TOKEN, Bucket
from tests.doubles.influx_management import Influx
from tests.doubles.influx_management import Place as InfluxPlace
from tests.doubles.influxdb2 import InfluxDB2
from tests.doubles.loading import load_settings

Points = dict[tuple[str, tuple[tuple[str, str], ...], int], Any]


class Place:
    """Where points are written."""

    url: str
    bucket: str
    token = TOKEN
    org = ORG


class World(Place, ABC):
    """A sink with a fresh bucket: where it is, what is in it, how it can be set."""

    def __init__(self, make: Callable[..., InfluxServer]) -> None:
        self.make = make
        self.bucket = f"b{uuid.uuid4().hex[:10]}"

    @abstractmethod
    def create(self, retention_seconds: int | None = None) -> None:
        """Create the bucket."""

    def points(self) -> Points:
        """What the bucket holds but the loader's own: (measurement, tags, time in ms) → value."""
        return {one: value for one, value in self.held().items() if one[0] != READ_CHECK}

    @abstractmethod
    def held(self) -> Points:
        """All that the bucket holds."""

    @abstractmethod
    def limit_series(self, series: int | None) -> None:
        """Limit the number of series of a bucket, or lift the limit."""

    @abstractmethod
    def limit_body(self, body_bytes: int) -> None:
        """Refuse larger bodies."""

    @abstractmethod
    def require(self, token: str) -> None:
        """Take no other token."""


class Influxd(World):
    """The real one."""

    def __init__(self, make: Callable[..., InfluxServer], shared: InfluxServer) -> None:
        super().__init__(make)
        self.server = shared

    @property
    def url(self) -> str:  # type: ignore[override]
        return self.server.url

    def create(self, retention_seconds: int | None = None) -> None:
        self.retention_seconds = retention_seconds
        self.server.create_database(self.bucket, retention_seconds=retention_seconds)

    def held(self) -> Points:
        found: Points = {}
        for series in self.server.query(
            "SELECT value FROM /.*/ GROUP BY *", database=self.bucket, epoch="ms"
        ):
            tags = tuple(sorted((k, v) for k, v in series.get("tags", {}).items() if v))
            for at_ms, value in series["values"]:
                found[series["name"], tags, at_ms] = value
        return found

    def _own(self, **options: Any) -> None:
        self.server = self.make(**options)
        self.create()

    def limit_series(self, series: int | None) -> None:
        if series is not None:
            self._own(settings={"data": {"max-series-per-database": series}})
            return
        influxd = self.server.influxd
        influxd.settings = {}
        influxd.restart()

    def limit_body(self, body_bytes: int) -> None:
        self._own(max_body_bytes=body_bytes)

    def require(self, token: str) -> None:
        self._own(token=token)


class Fake(World):
    """The stand-in."""

    def __init__(self, make: Callable[..., InfluxServer], server: InfluxDB2) -> None:
        super().__init__(make)
        self.server = server

    @property
    def url(self) -> str:  # type: ignore[override]
        return self.server.url

    def create(self, retention_seconds: int | None = None) -> None:
        self.server.engine.buckets[self.bucket] = Bucket(retention_seconds)

    def held(self) -> Points:
        return {
            (measurement, tags, at_ms): value
            for (measurement, tags, name, at_ms), value in self.server.engine.buckets[
                self.bucket
            ].points.items()
            if name == "value"
        }

    def limit_series(self, series: int | None) -> None:
        self.server.engine.max_series = series

    def limit_body(self, body_bytes: int) -> None:
        self.server.engine.max_inflated_bytes = body_bytes

    def require(self, token: str) -> None:
        self.server.engine.token = token


class Real(World):
    """A real InfluxDB 2, in an organisation of its own. It has no limits that a test could set."""

    def __init__(
        self, make: Callable[..., InfluxServer], influx: Influx, place: InfluxPlace
    ) -> None:
        super().__init__(make)
        self.place = place
        self.influx = influx
        self.org = place.org
        self.token = influx.admin_token

    @property
    def url(self) -> str:  # type: ignore[override]
        return self.influx.url

    def create(self, retention_seconds: int | None = None) -> None:
        made = self.place.bucket(self.bucket, everySeconds=retention_seconds or 0)
        self.reader = self.place.authorize(("read", made["id"]))["token"]

    def held(self) -> Points:
        response = requests.get(
            f"{self.url}/query",
            params={"db": self.bucket, "q": "SELECT value FROM /.*/ GROUP BY *", "epoch": "ms"},
            headers={"Authorization": f"Token {self.reader}"},
            timeout=30,
        )
        found: Points = {}
        for series in response.json()["results"][0].get("series", []):
            tags = tuple(sorted((k, v) for k, v in series.get("tags", {}).items() if v))
            for at_ms, value in series["values"]:
                found[series["name"], tags, at_ms] = value
        return found

    def limit_series(self, series: int | None) -> None:
        pytest.skip("InfluxDB 2 has no limit of series")

    def limit_body(self, body_bytes: int) -> None:
        pytest.skip("it is set when InfluxDB 2 starts")

    def require(self, token: str) -> None:
        pytest.skip("InfluxDB 2 makes its tokens itself")


class Loading:
    """A handler over a real client."""

    def __init__(self, world: Place, **settings: Any) -> None:
        settings.setdefault("token", world.token)
        self.settings = load_settings(world.url, org=world.org, bucket=world.bucket, **settings)
        self.registry = CollectorRegistry()
        self.remarks: dict[str, tuple[bool, str]] = {}
        self.sink = InfluxSink(
            self.settings.influxdb,
            connections=self.settings.connections,
            own_failover=False,
        )
        self.now = 1000.0
        self.handler = LoadHandler(
            self.settings,
            self.sink,
            Telemetry("loader", self.registry),
            clock=lambda: self.now,
            rng=random.Random(1),
            set_ready=lambda name, ok, detail: self.remarks.update({name: (ok, detail)}),
        )

    def handle(self, *entries: Entry) -> list[Verdict]:
        verdicts = self.handler.handle(entries)
        for one, verdict in zip(entries, verdicts, strict=True):
            if isinstance(verdict, Settle):
                assert verdict.samples == one.samples
        return verdicts

    def posts(self, response: str) -> float:
        return self.registry.get_sample_value("etl_sink_posts_total", {"response": response}) or 0.0
