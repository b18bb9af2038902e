"""One contract, two sinks: a real influxd 1.6 behind InfluxDB 2's write path, and the fake 2.x.

A third where ``ETL_TEST_INFLUXDB2_URL`` names one: a real InfluxDB 2.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from common.state.verdict import Pause, Settle, Verdict
from devtools.servers.influx_server import InfluxServer
from tests.doubles.influx_engine import Engine
from tests.doubles.influx_management import a_place, an_influx
from tests.doubles.influxdb2 import InfluxDB2
from tests.doubles.loading import entry, tier
from tests.integration.loader.worlds import Fake, Influxd, Loading, Points, Real, World

NOW_MS = int(time.time() * 1000) // 60_000 * 60_000
HOUR_MS = 3_600_000


REAL = ["real 2.x"] if "ETL_TEST_INFLUXDB2_URL" in os.environ else []


@pytest.fixture(params=["influxd 1.6", "fake 2.x", *REAL])
def world(
    request: pytest.FixtureRequest, make_influx: Callable[..., InfluxServer]
) -> Iterator[World]:
    if request.param == "fake 2.x":
        with InfluxDB2(Engine()) as server:
            yield Fake(make_influx, server)
    elif request.param == "real 2.x":
        with an_influx() as influx, a_place(influx) as place:
            yield Real(make_influx, influx, place)
    else:
        yield Influxd(make_influx, request.getfixturevalue("influx_server"))


@pytest.fixture
def load(world: World) -> Iterator[Callable[..., Loading]]:
    """``load(**settings)`` → a handler that writes to the world's bucket."""
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
    """The points that such lines mean."""
    found: Points = {}
    for line in text:
        key, value, at_ms = line.split(b" ")
        measurement, tag = key.decode().split(",")
        name, _, tag_value = tag.partition("=")
        found[measurement, ((name, tag_value),), int(at_ms)] = float(value.split(b"=")[1])
    return found


def test_entries_are_written_exactly_and_again_without_harm(world: World, load: Load) -> None:
    world.create()
    loading = load(connections=2, group_samples=500)
    text = series(1200)
    entries = [entry(str(i), text[i : i + 200]) for i in range(0, 1200, 200)]
    for _ in range(2):
        assert loading.handle(*entries) == [Settle(loaded=200)] * 6
        assert world.points() == meant(text)
    assert loading.posts("written") == 6


def test_unparsable_lines_are_found_and_nothing_else_is_missing(world: World, load: Load) -> None:
    world.create()
    loading = load()
    text = series(3000)
    bad = [b"m,n=1 value=tru 1", b"no fields", b"m, value=1 1", b"m,n=1 value=1 when"]
    for line, place in zip(bad, (0, 700, 1500, 2999), strict=True):
        text[place] = line
    verdicts = loading.handle(entry("1", text[:1500]), entry("2", text[1500:]))
    assert [v.loaded for v in verdicts if isinstance(v, Settle)] == [1498, 1498]
    refused = [dead for v in verdicts if isinstance(v, Settle) for dead in v.dead]
    lines = [line for one in refused for line in one.payload.splitlines()]
    assert sorted(lines) == sorted(bad)
    assert {one.reason for one in refused} == {"rejected"}
    assert all("unable to parse" in one.detail for one in refused)
    assert world.points() == meant([line for line in text if line not in bad])
    # The group, the rest, the named ones together, two of them alone.
    assert loading.registry.get_sample_value("etl_sink_post_duration_seconds_count") == 5.0


def test_a_field_type_conflict_costs_only_its_own_lines(world: World, load: Load) -> None:
    world.create()
    loading = load()
    loading.handle(entry("0", [b"typed,n=0 value=7i %d" % NOW_MS]))
    text = series(2000)
    conflicts = [b"typed,n=%d value=1.5 %d" % (i % 3, NOW_MS - i) for i in range(150)]
    mixed = text[:1000] + conflicts + text[1000:]
    (verdict,) = loading.handle(entry("1", mixed))
    assert isinstance(verdict, Settle)
    assert verdict.loaded == 2000
    (one,) = verdict.dead
    assert (one.samples, one.payload.splitlines()) == (150, conflicts)
    assert "field type conflict" in one.detail
    assert world.points() == meant(text) | {("typed", (("n", "0"),), NOW_MS): 7}
    # The first entry; the group, the rest, the measurement in conflict, two of its lines alone.
    assert loading.posts("written") + loading.posts("points") == 6


