"""Seals on real InfluxDB and Redis: written, replaced, expired, and kept while they cannot be."""

from __future__ import annotations

import gzip
import threading
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis import Redis

from common.config import InfluxSettings
from common.errors import SinkError
from common.runtime.telemetry import Telemetry
from common.samples.seal import Digest
from common.state.keys import POINTS, RAW, Keys
from common.state.seals import PAGE_SEALS, Seals
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import Output, Settle
from common.state.windows import Feed, WindowSet
from devtools.servers.influx_server import InfluxServer
from services.loader.influx import InfluxSink
from services.loader.responses import Kind, Outcome
from services.loader.sealing.configurations import Configurations
from services.loader.sealing.seals import MEASUREMENT, SealKeeper

KEYS = Keys("sealing")
FEED = Feed("raw", "hot", "select", "f")
STEP_MS = 60_000
# The end of the first window: young enough for a sink that keeps a day.
FIRST_MS = (int(time.time()) - 7200) // 60 * 60_000
TOLD = Digest(3, (2**64 - 1, 5))


class World:
    def __init__(self, redis: Redis, influx: InfluxServer, database: str) -> None:
        self.redis, self.influx, self.database = redis, influx, database
        self.windows = WindowSet(redis, KEYS, max_open=10**6)
        self.seals = Seals(redis, KEYS)
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry("loader", self.registry)
        self.keeper = self.make_keeper()

    def make_keeper(self, **settings: Any) -> SealKeeper:
        values = {"url": self.influx.url, "token": SecretStr("any"), "org": "o"}
        values |= {"bucket": self.database, "timeout_seconds": 5} | settings
        return SealKeeper(
            self.seals,
            Configurations(self.redis, KEYS),
            InfluxSink(InfluxSettings(**values), connections=1),
            KEYS.namespace,
            {"hot": self.database},
            self.telemetry,
            threading.Event(),
            every_seconds=0.01,
            holder="one",
        )

    def commit(self, end_ms: int, samples: int = 0, feed: Feed = FEED) -> None:
        """Commit the window that ends then, once more if it was."""
        self.windows.plan(feed, end_ms - STEP_MS, end_ms)
        self.windows.reopen(feed, end_ms - STEP_MS, end_ms)
        window = self.windows.lease(feed, "live", 10**13, STEP_MS)
        assert window is not None and window.end_ms == end_ms
        staged = [self.windows.stage(b"a", samples, 60)] if samples else []
        assert self.windows.commit(feed, window, staged) == "committed"

    def load(self, digest: Digest | None) -> None:
        """Transform and load what was committed."""
        raw = RedisStream(self.redis, KEYS, RAW, "t", outbound=POINTS)
        points = RedisStream(self.redis, KEYS, POINTS, "l")
        for stream in (raw, points):
            stream.ensure()
        for entry in raw.read(100, 0.01):
            verdict = Settle(outputs=[Output(b"x", entry.samples, digest)])
            assert raw.settle(entry, verdict, "transformer") is SettleResult.OK
        for entry in points.read(100, 0.01):
            verdict = Settle(loaded=entry.samples, digest=digest)
            assert points.settle(entry, verdict, "loader") is SettleResult.OK

    def stored(self) -> list[dict[str, Any]]:
        """The seals that the sink holds, in order of their time."""
        found = []
        for series in self.influx.query(
            f'SELECT * FROM "{MEASUREMENT}"', database=self.database, epoch="ms"
        ):
            found += [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]
        return found

    def due(self) -> int:
        return int(self.redis.hlen(KEYS.seals_due))

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


@pytest.fixture
def world(redis_client: Redis, influx_server: InfluxServer, influx_database: str) -> World:
    return World(redis_client, influx_server, influx_database)


def test_a_seal_goes_to_the_sink_as_it_is_and_is_due_no_more(world: World) -> None:
    world.commit(FIRST_MS, samples=3)
    world.keeper.turn()
    assert world.stored() == []

    world.load(TOLD)
    (due,) = next(world.seals.pages())
    world.keeper.turn()

    assert world.stored() == [
        {
            "time": FIRST_MS,
            "pipeline": "sealing",
            "query": "raw",
            "tier": "hot",
            "start_ms": FIRST_MS - STEP_MS,
            "points": 3,
            "digest": TOLD.text,
            "sealed_ms": due.sealed_ms,
            "window": due.window,
        }
    ]
    assert world.due() == 0
    assert world.metric("etl_seals_written_total") == 1
    assert world.metric("etl_seals_unknown_total") == 0


