"""The client reads long windows by remote read if it may, and what a doubt is told as."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry

from common.config import ExtractSettings, Query
from common.errors import QueryTooLarge
from common.runtime.telemetry import Telemetry
from common.source.remote_read import choice
from common.source.remote_read.doubt import Doubt
from common.source.remote_read.fallbacks import counted
from services.extractor.prometheus import PrometheusClient
from tests.support.answering_server import AnsweringServer, Handler, reply
from tests.support.captured_log import CapturedLog
from tests.unit.common.source.remote_read.answers import STREAMED, answer, chunk, series
from tests.unit.services.extractor.client.client_world import MATRIX

QUERY = Query(name="q", select="x").bound(15, {})
RUN = {"startTime": "a", "lastConfigTime": "b", "storageRetention": "15d"}
START_MS, END_MS = 1_700_000_000_000 - 1, 1_700_003_600_000
CHUNKS = answer([series({"n": "1"}, chunk([(START_MS + 1 + n, n) for n in range(120)]))])


class Server:
    """Answers queries, and remote reads with ``status``."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.paths: list[str] = []

    def __call__(self, handler: Handler) -> None:
        path = handler.request_seen.path
        self.paths.append(path.rpartition("/")[2])
        if path == "/api/v1/read":
            reply(CHUNKS, self.status, {"Content-Type": STREAMED})(handler)
        elif path == "/api/v1/status/runtimeinfo":
            reply(json.dumps({"data": RUN}).encode())(handler)
        elif path == "/api/v1/status/config":
            reply(b'{"data":{"yaml":"global: {}"}}')(handler)
        else:
            reply(MATRIX)(handler)


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "LEAST_SAMPLES", 1)
    monkeypatch.setattr(choice, "LEAST_SAMPLES_A_SERIES", 1)


def paths_of(
    server: Server, reads: int = 2, query: Query = QUERY, **settings: object
) -> tuple[list[str], list[Doubt]]:
    doubts: list[Doubt] = []
    with AnsweringServer(server) as listening:
        client = PrometheusClient(
            ExtractSettings.model_validate({"prometheus_url": listening.url, **settings}),
            on_doubt=lambda query, doubt: doubts.append(doubt),
        )
        try:
            for _ in range(reads):
                assert sum(map(len, client.read(query, START_MS, END_MS)))
        finally:
            client.close()
    return server.paths, doubts


def test_the_configuration_is_read_once_and_the_run_after_each_window() -> None:
    paths, doubts = paths_of(Server(), reads=3)
    assert paths == ["query", "runtimeinfo", "config", *["read", "runtimeinfo"] * 2]
    assert doubts == []


def test_what_is_refused_is_read_by_a_query() -> None:
    paths, doubts = paths_of(Server(status=405), reads=3)
    assert paths == ["query", "runtimeinfo", "config", "read", "query", "query"]
    (doubt,) = doubts
    assert doubt.reason == "refused"
    assert "/api/v1/read" in str(doubt)


@pytest.mark.parametrize("word", ["off", False])
def test_it_can_be_switched_off(word: object) -> None:
    assert paths_of(Server(), remote_read=word) == (["query"] * 2, [])


def test_a_query_that_carries_histograms_is_read_by_json_alone() -> None:
    carrying = Query(name="q", select="x", native_histograms="classic").bound(15, {})
    assert paths_of(Server(), query=carrying) == (["query"] * 2, [])


def test_too_many_samples_split_the_window_and_are_no_doubt() -> None:
    with AnsweringServer(Server()) as listening:
        settings = ExtractSettings(prometheus_url=listening.url, max_window_samples=1)
        client = PrometheusClient(settings)
        with pytest.raises(QueryTooLarge, match=r"more than 1 samples .* query 'x', window"):
            list(client._chunks("x", START_MS, END_MS))
        client.close()


def test_each_doubt_is_counted_and_each_cause_said_once() -> None:
    registry, log = CollectorRegistry(), CapturedLog()
    doubted = counted(Telemetry("extractor", registry, logger=log))
    for query, reason in (("a", "order"), ("a", "order"), ("b", "order"), ("a", "frame")):
        doubted(query, Doubt(reason, "why"))  # type: ignore[arg-type]
    name = "etl_remote_read_fallbacks_total"
    assert registry.get_sample_value(name, {"reason": "order"}) == 3
    assert registry.get_sample_value(name, {"reason": "frame"}) == 1
    assert log.events.count("remote_read_fallback") == 3