def test_a_tag_called_time_is_rejected_alone(world: World, load: Load) -> None:
    world.create()
    text = [*series(50), b"m,time=1 value=1 %d" % NOW_MS]
    (verdict,) = load().handle(entry("1", text))
    assert isinstance(verdict, Settle)
    assert (verdict.loaded, [one.payload for one in verdict.dead]) == (
        50,
        [text[-1] + b"\n"],
    )


@pytest.mark.parametrize("configured", [True, False])
def test_points_beyond_retention_are_dropped_where_it_is_configured_and_kept_elsewhere(
    world: World, load: Load, configured: bool
) -> None:
    retention_seconds = 2 * 3600
    world.create(retention_seconds)
    settings = {"tiers": {"hot": tier(world.bucket, retention_seconds)}} if configured else {}
    loading = load(**settings)
    old = series(400, "old", NOW_MS - 30 * HOUR_MS)
    young = series(600)
    verdicts = loading.handle(
        entry("1", old[:100] + young[:300]), entry("2", young[300:]), entry("3", old[100:])
    )
    assert [v.loaded for v in verdicts if isinstance(v, Settle)] == [300, 300, 0]
    assert [too_old(v) for v in verdicts] == [100, 0, 300]
    assert sum(len(v.drops) for v in verdicts if isinstance(v, Settle)) == (2 if configured else 0)
    assert world.points() == meant(young)
    refused = loading.posts("retention")
    assert refused == 0 if configured else 0 < refused <= 6


def too_old(verdict: Verdict) -> int:
    """Samples beyond retention, dropped or among the dead letters."""
    assert isinstance(verdict, Settle)
    dead = sum(one.samples for one in verdict.dead if one.reason == "beyond_retention")
    return verdict.drops.get("beyond_retention", 0) + dead


def rejected(verdicts: Iterable[Verdict]) -> list[bytes]:
    """Lines of dead letters, those that are too old not among them."""
    return sorted(
        line
        for verdict in verdicts
        if isinstance(verdict, Settle)
        for one in verdict.dead
        if one.reason != "beyond_retention"
        for line in one.payload.splitlines()
    )


def test_old_and_bad_and_good_lines_are_kept_apart(world: World, load: Load) -> None:
    world.create(2 * 3600)
    loading = load()
    loading.handle(entry("0", [b"typed,n=0 value=7i %d" % NOW_MS]))
    rng = random.Random(5)
    young, old = series(300), series(40, "old", NOW_MS - 30 * HOUR_MS)
    bad = [b"typed,n=1 value=0.5 %d" % (NOW_MS - i) for i in range(9)] + [
        b"junk",
        b"m,n= value=1 1",
    ]
    text = young + old + bad
    rng.shuffle(text)
    entries = [entry(str(i), text[i : i + 71]) for i in range(0, len(text), 71)]
    verdicts = [v for v in loading.handle(*entries) if isinstance(v, Settle)]
    assert sum(v.loaded for v in verdicts) == 300
    assert sum(too_old(v) for v in verdicts) == 40
    assert rejected(verdicts) == sorted(bad)
    assert world.points() == meant(young) | {("typed", (("n", "0"),), NOW_MS): 7}


def test_a_corrupt_payload_in_a_group_does_not_cost_its_neighbours(
    world: World, load: Load
) -> None:
    world.create()
    text = series(300)
    broken = entry("2", text[100:200]).payload[:-8] + b"\0\0\0\0\xff\xff\0\0"
    first, second, third = load().handle(
        entry("1", text[:100]),
        entry("2", text[100:200], payload=broken),
        entry("3", text[200:]),
    )
    assert (first, third) == (Settle(loaded=100), Settle(loaded=100))
    assert isinstance(second, Settle)
    assert [(one.reason, one.payload) for one in second.dead] == [("corrupt", broken)]
    assert world.points() == meant(text[:100] + text[200:])


