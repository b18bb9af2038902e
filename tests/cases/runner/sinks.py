"""The sinks of the cases: a real influxd 1.6, and the stand-ins for InfluxDB 2 and 3."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import requests

from common.config import Settings
from common.samples.layout import Place
from devtools.servers.influx_server import InfluxServer
from services.verifier.connect import sink_of
from services.verifier.points import Column, Points, SeriesKey
from services.verifier.sink.read import Sink
from tests.cases.runner.case import Behaviour, Case
from tests.doubles.influx_engine import ORG, TOKEN, Bucket, Engine, Response, error_response
from tests.doubles.influxdb2 import Fault, InfluxDB2
from tests.doubles.influxdb3 import Engine3, InfluxDB3


class CaseSink(ABC):
    """Where a case writes to: the address, and what is read back."""

    url: str

    @abstractmethod
    def behave(self, how: Behaviour) -> None:
        """Behave so from now on."""

    @abstractmethod
    def reader(self, settings: Settings) -> Sink:
        """What reads the points back for ``etlctl verify``."""


class RealInfluxd(CaseSink):
    """influxd with a database of the case's own."""

    def __init__(self, server: InfluxServer, settings: Mapping[str, object]) -> None:
        self._server = server
        self._settings = settings
        self.url = server.url

    def behave(self, how: Behaviour) -> None:
        if how.settings != self._settings:
            self._settings = how.settings
            self._server.influxd.settings = how.settings
            self._server.influxd.restart()

    def reader(self, settings: Settings) -> Sink:
        return sink_of(settings, "hot")


class StandIn(CaseSink):
    """A stand-in, which misbehaves by request."""

    def __init__(self, server: InfluxDB2, engine: Judging, bucket: str) -> None:
        self._server, self._engine, self._bucket = server, engine, bucket
        self._how = Behaviour()
        self.url = server.url
        server.fault_for = self._fault_for

    def behave(self, how: Behaviour) -> None:
        self._how = how
        self._engine.let_in(how.token != "inactive")
        self._engine.may_read = how.token != "write-only"
        self._engine.max_inflated_bytes = how.max_inflated_bytes
        self._engine.instead_of_422 = how.instead_of_422
        self._engine.buckets[self._bucket].retention_seconds = how.retention_seconds

    def reader(self, settings: Settings) -> Sink:
        return cast(Sink, _Reader(self._engine.buckets[self._bucket]))

    def _fault_for(self, text: bytes) -> Fault | None:
        for answer in self._how.answers:
            if answer.when.encode() in text:
                if answer.keeps:
                    with self._server.lock:
                        self._engine.keep(self._bucket, text)
                return Fault(error_response(answer.status, "error", answer.message))
        return None


class Judging(Engine):
    """A stand-in's engine, which may give another status to a partial write."""

    instead_of_422: int | None = None

    def write(self, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Response:
        status, sent, text = super().write(query, headers, body)
        if status == 422 and self.instead_of_422 is not None:
            status = self.instead_of_422
        return status, sent, text

    def let_in(self, active: bool) -> None:
        """Take our token, or not."""
        self.active = active

    def keep(self, bucket: str, lines: bytes) -> None:
        """Take lines (ms) of whoever may write."""
        query = {"org": ORG, "bucket": bucket, "precision": "ms"}
        status, _, text = super().write(query, {"Authorization": f"Token {self.token}"}, lines)
        assert status == 204, text


class Judging3(Judging, Engine3):
    """The same of the stand-in for InfluxDB 3, which knows no token that is not active."""

    def let_in(self, active: bool) -> None:
        self.token = TOKEN if active else "another"


class _Reader:
    """The stand-in's points, as :class:`services.verifier.sink.read.Sink` reads a server's."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.elsewhere: dict[SeriesKey, int] = {}

    def close(self) -> None:
        """There is no connection."""

    def list_anew(self) -> None:
        """Nothing is listed."""

    def read(
        self, places: Iterable[Place], start_ms: int, end_ms: int, fields: Sequence[str] = ()
    ) -> Points:
        wanted = set(places)
        rows: dict[SeriesKey, list[tuple[int, float]]] = {}
        for (measurement, tags, field, time_ms), value in self._bucket.points.items():
            if Place(measurement, field) in wanted and start_ms < time_ms <= end_ms:
                # What is no float equals no point, as with a server.
                number = value if isinstance(value, float) else float("nan")
                key = SeriesKey.of(measurement, dict(tags), field)
                rows.setdefault(key, []).append((time_ms, number))
        return {key: _column(sorted(found)) for key, found in rows.items()}


def _column(rows: list[tuple[int, float]]) -> Column:
    return Column(
        np.array([time_ms for time_ms, _ in rows], dtype=np.int64),
        np.array([value for _, value in rows], dtype=np.float64),
    )


STAND_INS: dict[str, tuple[type[InfluxDB2], type[Judging]]] = {
    "influxdb2": (InfluxDB2, Judging),
    "influxdb3": (InfluxDB3, Judging3),
}


@contextmanager
def sink_for(
    case: Case,
    clock: Callable[[], float],
    shared: Callable[[], InfluxServer],
    make: Callable[..., InfluxServer],
) -> Iterator[CaseSink]:
    """The case's sink, holding what it held before; its bucket is named as the case."""
    lines = "\n".join(case.description.before).encode()
    if case.description.sink in STAND_INS:
        server_class, engine_class = STAND_INS[case.description.sink]
        engine = engine_class(case.slug, clock=clock)
        if lines:
            engine.keep(case.slug, lines)
        with server_class(engine) as stand_in:
            yield StandIn(stand_in, engine, case.slug)
        return
    settings = case.description.steps[0].sink.settings
    server = make(settings=settings) if settings else shared()
    server.create_database(case.slug)
    try:
        if lines:
            query = {"db": case.slug, "precision": "ms"}
            requests.post(
                f"{server.direct_url}/write", params=query, data=lines, timeout=30
            ).raise_for_status()
        yield RealInfluxd(server, settings)
    finally:
        server.drop_database(case.slug)