def test_a_later_extraction_takes_the_place_and_an_unknown_one_too(world: World) -> None:
    world.commit(FIRST_MS, samples=3)
    world.load(TOLD)
    world.keeper.turn()
    world.commit(FIRST_MS)
    world.keeper.turn()
    (found,) = world.stored()
    assert (found["points"], found["digest"]) == (0, "0" * 32)

    world.commit(FIRST_MS, samples=3)
    world.load(None)
    world.keeper.turn()

    (found,) = world.stored()
    assert (found["points"], found["digest"]) == (0, "unknown")
    assert world.metric("etl_seals_unknown_total") == 1


def test_what_was_replayed_lies_beside_the_seal(world: World) -> None:
    world.commit(FIRST_MS)
    fields = {f"raw@hot {FIRST_MS} replay": f"{FIRST_MS - STEP_MS} 3 {TOLD.text} 9 w1"}
    world.redis.hset(KEYS.seals_due, mapping=fields)  # type: ignore[arg-type]

    world.keeper.turn()

    assert sorted((one["part"] or "", one["points"]) for one in world.stored()) == [
        ("", 0),
        ("replay", 3),
    ]


def test_thousands_go_in_a_few_bodies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 2 * PAGE_SEALS + 10
    value = f"0 0 {'0' * 32} 9 w1"
    many: Any = {f"raw@hot {FIRST_MS + n}": value for n in range(count)}
    world.redis.hset(KEYS.seals_due, mapping=many)
    posts: list[bytes] = []
    write = world.keeper.sink.write

    def counted(bucket: str, body: bytes) -> Outcome:
        posts.append(body)
        return write(bucket, body)

    monkeypatch.setattr(world.keeper.sink, "write", counted)

    world.keeper.turn()

    assert (len(world.stored()), world.due()) == (count, 0)
    assert len(posts) <= 4


@pytest.mark.parametrize("older", [1, 7])
def test_what_the_sink_keeps_no_more_is_forgotten_and_the_rest_is_written(
    redis_client: Redis, influx_server: InfluxServer, influx_database: str, older: int
) -> None:
    database = f"{influx_database}_day"
    influx_server.create_database(database, retention_seconds=86_400)
    world = World(redis_client, influx_server, database)
    ancient_ms = FIRST_MS - 30 * 86_400_000
    for end_ms in (ancient_ms, FIRST_MS):
        for n in range(older if end_ms == ancient_ms else 5):
            world.commit(end_ms + n * STEP_MS, feed=Feed(f"q{n}", "hot", "select", "f"))

    world.keeper.turn()

    assert [one["time"] for one in world.stored()] == [FIRST_MS + n * STEP_MS for n in range(5)]
    assert world.due() == 0
    assert world.metric("etl_seals_expired_total") == older


def test_a_sink_that_refuses_or_is_away_loses_none(world: World) -> None:
    world.commit(FIRST_MS)
    away = world.make_keeper(url="http://127.0.0.1:9")
    with pytest.raises(SinkError, match="were not written"):
        away.turn()
    typed = f'{MEASUREMENT} points="no number" {FIRST_MS}\n'
    outcome = world.keeper.sink.write(world.database, gzip.compress(typed.encode()))
    assert outcome.kind is Kind.WRITTEN
    with pytest.raises(SinkError, match="field type conflict"):
        world.keeper.turn()
    assert world.due() == 1

    world.influx.query(f'DROP MEASUREMENT "{MEASUREMENT}"', database=world.database)
    world.keeper.turn()

    assert (len(world.stored()), world.due()) == (1, 0)


