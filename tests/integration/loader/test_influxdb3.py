"""The loader on InfluxDB 3: the stand-in, and a real one where the environment names one.

``ETL_TEST_INFLUXDB3_URL`` and ``ETL_TEST_INFLUXDB3_TOKEN_FILE`` (an admin token) name the real one.
Its databases are deleted afterwards; it must have room for one more.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from common.state.verdict import Pause, Settle
from devtools.servers.waiting import wait_until
from services.loader.influx import InfluxSink
from services.loader.read_check import ReadCheck
from services.loader.responses import Kind
from services.loader.watermark import MEASUREMENT, WatermarkReader
from tests.doubles.influx_engine import Bucket, Engine
from tests.doubles.influxdb2 import InfluxDB2
from tests.doubles.influxdb3 import Engine3, InfluxDB3
from tests.doubles.loading import entry, load_settings, payload, tier
from tests.integration.loader.worlds import Loading, Place, Points

NOW_MS = int(time.time() * 1000) // 60_000 * 60_000
HOUR_MS = 3_600_000


class World3(Place):
    """An InfluxDB 3 with a name for a database."""

    def __init__(self) -> None:
        self.bucket = f"b{uuid.uuid4().hex[:10]}"


class StandIn(World3):
    def __init__(self, server: InfluxDB3) -> None:
        super().__init__()
        self.server = server
        self.url = server.url

    def create(self, retention_seconds: int) -> None:
        self.server.engine.buckets[self.bucket] = Bucket(retention_seconds)

    def points(self) -> Points:
        found = self.server.engine.buckets[self.bucket].points
        return {(key[0], key[1], key[3]): value for key, value in found.items()}


class Real3(World3):
    def __init__(self, url: str, token: str) -> None:
        super().__init__()
        self.url, self.token = url, token

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, self.url + path, headers=headers, timeout=30, **options)

    def create(self, retention_seconds: int) -> None:
        document = {"db": self.bucket, "retention_period": f"{retention_seconds}s"}
        answer = self._ask("POST", "/api/v3/configure/database", json=document)
        assert answer.status_code == 200, answer.text

    def points(self) -> Points:
        statement = "SELECT value FROM /.*/ GROUP BY *"
        query = {"db": self.bucket, "q": statement, "epoch": "ms"}
        found: Points = {}
        for series in self._ask("GET", "/query", params=query).json()["results"][0]["series"]:
            tags = tuple(sorted((k, v) for k, v in series.get("tags", {}).items() if v))
            for at_ms, value in series["values"]:
                found[series["name"], tags, at_ms] = value
        return found

    def forget(self) -> None:
        query = {"db": self.bucket, "hard_delete_at": "now"}
        self._ask("DELETE", "/api/v3/configure/database", params=query)


World = StandIn | Real3
REAL = ["real 3"] if "ETL_TEST_INFLUXDB3_URL" in os.environ else []


@pytest.fixture(params=["stand-in 3", *REAL])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "real 3":
        file = Path(os.environ["ETL_TEST_INFLUXDB3_TOKEN_FILE"])
        token = file.read_text(encoding="utf-8").strip()
        real = Real3(os.environ["ETL_TEST_INFLUXDB3_URL"].rstrip("/"), token)
        yield real
        real.forget()
    else:
        with InfluxDB3(Engine3()) as server:
            yield StandIn(server)


@pytest.fixture
def load(world: World) -> Iterator[Callable[..., Loading]]:
    """``load(**settings)`` → a handler that writes to the world's database."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Loading:
            loading = Loading(world, **settings)
            stack.callback(loading.handler.close)
            return loading

        yield make


Load = Callable[..., Loading]


def series(count: int, measurement: str = "m", at_ms: int = NOW_MS) -> list[bytes]:
    """Lines of different values, a millisecond apart."""
    return [
        b"%s,n=%d value=%d.25 %d" % (measurement.encode(), i % 5, i, at_ms - i)
        for i in range(count)
    ]


def meant(text: list[bytes]) -> Points:
    found: Points = {}
    for line in text:
        key, value, at_ms = line.split(b" ")
        measurement, tag = key.decode().split(",")
        name, _, tag_value = tag.partition("=")
        found[measurement, ((name, tag_value),), int(at_ms)] = float(value.split(b"=")[1])
    return found


