"""The loader as a process: real Redis, real influxd, faults at both ends of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from redis import Redis

from common.state.identity import Identity, IdentityRecord
from common.state.keys import POINTS, RAW, Keys
from common.state.ledger import Account, Ledger
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import Output, Settle
from common.state.windows import Feed, WindowSet
from devtools.servers.influx_server import InfluxServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from tests.doubles.influx_engine import ORG, TOKEN, Engine, error_response
from tests.doubles.influxdb2 import Fault, InfluxDB2
from tests.doubles.loading import payload

FEED = Feed("q", "hot", "select", "f")
BUCKET = "metrics"
NOW_MS = int(time.time() * 1000)


class World:
    """Points entries on one side, a database on the other, a loader between them."""

    def __init__(self, client: Redis, namespace: str, influx: InfluxServer) -> None:
        self.keys = Keys(namespace)
        self.influx = influx
        self.windows = WindowSet(client, self.keys)
        self.raw = RedisStream(client, self.keys, RAW, "test", outbound=POINTS)
        self.points = RedisStream(client, self.keys, POINTS, "test")
        self.raw.ensure()
        self.points.ensure()
        self.ledger = Ledger(client, self.keys)
        self.sent = 0

    def send(self, text: list[bytes], body: bytes | None = None) -> None:
        """One entry, as extractor and transformer would bring it about."""
        self.sent += 1
        self.windows.plan(FEED, 0, self.sent * 1000)
        window = self.windows.lease(FEED, "live", 10**9, 10**9)
        assert window is not None
        self.windows.commit(FEED, window, [self.windows.stage(b"raw", len(text), 60)])
        (entry,) = self.raw.read(1, 0.01)
        made = Output(payload(text) if body is None else body, len(text))
        assert self.raw.settle(entry, Settle(outputs=[made]), "transformer") is SettleResult.OK

    @property
    def account(self) -> Account:
        audit = self.ledger.audit()
        assert audit.imbalance_samples == 0
        return audit.accounts["q@hot"]

    def until_empty(self) -> Account:
        wait_until(
            lambda: self.account.in_flight == 0,
            deadline_seconds=30,
            what="every entry to be settled",
        )
        return self.account

    def count(self) -> int:
        series = self.influx.query("SELECT count(value) FROM /^(m|typed)$/", database=BUCKET)
        return sum(one["values"][0][1] for one in series)


@pytest.fixture
def world(
    redis_client: Redis, redis_namespace: str, make_influx: Callable[..., InfluxServer]
) -> World:
    influx = make_influx(databases=(BUCKET,), token="right-token")
    return World(redis_client, redis_namespace, influx)


@pytest.fixture
def start(
    world: World, redis_server: RedisServer, redis_namespace: str, tmp_path: Path, log_dir: Path
) -> Iterator[Callable[..., ServiceProcess]]:
    """``start(wait=True, **influxdb)`` → a loader process with such settings."""
    made: list[ServiceProcess] = []

    def make(
        *, wait: bool = True, dead_letters: dict[str, int] | None = None, **influxdb: Any
    ) -> ServiceProcess:
        sink = {"url": world.influx.url, "token": "right-token", "org": "o", "bucket": BUCKET}
        config = {
            "extract": {"prometheus_url": "http://127.0.0.1:1"},
            "load": {
                "influxdb": sink | {"timeout_seconds": 2} | influxdb,
                "backoff_base_seconds": 0.05,
                "backoff_max_seconds": 0.5,
                "circuit_open_seconds": 0.5,
            },
            "pipeline": {
                "redis_url": redis_server.plain_url,
                "redis_namespace": redis_namespace,
                "dead_letters": dead_letters or {},
            },
        }
        path = tmp_path / f"etl{len(made)}.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        process = ServiceProcess(
            "loader", tmp_path / f"loader{len(made)}", config=path, log_dir=log_dir
        )
        made.append(process)
        return process.start(wait=wait)

    yield make
    for process in made:
        process.close()


Start = Callable[..., ServiceProcess]


def series(count: int, first: int = 0) -> list[bytes]:
    return [b"m,n=%d value=%d.5 %d" % (i % 3, i, NOW_MS - i) for i in range(first, first + count)]


def metric(process: ServiceProcess, name: str) -> float:
    text = requests.get(f"{process.url}/metrics", timeout=5).text
    return sum(
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith((f"{name} ", f"{name}{{"))
    )


def test_a_rate_limit_slows_the_loader_down_and_loses_nothing(world: World, start: Start) -> None:
    process = start(rate_limit_bytes_per_second=16 << 10)
    for number in range(12):
        world.send(series(3000, 3000 * number))
        if number % 6 == 5:  # what comes together may be one post, which waits for nobody
            account = world.until_empty()
    assert (account.loaded, account.dead_lettered, world.count()) == (36_000, 0, 36_000)
    assert metric(process, "etl_sink_rate_limited_seconds_total") > 0


def test_it_loads_dead_letters_and_stops_with_balanced_books(world: World, start: Start) -> None:
    world.send([b"typed,n=1 value=1i %d" % NOW_MS])
    process = start()
    world.until_empty()
    world.send([*series(500), b"typed,n=1 value=1.5 %d" % NOW_MS])
    world.send(series(100, 500), b"junk")
    world.send(series(300, 600))
    account = world.until_empty()
    assert (account.extracted, account.loaded, account.dead_lettered) == (902, 801, 101)
    assert world.count() == 801
    wait_until(
        lambda: metric(process, "etl_loaded_samples_total") == 801,
        deadline_seconds=5,
        what="the counters, which rise after the books",
    )
    assert metric(process, "etl_dead_letters_total") == 2
    assert metric(process, "etl_sink_isolations_total") == 1
    assert process.stop() == 0
    log = process.log_path.read_text()
    assert "right-token" not in log
    assert "sink_points_isolated" in log


def test_it_survives_a_killed_a_stopped_and_a_restarted_sink(world: World, start: Start) -> None:
    process = start()
    for number in range(5):
        world.send(series(200, 200 * number))
    world.until_empty()
    world.influx.influxd.kill()
    for number in range(5, 10):
        world.send(series(200, 200 * number))
    wait_until(lambda: process.probe() is not None, deadline_seconds=20, what="not to be ready")
    world.influx.influxd.start()
    wait_until(lambda: process.probe() is None, deadline_seconds=20, what="to be ready again")
    assert world.until_empty().loaded == 2000
    world.influx.influxd.pause()
    for number in range(10, 15):
        world.send(series(200, 200 * number))
    wait_until(
        lambda: metric(process, "etl_sink_failures_total") > 0,
        deadline_seconds=20,
        what="a time-out",
    )
    world.influx.influxd.resume()
    account = world.until_empty()
    assert (account.loaded, account.dead_lettered, account.dropped) == (3000, 0, {})
    assert world.count() == 3000
    assert process.stop() == 0


def test_it_pauses_with_a_wrong_token_and_leaves_everything_to_one_with_the_right(
    world: World, start: Start
) -> None:
    world.send(series(50))
    wrong = start(wait=False, token="wrong-token")
    wait_until(
        lambda: "status 401" in (wrong.probe() or ""), deadline_seconds=20, what="the refusal"
    )
    wait_until(lambda: metric(wrong, "etl_sink_paused") == 1, deadline_seconds=20, what="the pause")
    assert world.account.in_flight == 50
    start()
    assert world.until_empty().loaded == 50
    assert wrong.stop() == 0


def test_a_sink_that_refuses_everything_costs_a_bounded_number_of_posts_and_no_point(
    world: World, start: Start
) -> None:
    """Tried before: 52,957 posts in 90 s, ready, nothing loaded, no event."""
    opaque = error_response(400, "invalid", "write buffer error: parsing for line protocol failed")
    with InfluxDB2(Engine(BUCKET)) as sink:
        sink.fault_for = lambda _: Fault(response=opaque)
        for number in range(5):
            world.send(series(2000, 2000 * number))
        process = start(wait=False, url=sink.url, token=TOKEN, org=ORG)
        wait_until(
            lambda: "parsing for line protocol failed" in (process.probe() or ""),
            deadline_seconds=20,
            what="a loader that is not ready, with the sink's words",
        )
        wait_until(
            lambda: metric(process, "etl_sink_paused") == 1, deadline_seconds=20, what="the pause"
        )
        noticed = len(sink.requests)
        assert noticed < 100
        wait_until(
            lambda: len(sink.requests) >= noticed + 5, deadline_seconds=20, what="five probes"
        )
        assert {len(request.lines) for request in sink.requests[noticed:]} == {1}
        assert world.account.in_flight == 10_000
        sink.fault_for = lambda _: None
        assert world.until_empty().loaded == 10_000
        assert process.stop() == 0


def one_of_20_in_conflict(world: World, rounds: int) -> None:
    """Entries of 20 measurements of 10 points each, of which one is refused."""
    for number in range(rounds):
        for measurement in range(19):
            at_ms = NOW_MS - 1000 * number
            world.send([b"m,n=%d value=%d.5 %d" % (measurement, i, at_ms - i) for i in range(10)])
        world.send([b"typed,n=%d value=1.5 %d" % (i, NOW_MS - number) for i in range(10)])


def test_at_the_cap_of_the_dead_letters_all_others_go_on(world: World, start: Start) -> None:
    """Tried before: the other 19 stopped, and the log had two lines a second."""
    world.send([b"typed,n=1 value=1i %d" % NOW_MS])
    process = start(dead_letters={"max_entries": 2, "sample_entries": 0})
    world.until_empty()

    one_of_20_in_conflict(world, rounds=6)
    wait_until(lambda: world.account.loaded == 1 + 6 * 190, deadline_seconds=30, what="the others")

    wait_until(
        lambda: metric(process, "etl_dead_letters_held_total") >= 4,
        deadline_seconds=10,
        what="entries that wait",
    )
    account = world.account
    assert (account.dead_lettered, account.in_flight) == (20, 40)
    assert process.probe() is None
    log = process.log_path.read_text()
    assert log.count("dead_letters_full") == 1
    assert metric(process, "etl_pauses_total") == 0
    assert process.stop() == 0


def test_what_is_refused_again_and_again_reaches_no_cap_and_costs_few_posts(
    world: World, start: Start
) -> None:
    world.send([b"typed,n=1 value=1i %d" % NOW_MS])
    process = start(dead_letters={"max_entries": 3, "sample_entries": 2})
    world.until_empty()

    one_of_20_in_conflict(world, rounds=10)

    account = world.until_empty()
    assert (account.loaded, account.dead_lettered) == (1 + 10 * 190, 100)
    wait_until(
        lambda: metric(process, "etl_sink_untried_samples_total") >= 50,
        deadline_seconds=5,
        what="lines that were not tried",
    )
    assert process.stop() == 0


def test_it_takes_nothing_of_a_pipeline_with_another_sink(
    world: World, start: Start, redis_client: Redis
) -> None:
    world.send(series(50))
    theirs = Identity("http://127.0.0.1:1", "http://elsewhere org o bucket b")
    IdentityRecord(redis_client, world.keys).accept(theirs)
    process = start(wait=False)
    wait_until(
        lambda: "belongs to another pipeline" in (process.probe() or ""),
        deadline_seconds=20,
        what="the reason",
    )
    assert world.account.in_flight == 50
    sink = f"{world.influx.url} org o bucket {BUCKET}"
    IdentityRecord(redis_client, world.keys).accept(Identity("http://127.0.0.1:1", sink))
    assert world.until_empty().loaded == 50
    assert process.stop() == 0


def test_a_token_that_cannot_be_sent_is_one_line_and_exit_code_2(
    world: World, start: Start
) -> None:
    process = start(wait=False, token="snow-☃")
    assert process.wait(20) == 2
    log = process.log_path.read_text(encoding="utf-8")
    assert "load.influxdb.token: has characters that no HTTP header can carry" in log
    assert "☃" not in log
    assert "Traceback" not in log