def test_a_body_too_large_is_halved(world: World, load: Load) -> None:
    world.limit_body(4000)
    world.create()
    rng = random.Random(3)
    text = [b"m,n=%d value=%d.5 %d" % (i % 5, rng.getrandbits(52), NOW_MS - i) for i in range(900)]
    long = b"m,n=%s value=1 1" % rng.randbytes(5000).hex().encode()
    loading = load(group_samples=10_000, timeout_seconds=10)
    verdicts = loading.handle(entry("1", text[:450]), entry("2", [*text[450:], long]))
    assert verdicts[0] == Settle(loaded=450)
    assert isinstance(verdicts[1], Settle)
    assert verdicts[1].loaded == 450
    assert [(one.reason, one.payload) for one in verdicts[1].dead] == [("too_large", long + b"\n")]
    assert world.points() == meant(text)


def test_a_series_limit_pauses_and_passes_when_it_is_lifted(world: World, load: Load) -> None:
    world.limit_series(40)
    world.create()
    loading = load(group_samples=50, connections=1)
    text = [b"m,n=%d value=%d.5 %d" % (i, i, NOW_MS) for i in range(100)]
    entries = [entry(str(i), text[i : i + 50]) for i in range(0, 100, 50)]
    for _ in range(3):
        verdicts = loading.handle(*entries)
        assert all(isinstance(v, Pause) and "max-series-per-database" in v.reason for v in verdicts)
        loading.now += 60.0
    assert loading.posts("capacity") == 3, "no search, no loop"
    world.limit_series(None)
    loading.now += 60.0
    assert loading.handler.check() is None
    assert loading.handle(*entries) == [Settle(loaded=50)] * 2
    assert world.points() == meant(text)


def test_a_wrong_token_pauses_and_known_beforehand(world: World, load: Load) -> None:
    world.require("right-token")
    world.create()
    loading = load(token="wrong-token")
    reason = loading.handler.check()
    assert reason is not None
    assert "status 401" in reason
    (verdict,) = loading.handle(entry("1", series(5)))
    assert isinstance(verdict, Pause)
    assert world.points() == {}
    right = load(token="right-token")
    assert right.handler.check() is None
    assert right.handle(entry("1", series(5))) == [Settle(loaded=5)]


def test_a_missing_bucket_pauses_and_known_beforehand(world: World, load: Load) -> None:
    loading = load()
    reason = loading.handler.check()
    assert reason is not None
    assert "status 404" in reason
    assert world.bucket in reason
    (verdict,) = loading.handle(entry("1", series(5)))
    assert isinstance(verdict, Pause)
    world.create()
    assert loading.handler.check() is None
    assert loading.handle(entry("1", series(5))) == [Settle(loaded=5)]


def test_asking_whether_points_would_be_taken_writes_none(world: World, load: Load) -> None:
    world.create()
    assert load().handler.check() is None
    assert world.points() == {}


@pytest.mark.parametrize("seed", range(4))
def test_random_batches_end_where_they_belong(world: World, load: Load, seed: int) -> None:
    world.create(2 * 3600)
    rng = random.Random(seed)
    loading = load(connections=2, group_samples=rng.choice([100, 1000]), max_rejected_share=1)
    loading.handle(entry("0", [b"typed,n=0 value=7i %d" % NOW_MS]))
    good, old, bad, entries = [], 0, [], []
    for number in range(6):
        text = []
        for i in range(rng.randint(1, 250)):
            kind = rng.choices(["good", "old", "conflict", "junk"], [90, 4, 3, 3])[0]
            at_ms = NOW_MS - 1000 * number - i - (30 * HOUR_MS if kind == "old" else 0)
            value = {"conflict": b"0.5", "junk": b"0x1"}.get(kind, b"%d.5" % i)
            name = b"typed" if kind == "conflict" else b"m"
            text.append(b"%s,n=%d value=%s %d" % (name, number, value, at_ms))
            if kind == "good":
                good.append(text[-1])
            elif kind == "old":
                old += 1
            else:
                bad.append(text[-1])
        entries.append(entry(str(number), text))
    verdicts = [v for v in loading.handle(*entries) if isinstance(v, Settle)]
    assert len(verdicts) == 6
    assert sum(too_old(v) for v in verdicts) == old
    assert rejected(verdicts) == sorted(bad)
    assert world.points() == meant(good) | {("typed", (("n", "0"),), NOW_MS): 7}
