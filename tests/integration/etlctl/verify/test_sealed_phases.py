"""Sealed windows from before a change of the configuration are judged by what was in force then.

From the sink alone: neither Prometheus nor Redis is there when they are checked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import redis
from prometheus_client import CollectorRegistry

from common.config import InForce, load_settings
from common.runtime.telemetry import Telemetry
from common.state.history import changes_of
from common.state.keys import Keys
from common.state.seals import Seals
from common.state.windows import Feed, WindowSet
from services.loader.influx import InfluxSink
from services.loader.sealing.configurations import Configurations, Record
from services.loader.sealing.seals import SealKeeper
from tests.integration.etlctl.verify.sealing import Sealer
from tests.integration.etlctl.verify.world import SELECT, Point, World

Capture = pytest.CaptureFixture[str]

AT_MS = 1_750_000_000_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
US = [{"target_label": "cluster", "replacement": "us"}]
EU = [{"target_label": "cluster", "replacement": "eu"}]
NOWHERE = {
    "extract.prometheus_url": "http://127.0.0.1:1",
    "pipeline.redis_url": "redis://127.0.0.1:1/0",
}
NARROW = [{"name": "raw", "select": 'load{job="app",host="a"}'}]


def us(point: Point, cluster: str = "us") -> Point:
    (name, tags), time_ms, value = point
    return (name, (("cluster", cluster), *tags)), time_ms, value


def eu(point: Point) -> Point:
    return us(point, "eu")


def same(point: Point) -> Point:
    return point


def narrow(point: Point) -> bool:
    return point[0][0] == "load" and ("host", "a") in point[0][1]


def in_force(world: World) -> str:
    settings = load_settings(world.config())
    (query,) = settings.extract.queries
    return InForce.of(query, settings).to_json()


def windows(world: World, capsys: Capture) -> dict[str, int]:
    found = world.run(capsys, "verify", "--sealed", "--json").query()["windows"]
    return {kind: number for kind, number in found.items() if number}


def relabelled_by(world: World, relabel: list[dict[str, str]]) -> str:
    """What is in force with these rules; they stay."""
    world.changes = {**NOWHERE, "transform.relabel": relabel}
    return in_force(world)


@pytest.fixture
def relabelled(world: World) -> World:
    """Another constant label was set from ``AT_MS`` on."""
    note(world, relabelled_by(world, US), relabelled_by(world, EU))
    return world


@pytest.fixture
def narrowed(world: World) -> World:
    """The query reads less from ``AT_MS`` on."""
    before = in_force(world)
    world.changes, world.queries = dict(NOWHERE), NARROW
    note(world, before, in_force(world))
    return world


def note(
    world: World, before: str, after: str, at_ms: int = AT_MS, *unsettled: tuple[int, int]
) -> None:
    world.write_raw(Record("raw", "hot", at_ms, before, after, unsettled).line(world.namespace))


def seal(
    world: World, made: Callable[[Point], Point | None], bounds: tuple[int, int], at_ms: int
) -> list[Point]:
    """Load and seal a window of points as a configuration makes them."""
    start_ms, end_ms = bounds
    points = [p for p in map(made, world.expected()) if p and start_ms < p[1] <= end_ms]
    world.write(points)
    sealer = Sealer(world)
    sealer.sealed_ms = at_ms - 1
    sealer.seal(bounds, points)
    return points


def test_each_window_is_judged_by_what_was_in_force(relabelled: World, capsys: Capture) -> None:
    bounds = Sealer(relabelled).bounds
    for index, window in enumerate(bounds):
        late = index >= 3
        at_ms = AT_MS + (HOUR_MS if late else -HOUR_MS)
        seal(relabelled, eu if late else us, window, at_ms)
    result = relabelled.run(capsys, "verify", "--sealed", "--json")
    assert (result.code, windows(relabelled, capsys)) == (0, {"intact": 7})
    assert result.document["notes"] == []

    # What only the other configuration would have written is nobody's.
    first, last = bounds[0], bounds[-1]
    load = ("load", (("job", "app"),))
    relabelled.write([eu((load, first[0] + 1, 1.0)), us((load, last[0] + 1, 1.0))])
    assert windows(relabelled, capsys) == {"intact": 7}
    relabelled.write([us((load, first[0] + 1, 1.0)), eu((load, last[0] + 1, 1.0))])
    assert windows(relabelled, capsys) == {"intact": 5, "extra": 2}


def test_a_query_that_read_more_owned_more(narrowed: World, capsys: Capture) -> None:
    first, second, third, *_ = Sealer(narrowed).bounds
    points = seal(narrowed, same, first, AT_MS - 1)
    # What is extracted again is extracted as the query is now, however old its time is.
    seal(narrowed, same, third, AT_MS - 1)
    seal(narrowed, lambda point: point if narrow(point) else None, second, AT_MS)
    assert windows(narrowed, capsys) == {"intact": 3}
    odd = next(point for point in points if point[0][0] == "odd")
    narrowed.delete("odd", {"job": "app"}, odd[1])
    assert windows(narrowed, capsys) == {"intact": 2, "thinned": 1}


@pytest.mark.parametrize("made", ["before", "after", "both"])
@pytest.mark.parametrize("minutes", [-9, 9])
def test_near_a_change_of_the_transform_either_may_have_written(
    relabelled: World, capsys: Capture, made: str, minutes: int
) -> None:
    first, *_ = Sealer(relabelled).bounds

    def either(point: Point) -> Point:
        after = made == "after" or (made == "both" and point[1] % 2 == first[0] % 2)
        return eu(point) if after else us(point)

    points = seal(relabelled, either, first, AT_MS + minutes * MINUTE_MS)
    assert windows(relabelled, capsys) == {"intact": 1}

    (name, tags), time_ms, _ = points[0]
    relabelled.write([((name, tags), time_ms, 77.0)])
    assert windows(relabelled, capsys) == {"altered": 1}
    relabelled.delete(name, dict(tags), time_ms)
    assert windows(relabelled, capsys) == {"thinned": 1}
    relabelled.write([((name, tags), time_ms + n, 1.0) for n in (1, 2)])
    assert windows(relabelled, capsys) == {"extra": 1}


def test_far_from_a_change_only_one_can_have_written(relabelled: World, capsys: Capture) -> None:
    first, second, *_ = Sealer(relabelled).bounds
    seal(relabelled, eu, first, AT_MS - 11 * MINUTE_MS)
    seal(relabelled, us, second, AT_MS + 11 * MINUTE_MS)
    assert windows(relabelled, capsys) == {"deleted": 2}


def test_what_had_not_settled_may_be_transformed_later(relabelled: World, capsys: Capture) -> None:
    first, second, *_ = Sealer(relabelled).bounds
    note(relabelled, relabelled_by(relabelled, US), relabelled_by(relabelled, EU), AT_MS, first)
    seal(relabelled, eu, first, AT_MS - HOUR_MS)
    seal(relabelled, eu, second, AT_MS - HOUR_MS)
    assert windows(relabelled, capsys) == {"intact": 1, "deleted": 1}


def test_a_dead_letter_is_replayed_under_what_is_in_force_then(
    relabelled: World, capsys: Capture
) -> None:
    first, *_ = Sealer(relabelled).bounds
    seal(relabelled, lambda p: us(p) if p[0][0] != "odd" else None, first, AT_MS - HOUR_MS)
    inside = [p for p in relabelled.expected() if p[0][0] == "odd" and p[1] <= first[1]]
    replayed = list(map(eu, inside))
    relabelled.write(replayed)
    sealer = Sealer(relabelled)
    sealer.sealed_ms = AT_MS + HOUR_MS
    sealer.seal(first, replayed, ",part=replay")
    assert windows(relabelled, capsys) == {"intact": 1}


@pytest.mark.parametrize("known", ["before", "after", "later"])
def test_one_of_both_suffices(world: World, capsys: Capture, known: str) -> None:
    """As after a Redis that lost everything, or where the sink has let earlier changes expire."""
    first, *_ = Sealer(world).bounds
    old, new = relabelled_by(world, US), relabelled_by(world, EU)
    if known == "before":
        note(world, old, new)
    else:
        note(world, "", old, AT_MS - (2 if known == "after" else -2) * HOUR_MS)
        note(world, "", new, AT_MS + 3 * HOUR_MS)
    seal(world, us, first, AT_MS - HOUR_MS)
    assert windows(world, capsys) == {"intact": 1}


def test_without_a_record_windows_are_judged_by_the_present(world: World, capsys: Capture) -> None:
    relabelled_by(world, EU)
    first, second, *_ = Sealer(world).bounds
    seal(world, eu, first, AT_MS - HOUR_MS)
    seal(world, us, second, AT_MS - HOUR_MS)
    assert windows(world, capsys) == {"intact": 1, "deleted": 1}


@pytest.mark.parametrize("text", ["no JSON", '{"kind":"select"}', "[]"])
def test_what_cannot_be_read_is_said(relabelled: World, capsys: Capture, text: str) -> None:
    note(relabelled, text, text, AT_MS + HOUR_MS)
    relabelled.write_raw(
        f"etl_configuration,pipeline={relabelled.namespace},query=raw,tier=hot"
        f' unsettled="[1" {AT_MS + 2 * HOUR_MS}'
    )
    first, *_ = Sealer(relabelled).bounds
    seal(relabelled, eu, first, AT_MS + 3 * HOUR_MS)
    result = relabelled.run(capsys, "verify", "--sealed", "--json")
    assert result.code == 0
    (said,) = result.document["notes"]
    assert said.startswith("query raw: an earlier configuration cannot be read")
    assert said in relabelled.run(capsys, "verify", "--sealed").out


def test_other_queries_are_told_apart_as_they_were(world: World, capsys: Capture) -> None:
    """What tags do not tell is told by the other query, as it was when the window was loaded."""
    relabelled_by(world, [{"action": "labeldrop", "regex": "job"}])
    theirs: list[str] = []
    for metric in ("load", "up"):
        world.queries = [SELECT, {"name": "other", "select": f'{metric}{{job="other"}}'}]
        settings = load_settings(world.config())
        theirs.append(InForce.of(settings.extract.queries[1], settings).to_json())
    at_ms = AT_MS + HOUR_MS
    before, after = theirs
    world.write_raw(Record("other", "hot", at_ms, before, after, ()).line(world.namespace))

    def dropped(point: Point) -> Point:
        (name, tags), time_ms, value = point
        return (name, tags[:-1]), time_ms, value

    first, second, *_ = Sealer(world).bounds
    seal(world, dropped, first, AT_MS)
    seal(world, dropped, second, at_ms)
    world.write(
        [(("load", (("host", "z"),)), start_ms + 1, 1.0) for start_ms, _ in (first, second)]
    )
    result = world.run(capsys, "verify", "--sealed", "--query", "raw", "--json")
    found = {kind: number for kind, number in result.query()["windows"].items() if number}
    assert found == {"untold": 1, "extra": 1}


def test_what_the_loader_writes_is_what_is_read(
    world: World, redis_client: redis.Redis, capsys: Capture
) -> None:
    keys = Keys(world.namespace)
    for relabel in (US, EU):
        world.changes = {"transform.relabel": relabel}
        settings = load_settings(world.config())
        (query,) = settings.extract.queries
        feed = Feed("raw", "hot", query.kind, query.fingerprint("hot"))
        text = InForce.of(query, settings).to_json()
        WindowSet(redis_client, keys).plan(
            feed, world.start_ms, world.end_ms, adopt=True, configuration=text
        )
    keeper = SealKeeper(
        Seals(redis_client, keys),
        Configurations(redis_client, keys),
        InfluxSink(settings.load.influxdb, connections=1),
        world.namespace,
        {"hot": world.database},
        Telemetry("loader", CollectorRegistry()),
        threading.Event(),
        every_seconds=1,
    )
    keeper.turn()
    at_ms = changes_of(redis_client, keys, "raw@hot")[-1].at_ms
    first, second, *_ = Sealer(world).bounds
    seal(world, us, first, at_ms - HOUR_MS)
    seal(world, eu, second, at_ms + HOUR_MS)
    assert windows(world, capsys) == {"intact": 2}
