"""``etlctl recount`` on a real Prometheus, InfluxDB and Redis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis

from common.config import load_settings
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from tests.integration.etlctl.verify.sealing import WINDOW_MS, Sealer
from tests.integration.etlctl.verify.world import EXPR, STEP_MS, Point, Result, World

Capture = pytest.CaptureFixture[str]

# Of the history only what has no samples that are no points, such as NaN.
SELECT = {"name": "raw", "select": 'load{job="app"}'}


@pytest.fixture
def points(world: World) -> list[Point]:
    world.queries = [SELECT]
    return [point for point in world.expected() if point[0][0] == "load"]


def recount(world: World, capsys: Capture, *options: str) -> Result:
    bounds = ("--from", str(world.start_ms / 1_000), "--to", str(world.end_ms / 1_000))
    return world.run(capsys, "recount", *bounds, *options)


def feeds(world: World, capsys: Capture, code: int) -> list[dict[str, Any]]:
    result = recount(world, capsys, "--json")
    assert result.code == code, result.err
    found: list[dict[str, Any]] = json.loads(result.out)["feeds"]
    return found


def load(world: World, points: Sequence[Point]) -> None:
    """Have the sink hold these points, and seals of just these."""
    Sealer(world).seal_all(points)
    world.write(points)


def test_nothing_that_is_sealed_as_it_is_counted_is_read(
    world: World, points: list[Point], capsys: Capture
) -> None:
    load(world, points)
    (found,) = feeds(world, capsys, 0)
    assert (found["compared_ms"], found["differing_ms"]) == (0, [])
    assert recount(world, capsys).out == "Nothing differs.\n"


def test_what_came_late_is_found_and_only_its_window_is_read(
    world: World, points: list[Point], capsys: Capture
) -> None:
    late_ms = world.start_ms + 100 * STEP_MS
    load(world, [point for point in points if point[1] != late_ms])
    (found,) = feeds(world, capsys, 1)
    assert found["compared_ms"] == WINDOW_MS
    ((start_ms, end_ms),) = found["differing_ms"]
    assert start_ms < late_ms <= end_ms
    said = recount(world, capsys)
    assert said.out.startswith("raw@hot: ")
    assert said.out.endswith("--repair extracts them.\n")


def test_a_series_that_came_late_is_one_line(
    world: World, points: list[Point], capsys: Capture
) -> None:
    """However many of its samples lie between those of others."""
    every_other = [point for point in points if point[1] // STEP_MS % 2]
    load(world, every_other)
    (found,) = feeds(world, capsys, 1)
    number = len(found["differing_ms"])
    assert number > 100
    line, last = recount(world, capsys).out.splitlines()
    assert line.startswith("raw@hot: ")
    assert line.endswith(f" differs in {number} places")
    assert last.endswith("--repair extracts them.")


def test_without_seals_all_is_compared(world: World, points: list[Point], capsys: Capture) -> None:
    world.write(points[1:])
    (found,) = feeds(world, capsys, 1)
    # All but what lies before the source's first sample.
    assert found["compared_ms"] == world.end_ms - world.start_ms - STEP_MS + 1
    assert len(found["differing_ms"]) == 1


def test_an_expression_is_compared(world: World, capsys: Capture) -> None:
    world.queries = [EXPR]
    world.write(world.expected_by_host())
    (found,) = feeds(world, capsys, 0)
    assert found["compared_ms"] > 0


def test_what_cannot_be_repaired_is_said(
    world: World, points: list[Point], capsys: Capture
) -> None:
    load(world, points[1:])
    result = recount(world, capsys, "--repair")
    assert result.code == 1
    assert "raw@hot: was never planned" in result.err


def test_what_is_not_loaded_in_time_is_not_repaired(
    world: World, points: list[Point], redis_client: Redis, capsys: Capture
) -> None:
    late_ms = world.start_ms + 100 * STEP_MS
    load(world, [point for point in points if point[1] != late_ms])
    (query,) = load_settings(world.config()).extract.queries
    feed = Feed("raw", "hot", query.kind, query.fingerprint("hot"))
    windows = WindowSet(redis_client, Keys(world.namespace))
    windows.plan(feed, world.start_ms, world.end_ms, adopt=True)
    window = windows.lease(feed, "live", 10**12, 10**12)
    assert window is not None
    assert windows.commit(feed, window, []) == "committed"

    result = recount(world, capsys, "--repair", "--wait-seconds", "0")

    assert result.code == 1, result.out
    assert "Not all of it could be repaired" in result.out
    assert windows.status()["raw@hot"].backlog


def test_what_only_the_sink_has_differs_too(
    world: World, points: list[Point], capsys: Capture
) -> None:
    series, time_ms, value = points[100]
    load(world, [*points, (series, time_ms + 1, value)])
    (found,) = feeds(world, capsys, 1)
    assert (found["differing_ms"], found["extra"]) == ([], 1)
    result = recount(world, capsys, "--repair")
    assert result.code == 1
    assert result.out == (
        "raw@hot: 1 points that only the sink has\n"
        "The sink has points that the source does not have; `etlctl verify` says which.\n"
    )


def test_what_the_source_does_not_keep_is_said_to_be_not_compared(
    world: World, points: list[Point], capsys: Capture
) -> None:
    load(world, points)
    from_ms, to_ms = world.start_ms - 7_200_000, world.start_ms - 3_600_000
    bounds = ("--from", str(from_ms / 1_000), "--to", str(to_ms / 1_000))
    result = world.run(capsys, "recount", *bounds)
    assert (result.code, result.out) == (0, "Nothing differs of what was compared.\n")
    # The oldest time of a source of replicas is the latest of them: one may hold more.
    assert "is not compared: the source, or one of its replicas, keeps nothing" in result.err
    (found,) = json.loads(world.run(capsys, "recount", *bounds, "--json").out)["feeds"]
    assert (found["compared_ms"], found["not_kept_ms"]) == (0, [[from_ms, to_ms]])


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--from=-1h", "--to=-2h"), 2, "nothing lies between"),
        (("--from=soon", "--to=now"), 2, "--from: 'soon' is not a time"),
        (("--from=-1h", "--to=2100-01-01T00:00:00Z"), 2, "--to: 2100-01-01T00:00:00Z has not come"),
        (("--from=-1h", "--to=now", "--query", "nope"), 2, "nope"),
        (("--from=-1h", "--to=now", "--tier", "icy"), 2, "icy"),
    ],
)
def test_bad_input_is_one_clear_error(
    world: World, capsys: Capture, options: tuple[str, ...], code: int, said: str
) -> None:
    result = world.run(capsys, "recount", *options)
    assert result.code == code
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_source_that_is_away_is_said(world: World, capsys: Capture) -> None:
    world.changes = {"extract.prometheus_url": "http://127.0.0.1:9"}
    assert recount(world, capsys).code == 3
