"""A sink with several URLs: another takes over, the first comes back, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from redis import Redis

from common.config import InfluxSettings
from common.state.verdict import Retry, Settle
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import DEFAULT_MAX_BODY_BYTES, Front, InfluxServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from services.loader.influx import InfluxSink
from services.loader.read_check import ReadCheck
from services.loader.responses import Kind
from services.loader.watermark import WatermarkReader
from tests.doubles.influx_engine import ORG, TOKEN, Engine, error_response
from tests.doubles.influxdb2 import Fault, InfluxDB2
from tests.doubles.loading import BUCKET, entry, lines, payload
from tests.integration.loader.test_process import BUCKET as DATABASE
from tests.integration.loader.test_process import NOW_MS, World
from tests.integration.loader.worlds import Loading, Place

AWAY = "http://127.0.0.1:9"  # discard: nobody listens
FAILURES = 2


class Cluster(Place):
    """Two servers with the same points."""

    def __init__(self, first: InfluxDB2, second: InfluxDB2) -> None:
        self.first, self.second = first, second
        self.url, self.bucket = first.url, BUCKET

    def loading(self, **settings: Any) -> Loading:
        urls = (self.first.url, self.second.url)
        quick = {"timeout_seconds": 1, "circuit_failures": FAILURES, "connections": 1}
        return Loading(self, urls=urls, **(quick | settings))

    @property
    def points(self) -> int:
        return len(self.first.engine.buckets[BUCKET].points)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    engine = Engine(BUCKET)
    with InfluxDB2(engine) as first, InfluxDB2(engine) as second:
        yield Cluster(first, second)


FAULTS = {
    "500": Fault(response=error_response(500, "internal error", "boom")),
    "503": Fault(response=error_response(503, "unavailable", "not now")),
    "reset": Fault(reset_after_bytes=10),
    "written, and its answer lost": Fault(lose_response=True),
    "hangs": Fault(hang=True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_url_takes_over_after_failures_in_a_row(cluster: Cluster, fault: str) -> None:
    loading = cluster.loading(timeout_seconds=0.3 if fault == "hangs" else 5)
    cluster.first.faults.extend([FAULTS[fault]] * FAILURES)
    one = entry("1-0", lines(20))

    verdicts = [loading.handle(one)[0] for _ in range(FAILURES)]
    assert [type(verdict) for verdict in verdicts] == [Retry] * FAILURES
    (settled,) = loading.handle(one)

    assert isinstance(settled, Settle)
    assert (settled.loaded, settled.dead, cluster.points) == (20, (), 20)
    assert loading.sink.addresses.url == cluster.second.url
    assert loading.registry.get_sample_value("etl_sink_url_changes_total") == 1
    remark = f"{cluster.first.url} does not serve us: {cluster.second.url} is used"
    assert loading.remarks["sink_url"] == (True, remark)
    cluster.first.release()
    loading.handler.close()


def test_the_first_is_used_again_when_it_is_back(cluster: Cluster) -> None:
    loading = cluster.loading(return_to_first_seconds=0.01)
    cluster.first.fault_for = lambda _: FAULTS["500"]
    for number in range(FAILURES + 1):
        loading.handle(entry(f"{number}-0", lines(20)))
    assert loading.sink.addresses.url == cluster.second.url
    cluster.first.fault_for = lambda _: None

    wait_until(
        lambda: loading.handler.check() is None and loading.sink.addresses.url == cluster.first.url,
        deadline_seconds=10,
        what="the return to the first",
    )

    assert loading.remarks["sink_url"] == (True, "")
    before = len(cluster.first.requests)
    loading.handle(entry("9-0", lines(20)))
    assert len(cluster.first.requests) == before + 1
    loading.handler.close()


def test_no_point_becomes_a_dead_letter_however_often_both_fail(cluster: Cluster) -> None:
    loading = cluster.loading(circuit_open_seconds=1)
    servers = (cluster.first, cluster.second)
    settled = 0
    for number in range(12):
        servers[number % 2].fault_for = lambda _: FAULTS["500"]
        servers[1 - number % 2].fault_for = lambda _: None
        one = entry(f"{number}-0", lines(20, start=20 * number))
        verdict: Any = None
        for _ in range(4 * FAILURES):
            (verdict,) = loading.handle(one)
            if isinstance(verdict, Settle):
                break
            loading.now += 1.1
        assert isinstance(verdict, Settle)
        assert not verdict.dead
        settled += verdict.loaded
    assert settled == cluster.points == 240
    loading.handler.close()


def test_a_refusal_is_of_the_whole_sink(cluster: Cluster) -> None:
    loading = cluster.loading(token="wrong")
    for _ in range(2 * FAILURES):
        loading.handle(entry("1-0", lines(20)))
    assert loading.handler.check() is not None
    assert loading.sink.addresses.url == cluster.first.url
    loading.handler.close()


def test_a_check_and_reading_back_find_the_one_that_serves(cluster: Cluster) -> None:
    settings = InfluxSettings(
        urls=(AWAY, cluster.second.url), url=AWAY, org=ORG, bucket=BUCKET, token=TOKEN
    )
    with closing(InfluxSink(settings, connections=1, own_failover=False)) as sink:
        assert sink.write(BUCKET, payload(lines(1))).kind is Kind.FAILED  # counted by others
        assert sink.probe(BUCKET).kind is Kind.WRITTEN
        assert sink.write(BUCKET, payload(lines(1))).kind is Kind.WRITTEN
    reader, sink = WatermarkReader(settings, "etl"), InfluxSink(settings, connections=1)
    with closing(ReadCheck(reader, sink, [BUCKET])) as check:
        check()


def test_where_none_serves_the_error_is_that_of_the_last() -> None:
    settings = InfluxSettings(urls=(AWAY, f"{AWAY}/x"), url=AWAY, org=ORG, bucket=BUCKET)
    with closing(InfluxSink(settings, connections=1)) as sink:
        outcome = sink.write(BUCKET, payload(lines(1)))
    assert (outcome.cause, outcome.url) == ("no_connection", f"{AWAY}/x")


def test_a_node_that_is_killed_under_load(
    redis_client: Redis,
    redis_server: RedisServer,
    redis_namespace: str,
    make_influx: Callable[..., InfluxServer],
    toolbox: Toolbox,
    tmp_path: Path,
    log_dir: Path,
) -> None:
    influx = make_influx(databases=(DATABASE,), token="right-token")
    world = World(redis_client, redis_namespace, influx)
    second = Front(
        toolbox,
        tmp_path / "second",
        influx.influxd,
        name="influxdb-second",
        log_dir=log_dir,
        token="right-token",
        tenant=None,
        max_body_bytes=DEFAULT_MAX_BODY_BYTES,
        port=None,
    )
    config = {
        "extract": {"prometheus_url": "http://127.0.0.1:1"},
        "load": {
            "influxdb": {
                "urls": [influx.url, second.url],
                "token": "right-token",
                "org": "o",
                "bucket": DATABASE,
                "timeout_seconds": 2,
            },
            "backoff_base_seconds": 0.05,
            "backoff_max_seconds": 0.5,
            "circuit_failures": 3,
        },
        "pipeline": {"redis_url": redis_server.plain_url, "redis_namespace": redis_namespace},
    }
    path = tmp_path / "etl.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    loader = ServiceProcess("loader", tmp_path / "loader", config=path, log_dir=log_dir)
    sent = 0
    try:
        second.start()
        loader.start()
        for number in range(40):
            world.send(lines(50, start=50 * number, at_ms=NOW_MS - 10_000))
            sent += 50
            if number == 10:
                influx.front.kill()
        account = world.until_empty()

        assert (account.loaded, account.dead_lettered, account.dropped) == (sent, 0, {})
        assert world.count() == sent
        assert (
            "etl_sink_url_changes_total 1.0"
            in requests.get(f"{loader.url}/metrics", timeout=5).text
        )
        assert second.url in requests.get(f"{loader.url}/health", timeout=5).text
    finally:
        loader.close()
        second.close()