def test_entries_are_written_to_a_database_that_the_first_write_makes(
    world: World, load: Load
) -> None:
    loading = load()
    assert loading.handler.check() is None, "an empty write would be taken"
    text = series(1200)
    entries = [entry(str(i), text[i : i + 200]) for i in range(0, 1200, 200)]
    for _ in range(2):
        assert loading.handle(*entries) == [Settle(loaded=200)] * 6
        assert world.points() == meant(text)
    assert loading.posts("written") == 2


def test_many_refused_lines_cost_two_posts(world: World, load: Load) -> None:
    """By the path of InfluxDB 2 it was halved down to each of them."""
    text = series(5000)
    conflicts = {place: b"m,n=1 value=7i %d" % (NOW_MS - place) for place in range(1, 4000, 8)}
    conflicts |= dict.fromkeys(range(4, 4800, 48), b"m,n=1 value=oops 1")
    for place, line in conflicts.items():
        text[place] = line
    loading = load()
    verdicts = loading.handle(entry("1", text[:2500]), entry("2", text[2500:]))
    assert len(conflicts) == 600
    settled = [verdict for verdict in verdicts if isinstance(verdict, Settle)]
    assert sum(verdict.loaded for verdict in settled) == 4400
    letters = [one for verdict in settled for one in verdict.dead]
    refused = [line for one in letters for line in one.payload.splitlines()]
    assert sorted(refused) == sorted(conflicts.values())
    assert {one.reason for one in letters} == {"rejected"}
    assert world.points() == meant([line for line in text if line not in conflicts.values()])
    assert loading.posts("points") + loading.posts("written") == 2


def test_a_line_that_the_server_counts_otherwise_is_found_by_a_search(
    world: World, load: Load
) -> None:
    """A comment is no line for it (nor ever one of ours), so its numbers would blame another."""
    text = [*series(40)[:20], b"# no line", b"m,n=1 value=oops 1", *series(40)[20:]]
    (verdict,) = load().handle(entry("1", text))
    assert isinstance(verdict, Settle)
    refused = [line for one in verdict.dead for line in one.payload.splitlines()]
    assert refused == [text[21]]
    assert world.points() == meant(series(40))


@pytest.mark.parametrize("configured", [True, False])
def test_what_would_vanish_is_not_posted(world: World, load: Load, configured: bool) -> None:
    """Old lines behind a young first line too: the server takes them and forgets them."""
    world.create(24 * 3600)
    tiers = {"tiers": {"hot": tier(world.bucket, 48 * 3600)}} if configured else {}
    loading = load(**tiers)
    text = [*series(100), *series(50, "old", NOW_MS - 30 * HOUR_MS), *series(100, "new")]
    assert loading.handle(entry("1", text), entry("2", series(10, "young"))) == [
        Settle(loaded=200, drops={"beyond_retention": 50}),
        Settle(loaded=10),
    ]
    assert world.points() == meant(series(100) + series(100, "new") + series(10, "young"))


@pytest.mark.parametrize("configured", [True, False])
def test_a_retention_that_the_token_may_not_read_is_told(configured: bool) -> None:
    """Once, with what the configuration knows; a point too old for both is dropped, else lost."""
    engine = Engine3()
    with InfluxDB3(engine) as server, ExitStack() as stack:
        world = StandIn(server)
        world.create(24 * 3600)
        engine.tells_retention = False
        tiers = {"tiers": {"hot": tier(world.bucket, 24 * 3600)}} if configured else {}
        loading = Loading(world, **tiers)
        stack.callback(loading.handler.close)
        said = "InfluxDB does not say how long it keeps points: status 403: "
        text = [*series(10), *series(5, "old", NOW_MS - 30 * HOUR_MS)]
        dropped = Settle(loaded=10, drops={"beyond_retention": 5})
        for number in range(2):
            assert loading.handle(entry(str(number), text)) == [
                dropped if configured else Settle(loaded=15)
            ]
        assert world.points() == meant(series(10)), "what is too old vanishes"
        ok, remark = loading.remarks["sink_retention"]
        assert ok
        assert remark.startswith(said)
        assert remark.endswith("load.tiers for hot: what is too old vanishes") is not configured
        labels = {"tier": "hot", "configured": str(configured).lower()}
        assert loading.registry.get_sample_value("etl_sink_retention_unknown", labels) == 1

        engine.tells_retention = True

        def asked_again() -> bool:
            loading.handle(entry("2", text))
            return loading.remarks["sink_retention"] == (True, "")

        wait_until(asked_again, deadline_seconds=20, what="the loader asks again")
        assert loading.handle(entry("3", text)) == [dropped]
        assert loading.registry.get_sample_value("etl_sink_retention_unknown", labels) == 0


