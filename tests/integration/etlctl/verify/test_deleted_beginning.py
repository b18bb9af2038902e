"""``etlctl verify`` where Prometheus has deleted the beginning of what was extracted."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from etlctl.times import rfc3339
from tests.integration.etlctl.verify.world import EXPR, SELECT, STEP_MS, World

Capture = pytest.CaptureFixture[str]

WINDOW_MS = 595_000
COUNT = {**EXPR, "name": "counted", "expr": 'count_over_time(load{host="a",job="app"}[595s])'}
FEEDS = {"raw": Feed("raw", "hot", "select", "f"), "counted": Feed("counted", "hot", "expr", "f")}


def load(client: redis.Redis, world: World, *names: str) -> None:
    """Two hours more than the source still has were extracted of these, and are settled."""
    windows = WindowSet(client, Keys(world.namespace))
    for name in names:
        windows.plan(FEEDS[name], world.start_ms - 7_200_000, world.end_ms)
        while (window := windows.lease(FEEDS[name], "live", 10**12, 10**12)) is not None:
            assert windows.commit(FEEDS[name], window, []) == "committed"


def written(world: World) -> None:
    """Every count as it was when the source had all 595 s."""
    tags = (("host", "a"), ("job", "app"))
    first_ms = (world.start_ms // 30_000 + 1) * 30_000
    # Where the history ends, fewer are left in them.
    last_ms = world.end_ms // 30_000 * 30_000
    end_ms = world.start_ms + STEP_MS * 240
    world.write(
        (("counted", tags), t, 40.0 - max(0, t - end_ms) // STEP_MS)
        for t in range(first_ms, last_ms + 1, 30_000)
    )


def run(world: World, capsys: Capture, *options: str) -> Any:
    return world.run(capsys, "verify", "--json", *options)


def test_by_default_a_rule_is_compared_from_where_all_that_it_looks_at_is_there(
    world: World, redis_client: redis.Redis, capsys: Capture
) -> None:
    world.queries = [COUNT]
    load(redis_client, world, "counted")
    written(world)

    result = run(world, capsys)

    query = result.query("counted")
    assert (query["different"], query["verdict"], result.code) == (0, "equal", 0)
    # The lowest time is that of the first sample.
    assert query["from_ms"] == result.document["from_ms"] == world.start_ms + STEP_MS + WINDOW_MS
    assert query["equal"] > 50
    assert result.err == ""


def test_another_query_is_compared_from_the_lowest_time(
    world: World, redis_client: redis.Redis, capsys: Capture
) -> None:
    world.queries = [COUNT, SELECT]
    load(redis_client, world, "counted", "raw")
    written(world)
    world.write(world.expected())

    result = run(world, capsys)

    assert result.code == 0
    assert result.query("raw")["from_ms"] == result.document["from_ms"]
    assert result.query("raw")["from_ms"] == world.start_ms + STEP_MS
    begin_ms = world.start_ms + STEP_MS + WINDOW_MS
    assert result.query("counted")["from_ms"] == begin_ms
    said = world.run(capsys, "verify").out
    assert f"  counted: after {rfc3339(begin_ms)}" in said


def test_a_rule_that_looks_further_back_than_the_source_keeps_has_nothing_to_compare(
    world: World, redis_client: redis.Redis, capsys: Capture
) -> None:
    world.queries = [{**COUNT, "expr": COUNT["expr"].replace("595s", "30d")}]
    load(redis_client, world, "counted")
    written(world)
    result = world.run(capsys, "verify")
    assert result.code == 8
    assert "counted: the source no longer has all that it looks at in this range" in result.out


def test_a_beginning_that_was_given_is_taken_with_a_word_about_it(
    world: World, redis_client: redis.Redis, capsys: Capture
) -> None:
    world.queries = [COUNT, SELECT]
    load(redis_client, world, "counted", "raw")
    written(world)
    world.write(world.expected())

    result = run(world, capsys, "--from", str(world.start_ms / 1_000))

    begin_ms = world.start_ms + STEP_MS + WINDOW_MS
    assert result.code == 1
    assert result.query("counted")["different"] > 0
    assert result.query("counted")["from_ms"] == world.start_ms
    assert result.query("raw")["verdict"] == "equal"
    (note,) = result.err.splitlines()
    assert note.startswith("note: counted looks at time that the source no longer keeps")
    assert f"before {rfc3339(begin_ms)}" in note
    later = run(world, capsys, "--from", str(begin_ms / 1_000))
    assert (later.code, later.err) == (0, "")