@pytest.mark.parametrize("error", [SinkError("away"), ValueError("odd")])
def test_a_failure_is_told_and_the_next_turn_writes(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world.commit(FIRST_MS)
    write = world.keeper.sink.write
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(
        world.keeper.telemetry,
        "emit",
        lambda event, *_, **fields: told.append((event, fields["error"])),
    )

    def failing(bucket: str, body: bytes) -> Outcome:
        if not told:
            raise error
        world.keeper.stop.set()
        return write(bucket, body)

    monkeypatch.setattr(world.keeper.sink, "write", failing)
    world.keeper.run()

    (event, said) = told[0]
    assert (len(told), event) == (1, "seals_failed")
    assert str(error) in said
    assert (len(world.stored()), world.due()) == (1, 0)


def test_a_seal_that_changed_while_it_was_written_is_due_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.commit(FIRST_MS)
    write = world.keeper.sink.write

    def meanwhile(bucket: str, body: bytes) -> Outcome:
        outcome = write(bucket, body)
        world.commit(FIRST_MS, samples=3)
        world.load(TOLD)
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(world.keeper.sink, "write", meanwhile)
        world.keeper.turn()
    assert world.due() == 1

    world.keeper.turn()

    assert [one["digest"] for one in world.stored()] == [TOLD.text]


def test_one_loader_alone_writes_until_it_is_gone(world: World) -> None:
    other = world.make_keeper()
    other.holder = "other"
    world.keeper.turn()
    world.commit(FIRST_MS)

    other.turn()
    assert world.due() == 1

    world.redis.delete(KEYS.seals_writer)  # its lease has run out
    other.turn()
    assert world.due() == 0
    world.commit(FIRST_MS)
    world.keeper.turn()
    assert world.due() == 1
    assert 0 < world.redis.pttl(KEYS.seals_writer) <= 120_000


def test_seals_of_a_tier_without_a_bucket_wait(world: World) -> None:
    world.commit(FIRST_MS, feed=Feed("raw", "cold", "select", "f"))
    world.commit(FIRST_MS)

    world.keeper.turn()

    assert (len(world.stored()), world.due()) == (1, 1)


def test_a_bucket_that_takes_nothing_keeps_no_other_tier_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = Feed("raw", "cold", "select", "f")
    refused = True
    asked: list[str] = []
    write = world.keeper.sink.write

    def judge(bucket: str, body: bytes) -> Outcome:
        asked.append(bucket)
        if bucket == "refused" and refused:
            return Outcome(Kind.REFUSED, "unauthorized access", "refused", 401)
        return write(world.database, body)

    monkeypatch.setattr(world.keeper.sink, "write", judge)
    world.keeper.buckets = {"cold": "refused", "hot": world.database}
    for feed in (cold, FEED):
        world.windows.plan(feed, FIRST_MS - STEP_MS, FIRST_MS, adopt=True, configuration="c")
        world.commit(FIRST_MS, feed=feed)

    with pytest.raises(SinkError, match="unauthorized access"):
        world.keeper.turn()

    assert [one["tier"] for one in world.stored()] == ["hot"]
    assert world.due() == 1
    assert asked.count("refused") == 1, "once in a turn"
    assert asked.count(world.database) == 2, "the seal, and what is in force"
    refused = False
    world.keeper.turn()
    assert sorted(one["tier"] for one in world.stored()) == ["cold", "hot"]
    assert world.due() == 0
    assert asked.count("refused") == 3
    assert asked.count(world.database) == 2


def test_the_configurations_of_a_bucket_that_takes_none_keep_no_other_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = Feed("raw", "cold", "select", "f")
    written: list[str] = []
    refused = True

    def judge(bucket: str, body: bytes) -> Outcome:
        if bucket == "refused" and refused:
            return Outcome(Kind.REFUSED, "unauthorized access", "refused", 401)
        written.append(bucket)
        return Outcome(Kind.WRITTEN, "", status=204)

    monkeypatch.setattr(world.keeper.sink, "write", judge)
    world.keeper.buckets = {"cold": "refused", "hot": world.database}
    for feed in (cold, FEED):
        world.windows.plan(feed, FIRST_MS - STEP_MS, FIRST_MS, adopt=True, configuration="c")
    for _ in range(2):
        with pytest.raises(SinkError, match="came into force were not written: unauthorized"):
            world.keeper.turn()
    assert written == [world.database]
    refused = False
    world.keeper.turn()
    assert written == [world.database, "refused"], "it is not taken for written"


def test_what_waits_is_not_read_through_while_no_bucket_takes_any(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = f"0 0 {'0' * 32} 9 w1"
    many: Any = {f"raw@hot {FIRST_MS + n}": value for n in range(10 * PAGE_SEALS)}
    world.redis.hset(KEYS.seals_due, mapping=many)
    pages = world.seals.pages
    read: list[int] = []

    def counted() -> Any:
        for page in pages():
            read.append(len(page))
            yield page

    monkeypatch.setattr(world.seals, "pages", counted)
    with pytest.raises(SinkError):
        world.make_keeper(url="http://127.0.0.1:9").turn()

    assert len(read) <= 2