def test_a_wrong_token_pauses_and_is_known_beforehand(world: World, load: Load) -> None:
    loading = load(token="apiv3_wrong")
    reason = loading.handler.check()
    assert reason is not None
    assert "status 401" in reason
    (verdict,) = loading.handle(entry("1", series(5)))
    assert isinstance(verdict, Pause)
    assert load().handle(entry("1", series(5))) == [Settle(loaded=5)]


def test_a_body_too_large_is_halved(world: World, load: Load) -> None:
    body_bytes = 10_485_760
    if isinstance(world, StandIn):  # which reads slowly
        world.server.engine.max_inflated_bytes = body_bytes = 50_000
    label = b"x" * (body_bytes // 500)
    text = [b"m,n=%s value=%d.5 %d" % (label, i, NOW_MS - i) for i in range(600)]
    loading = load(group_samples=10_000)
    assert loading.handle(entry("1", text)) == [Settle(loaded=600)]
    assert (loading.posts("too_large"), loading.posts("written")) == (1, 2)


def test_a_damaged_body_is_unreadable(world: World) -> None:
    settings = load_settings(world.url, token=world.token, bucket=world.bucket)
    sink = InfluxSink(settings.influxdb, connections=1)
    body = payload(series(50))
    for damaged in (body[:-20], body[:30] + b"\xff" * 10 + body[40:]):
        assert sink.write(world.bucket, damaged).kind is Kind.UNREADABLE
    sink.close()


@pytest.mark.parametrize("language", ["influxql", "sql"])
def test_the_watermark_of_a_database_that_is_not_there_yet_is_none(
    world: World, language: str
) -> None:
    settings = load_settings(world.url, token=world.token, bucket=world.bucket)
    asked = settings.influxdb.model_copy(update={"query_language": language})
    reader = WatermarkReader(asked, "etl")
    sink = InfluxSink(settings.influxdb, connections=1)
    assert reader.read(world.bucket, "q", "hot") is None
    assert sink.write(world.bucket, payload(series(5))).kind is Kind.WRITTEN
    assert reader.read(world.bucket, "q", "hot") is None
    line = f"{MEASUREMENT},pipeline=etl,query=q,tier=hot value={NOW_MS}.0 {NOW_MS}"
    assert sink.write(world.bucket, payload([line.encode()])).kind is Kind.WRITTEN
    assert reader.read(world.bucket, "q", "hot") == NOW_MS
    check = ReadCheck(reader, sink, [world.bucket])
    check()
    reader.close()
    sink.close()


def test_a_limit_concerns_only_its_own_lines() -> None:
    engine = Engine3()
    engine.max_tables = 3
    with InfluxDB3(engine) as server:
        world = StandIn(server)
        loading = Loading(world)
        new = series(20, "one_more")
        text = [*series(30), *series(30, "b"), *series(30, "c"), *new[:10], *series(9, "c")]
        text += new[10:]
        (verdict,) = loading.handle(entry("1", text))
        loading.handler.close()
        assert isinstance(verdict, Settle)
        (letter,) = verdict.dead
        assert (verdict.loaded, letter.reason) == (99, "limit")
        assert sorted(letter.payload.splitlines()) == sorted(new)
        assert loading.registry.get_sample_value("etl_sink_paused") == 0


def test_a_limit_on_databases_pauses() -> None:
    with InfluxDB3(Engine3("a", "b", "c", "d", "e")) as server:
        loading = Loading(StandIn(server))
        (verdict,) = loading.handle(entry("1", series(5)))
        loading.handler.close()
        assert isinstance(verdict, Pause)
        assert "limit of 5 databases" in verdict.reason


def test_another_server_at_the_same_address_is_recognised_by_the_next_probe() -> None:
    with InfluxDB3(Engine3()) as three, InfluxDB2(Engine("hot")) as two:
        settings = load_settings(three.url)
        sink = InfluxSink(settings.influxdb, connections=1)
        assert sink.write("hot", payload(series(5))).kind is Kind.WRITTEN
        three.write_paths = ("/api/v2/write",)  # as if 2 stood there
        assert sink.write("hot", payload(series(5))).kind is Kind.MISSING
        sink.addresses.urls = (two.url,)
        assert sink.probe("hot").kind is Kind.WRITTEN
        assert sink.write("hot", payload(series(5))).kind is Kind.WRITTEN
        sink.close()
    assert len(two.requests) == 1
