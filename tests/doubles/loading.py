"""What tests of the loader share: entries, settings, outcomes, a clock, a sink in memory."""

from __future__ import annotations

import gzip
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry

from common.config.load import InfluxSettings, LoadSettings, Tier
from common.runtime.telemetry import Telemetry
from common.sink.addresses import Addresses
from common.state.verdict import DeadLetter, Entry, Settle, Verdict
from services.loader.influx import InfluxSink
from services.loader.load import LoadHandler
from services.loader.responses import Kind, Outcome, classify
from services.transformer.line_protocol import gzip_member
from tests.doubles.influx_engine import ORG, TOKEN, Engine

BUCKET = "hot"
NOW_MS = 1_700_000_000_000
DAY_SECONDS = 86_400

_OF_INFLUXDB = (
    "timeout_seconds",
    "token",
    "org",
    "bucket",
    "ca_file",
    "urls",
    "return_to_first_seconds",
    "rate_limit_bytes_per_second",
)

BAD = b"m,n=1 value=oops 1700000000000"
WRITTEN = Outcome(Kind.WRITTEN, "", status=204)
FAILED = Outcome(Kind.FAILED, "boom", "server_error", 500)
UNAUTHORIZED = Outcome(Kind.REFUSED, "unauthorized access", "refused", 401)


def asked_to_wait(seconds: float) -> Outcome:
    return Outcome(Kind.BUSY, "slow down", "busy", 429, retry_after_seconds=seconds)


def dead(verdict: Verdict) -> Sequence[DeadLetter]:
    assert isinstance(verdict, Settle)
    return verdict.dead


def old(days: float) -> int:
    """The time so many days ago, in ms."""
    return int(NOW_MS - days * DAY_SECONDS * 1000)


def load_settings(url: str = "http://127.0.0.1:1", **overrides: Any) -> LoadSettings:
    """Settings of loading; those of ``_OF_INFLUXDB`` are InfluxDB's."""
    influx = {"url": url, "token": TOKEN, "org": ORG, "bucket": BUCKET, "timeout_seconds": 5}
    for name in _OF_INFLUXDB:
        if name in overrides:
            influx[name] = overrides.pop(name)
    return LoadSettings(influxdb=InfluxSettings(**influx), **overrides)


def tier(bucket: str = BUCKET, retention_seconds: float | None = None) -> Tier:
    return Tier(bucket=bucket, retention=retention_seconds)


def lines(count: int, measurement: str = "m", start: int = 0, at_ms: int = NOW_MS) -> list[bytes]:
    """Good lines, all different."""
    return [
        b"%s,n=%d value=%d.5 %d" % (measurement.encode(), i % 7, i, at_ms + i)
        for i in range(start, start + count)
    ]


def payload(text: Iterable[bytes]) -> bytes:
    """Lines as the transformer writes them."""
    if not (keys := list(text)):
        return gzip.compress(b"")  # which the transformer never writes
    return gzip_member(iter([b"\n" + line for line in keys]), keys)


def entry(id_: str, text: Sequence[bytes], tier: str = "hot", **fields: Any) -> Entry:
    """An entry of points."""
    values: dict[str, Any] = {
        "id": id_,
        "schema": 1,
        "query": "q",
        "tier": tier,
        "kind": "select",
        "window_id": "w1",
        "samples": len(text),
        "payload": payload(text),
    }
    return Entry(**(values | fields))


class Clock:
    """Seconds that pass only by :meth:`pass_`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


class EngineSink:
    """A sink in this process: the fake's engine, the real table of responses.

    ``script`` holds outcomes that are given instead, in turn; ``judge`` may give one for a body.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.script: deque[Outcome | None] = deque()
        self.judge: Callable[[list[bytes]], Outcome | None] | None = None
        self.probe_script: deque[Outcome] = deque()
        self.bodies: list[bytes] = []
        self.probes = 0
        self.closed = 0
        self.silent_retention: float | None = None
        self.retention_unknown: str | None = None
        self.lock = threading.Lock()
        self.addresses = Addresses(("http://127.0.0.1:1",))
        self.on_write: Callable[[], None] = lambda: None

    def write(self, bucket: str, body: bytes) -> Outcome:
        self.on_write()
        with self.lock:
            self.bodies.append(body)
            outcome = self.script.popleft() if self.script else None
            if outcome is None and self.judge is not None:
                outcome = self.judge(gzip.decompress(body).splitlines())
            return outcome or self._respond(bucket, body, {"Content-Encoding": "gzip"})

    def probe(self, bucket: str) -> Outcome:
        with self.lock:
            self.probes += 1
            if self.probe_script:
                return self.probe_script.popleft()
            return self._respond(bucket, b"", {})

    def silent_retention_seconds(self, bucket: str) -> float | None:
        return self.silent_retention

    def close(self) -> None:
        self.closed += 1

    @property
    def posted(self) -> list[list[bytes]]:
        """The lines of every post."""
        return [gzip.decompress(body).splitlines() for body in self.bodies]

    def _respond(self, bucket: str, body: bytes, headers: dict[str, str]) -> Outcome:
        query = {"org": ORG, "bucket": bucket, "precision": "ms"}
        headers = headers | {"Authorization": f"Token {TOKEN}"}
        status, sent, content = self.engine.write(query, headers, body)
        return classify(status, sent, content, now_seconds=self.engine.clock())


class Bench:
    """A handler over an engine, with its clock, its metrics and its log."""

    def __init__(self, engine: Engine | None = None, **settings: Any) -> None:
        handler_options = {
            name: settings.pop(name)
            for name in ("stopping", "tick", "still_ours", "set_ready")
            if name in settings
        }
        self.clock = Clock()
        self.wall = Clock(NOW_MS / 1000)
        self.engine = engine or Engine(BUCKET, clock=self.wall)
        self.sink = EngineSink(self.engine)
        self.registry = CollectorRegistry()
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.telemetry = Telemetry("loader", self.registry, logger=_Log(self.log))
        settings.setdefault("connections", 1)
        self.handler = LoadHandler(
            load_settings(**settings),
            cast(InfluxSink, self.sink),
            self.telemetry,
            clock=self.clock,
            wall_clock=self.wall,
            rng=random.Random(7),
            wait=self.clock.pass_,
            **handler_options,
        )

    def handle(self, *entries: Entry) -> list[Verdict]:
        """The verdicts; each settlement is checked to account for its entry."""
        verdicts = self.handler.handle(entries)
        assert len(verdicts) == len(entries)
        for one, verdict in zip(entries, verdicts, strict=True):
            if isinstance(verdict, Settle):
                assert verdict.samples == one.samples
        return verdicts

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        return 0.0 if value is None else value

    def events(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.log if event == name]

    @property
    def points(self) -> int:
        return sum(len(bucket.points) for bucket in self.engine.buckets.values())


class _Log:
    def __init__(self, log: list[tuple[str, dict[str, Any]]]) -> None:
        self._log = log

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self._log.append((event, fields))
