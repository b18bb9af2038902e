"""When the verifier reads a range by remote read, and what becomes of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from common.config import ExtractSettings, Settings
from common.source.http_session import source_session
from common.source.remote_read import choice
from common.source.remote_read.choice import Known
from common.source.remote_read.doubt import Doubt
from services.verifier.connect import source_of
from services.verifier.source import ChunkReading, Source
from tests.support.answering_server import AnsweringServer, Handler, reply
from tests.support.settings_files import PLAIN
from tests.unit.common.source.remote_read.answers import (
    HISTOGRAM,
    STREAMED,
    answer,
    chunk,
    labels_of,
    series,
)
from tests.unit.common.source.remote_read.xor_encoder import STALE_BITS, bits_of

RUN = {"startTime": "a", "lastConfigTime": "b", "storageRetention": "15d"}
START_MS, END_MS = 1_700_000_000_000, 1_700_003_600_000
SAMPLES = [(START_MS + n, bits_of(n)) for n in range(-2, 120)]
A, B = {"__name__": "x", "n": "1"}, {"__name__": "x", "n": "ä"}
BY_QUERY = {"metric": {"n": "json"}, "values": [[END_MS / 1000, "5"]]}


class Server:
    """Answers queries, and remote reads with ``content``."""

    def __init__(self) -> None:
        self.content = answer([series(A, chunk(SAMPLES[:60]), chunk(SAMPLES[60:]))])
        self.status, self.config = 200, "global: {}"
        self.paths: list[str] = []

    def __call__(self, handler: Handler) -> None:
        path = handler.request_seen.path
        self.paths.append(path.rpartition("/")[2])
        if path == "/api/v1/read":
            reply(self.content, self.status, {"Content-Type": STREAMED})(handler)
        elif path == "/api/v1/status/runtimeinfo":
            reply(json.dumps({"data": RUN}).encode())(handler)
        elif path == "/api/v1/status/config":
            reply(json.dumps({"data": {"yaml": self.config}}).encode())(handler)
        else:
            data = {"resultType": "matrix", "result": [BY_QUERY]}
            reply(json.dumps({"status": "success", "data": data}).encode())(handler)


class World:
    def __init__(self, server: Server, url: str) -> None:
        self.server, self.url = server, url
        self.doubts: list[tuple[str, str]] = []
        self.chunks = ChunkReading(self._on_doubt, Known())

    def _on_doubt(self, selector: str, doubt: Doubt) -> None:
        self.doubts.append((selector, doubt.reason))

    def read(self, times: int = 1) -> list[Any]:
        """What the last of so many reads gives, each by a source of its own."""
        found: list[Any] = []
        for _ in range(times):
            session = source_session(ExtractSettings(prometheus_url=self.url))
            with closing(Source(self.url, session, 5.0, self.chunks)) as source:
                found = source.read_select("x", START_MS, END_MS)
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(choice, "LEAST_SAMPLES", 1)
    monkeypatch.setattr(choice, "LEAST_SAMPLES_A_SERIES", 1)
    server = Server()
    with AnsweringServer(server) as listening:
        yield World(server, listening.url)


def test_chunks_are_read_once_it_is_known_what_a_range_holds(world: World) -> None:
    (found,) = world.read(times=2)
    assert world.server.paths == ["query", "runtimeinfo", "config", "read", "runtimeinfo"]
    assert found.labels == A and found.histograms == 0
    # Both bounds are the window's: (start, end].
    assert found.timestamps_ms.tolist() == [ms for ms, _ in SAMPLES if ms > START_MS]
    assert found.values.tolist() == [float(n) for n in range(1, 120)]
    assert world.doubts == []


def test_series_that_come_in_parts_and_ends_of_series(world: World) -> None:
    """What a query shows: no markers of an end, no series of nothing else."""
    ended = [*SAMPLES[3:5], (SAMPLES[5][0], STALE_BITS)]
    world.server.content = answer(
        [
            series({"n": "none"}),
            series(A, chunk(SAMPLES[3:10])),
            series(A, chunk(SAMPLES[10:12])),
            series(B, chunk(ended)),
            series({"n": "gone"}, chunk([(START_MS + 5, STALE_BITS)])),
            series({"n": "none", "m": "1"}),
        ]
    )
    found = world.read(times=2)
    assert [(one.labels, len(one.values)) for one in found] == [(A, 9), (B, 2)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (answer([series(A, chunk(SAMPLES))])[:-1], "frame"),
        (answer([series(A, chunk(SAMPLES, HISTOGRAM))]), "chunk_type"),
        (answer([series(A, chunk(SAMPLES[9:]), chunk(SAMPLES[:9]))]), "order"),
        (
            answer([series(A, chunk(SAMPLES))]).replace(labels_of(A)[:4], labels_of(A)[:3] + b"y"),
            "checksum",
        ),
    ],
)
def test_what_is_doubtful_is_read_by_a_query(world: World, content: bytes, reason: str) -> None:
    world.server.content = content
    (found,) = world.read(times=3)
    assert found.labels == {"n": "json"}
    # It stays so for a while, also for a new source.
    assert world.server.paths.count("read") == 1
    assert world.doubts == [("x", reason)]


def test_what_is_refused_is_read_by_a_query(world: World) -> None:
    world.server.status = 405
    (found,) = world.read(times=2)
    assert (found.labels, world.doubts) == ({"n": "json"}, [("x", "refused")])


def test_a_server_that_may_add_something_is_read_by_queries(world: World) -> None:
    world.server.config = "global:\n  external_labels:\n    a: b\n"
    world.read(times=2)
    assert (world.server.paths.count("read"), world.doubts) == (0, [])


def test_what_differed_is_read_by_a_query(world: World) -> None:
    world.read()
    session = source_session(ExtractSettings(prometheus_url=world.url))
    with closing(Source(world.url, session, 5.0, world.chunks)) as source:
        source.distrust_chunks("x")
        source.read_select("x", START_MS, END_MS)
    assert world.server.paths == ["query", "query"]


@pytest.mark.parametrize(
    ("extract", "reads"), [({}, 1), ({"remote_read": "off"}, 0), ({"params": {"a": "b"}}, 0)]
)
def test_only_where_the_extractor_may(world: World, extract: dict[str, Any], reads: int) -> None:
    merged = {**PLAIN["extract"], "prometheus_url": world.url, **extract}
    settings = Settings.model_validate({**PLAIN, "extract": merged})
    with closing(source_of(settings, world.chunks)) as source:
        for _ in range(2):
            source.read_select("x", START_MS, END_MS)
    assert world.server.paths.count("read") == reads


def test_verify_reads_queries_alone(world: World) -> None:
    settings = {**PLAIN, "extract": {**PLAIN["extract"], "prometheus_url": world.url}}
    with closing(source_of(Settings.model_validate(settings))) as source:
        for _ in range(3):
            source.read_select("x", START_MS, END_MS)
    assert world.server.paths == ["query"] * 3
