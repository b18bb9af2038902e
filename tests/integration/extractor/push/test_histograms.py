"""Native histograms that a real Prometheus sends by remote write, and shows: the same points."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
import requests

from common.config import ExtractSettings, Query
from common.runtime.http_server import HttpServer, Route
from common.samples.batch import SampleBatch
from common.state.feeds import Feed
from common.state.pushes import Pushed
from devtools.servers.ports import HOST
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.waiting import wait_until
from services.extractor.prometheus import PrometheusClient
from services.extractor.push.receive import MAX_BODY_BYTES, Receiver
from services.extractor.windows import Plan
from tests.support.native_histograms import CUSTOM_SCHEMA, Native, Points, points
from tests.support.remote_write import HEADERS_V2, push, request_v2, sample, series, snappy

FLAGS = (
    "--web.enable-remote-write-receiver",
    "--enable-feature=native-histograms",
    "--storage.remote.flush-deadline=1s",
)
# 2.0 and custom bounds are not in 2.42.
IS_NEW = os.environ.get("ETL_TEST_PROMETHEUS") == "sid"
MESSAGE = {"protobuf_message": "io.prometheus.write.v2.Request"} if IS_NEW else {}
QUERY = Query(name="raw", select='{__name__=~"native_.*"}', native_histograms="classic").bound(
    1, {}
)
HUGE = (1 << 60) + 1


class Taken:
    """A receiver of remote write, and what it has committed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: Points = {}
        plan = Plan(Feed(QUERY.name, "hot", "select", "f"), QUERY, 1000, 0, 0, 10**9, 240_000)
        receiver = Receiver(
            [plan],
            heads_ms=lambda plans: [0],
            commit=self._commit,
            external_labels=dict,
            refusal=lambda: None,
            paused=lambda: False,
            count=lambda pushed, outcomes: None,
        )
        assert receiver.learn_external_labels()
        route = Route(None, receiver.page, None, MAX_BODY_BYTES)
        self.http = HttpServer(HOST, 0, {"/api/v1/write": route})

    def _commit(self, pushed: Sequence[Pushed]) -> str:
        with self._lock:
            for one in pushed:
                assert not one.dropped
                for labels, found in points(SampleBatch.decode(one.payload).samples).items():
                    self._points.setdefault(labels, []).extend(found)
        return "committed"

    def points(self) -> Points:
        with self._lock:
            return {labels: sorted(set(found)) for labels, found in self._points.items()}


@pytest.fixture
def taken() -> Iterator[Taken]:
    taken = Taken()
    yield taken
    taken.http.close()


def finest(schema: int) -> Native:
    """All bounds of a schema, and of its mirror image."""
    indexes = range(-(1 << schema), 1) if schema >= 0 else range(4)
    counts = {index: 1 + index % 3 for index in indexes}
    return Native(2 * sum(counts.values()) + 5, -0.5, schema, 2.0**-20, 5, counts, counts)


def test_both_ways_give_the_same_points(
    make_prometheus: Callable[..., PrometheusServer], taken: Taken
) -> None:
    url = f"http://{HOST}:{taken.http.port}/api/v1/write"
    sender = {
        "url": url,
        "send_native_histograms": True,
        **MESSAGE,
        "queue_config": {"batch_send_deadline": "100ms"},
    }
    server = make_prometheus(flags=FLAGS, settings={"remote_write": [sender]})
    client = PrometheusClient(ExtractSettings(prometheus_url=server.url))
    # What is older than its sender is not sent.
    at_ms = client.now_ms() + 1000
    huge = Native(HUGE * 2 + 16, 1e300, 0, 0.0, 7, {}, {1: HUGE, 2: HUGE, 4: 9}, most_empty=1)
    whole = [finest(schema) for schema in range(-4, 9)] + [huge]
    # 2.42 shows some of one kind in the place of others where it reads both kinds at once.
    floats = IS_NEW * [
        Native(2e9, float("inf"), 2, 0.25, 0.5, {5: 0.125}, {-1: 1e-9, 9: 1e9}, is_float=True),
        Native(is_float=True),
    ]
    # Bounds in each way of writing a number.
    bounds = (-1e22, -1.5, -1e-7, 0.0, 5e-7, 0.00001, 0.1, 1e17, 123456789012345680.0, 1.5e21)
    custom = Native(66, 2.5, CUSTOM_SCHEMA, custom=bounds, positive={n: n + 1 for n in range(11)})
    push(
        server,
        *(
            series({"__name__": f"native_{n}", "job": "a"}, [one.sent(at_ms)])
            for n, one in enumerate(whole + floats)
        ),
        series({"__name__": "native_float", "job": "a"}, [sample(at_ms, 0.5)]),
    )
    if IS_NEW:
        body = request_v2(({"__name__": "native_own"}, [custom.sent(at_ms, 3)]))
        sent = f"{server.url}/api/v1/write"
        answer = requests.post(sent, data=snappy(body), headers=HEADERS_V2, timeout=10)
        assert answer.status_code == 204, answer.text

    pulled: Points = {}
    for block in client.read(QUERY, at_ms - 1000, at_ms + 1000):
        assert not len(block.histograms_ms)
        pulled |= points(block)
    assert (
        len({dict(labels)["__name__"] for labels in pulled})
        == 3 * (len(whole + floats) + IS_NEW) + 1
    )
    wait_until(
        lambda: taken.points().keys() >= pulled.keys(), deadline_seconds=60, what="all are sent"
    )
    assert taken.points() == pulled
