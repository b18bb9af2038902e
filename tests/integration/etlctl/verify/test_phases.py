"""What was written before a change of the configuration is compared under what was in force."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import pytest
import redis

from common.config import InForce, load_settings
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from tests.integration.etlctl.verify.world import EXPR, Point, World, line

Capture = pytest.CaptureFixture[str]

RENAME = {"source_labels": ["host"], "target_label": "machine", "regex": "(.+)"}
DROP = {"action": "labeldrop", "regex": "host"}
MINUTE_MS = 60_000


def renamed(point: Point) -> Point:
    (name, tags), time_ms, value = point
    changed = tuple(("machine" if key == "host" else key, tag) for key, tag in tags)
    return (name, changed), time_ms, value


def take_over(
    world: World, client: redis.Redis, changes: Mapping[str, object], head_ms: int, name: str
) -> None:
    """The extractor starts with these changes, and plans and commits up to ``head_ms``."""
    world.changes = dict(changes)
    settings = load_settings(world.config())
    (query,) = settings.extract.queries
    feed = Feed(name, "hot", query.kind, query.fingerprint("hot"))
    text = InForce.of(query, settings).to_json()
    windows = WindowSet(client, Keys(world.namespace))
    assert windows.plan(feed, world.start_ms, head_ms, adopt=True, configuration=text)
    window = windows.lease(feed, "live", 10**12, 10**12)
    assert window is not None
    assert windows.commit(feed, window, []) == "committed"


@pytest.fixture
def middle_ms(world: World) -> int:
    return world.start_ms + 30 * MINUTE_MS


@pytest.fixture
def changed(world: World, redis_client: redis.Redis, middle_ms: int) -> World:
    """A world in which a label was renamed at half time."""
    world.queries = [{"name": "raw", "select": 'load{job="app"}'}]
    take_over(world, redis_client, {}, middle_ms, "raw")
    rules = {"transform.relabel": [RENAME, DROP]}
    take_over(world, redis_client, rules, world.end_ms, "raw")
    return world


def in_fields(points: Iterable[Point]) -> str:
    """Lines as the preset telegraf_v2 has them."""
    return "\n".join(
        line((("prometheus", tags), time_ms, value)).replace(" value=", f" {name}=")
        for (name, tags), time_ms, value in points
    )


def test_a_changed_layout_leaves_the_past_provable(
    world: World, redis_client: redis.Redis, capsys: Capture, middle_ms: int
) -> None:
    world.queries = [{"name": "raw", "select": 'load{job="app"}'}]
    take_over(world, redis_client, {}, middle_ms, "raw")
    layout = {"load.layout": {"preset": "telegraf_v2"}}
    take_over(world, redis_client, layout, world.end_ms, "raw")
    world.write(point for point in loads(world) if point[1] <= middle_ms)
    world.write_raw(in_fields(point for point in loads(world) if point[1] > middle_ms))
    query = world.verify(capsys, "--json").query()
    assert query["unexplained"] == 0
    assert query["equal"] >= 2 * 4 * 39
    assert query["explained"]["missing"].keys() <= {"earlier_configuration"}
    # Each place is held to its own time.
    world.delete("load", {"host": "a"}, world.start_ms + 15_000)
    world.delete("prometheus", {"host": "a"}, world.end_ms - 15_000)
    assert world.verify(capsys, "--json").query()["unexplained"] == 2


def loads(world: World) -> list[Point]:
    return [point for point in world.expected() if point[0][0] == "load"]


def test_a_changed_rule_leaves_the_past_provable(
    changed: World, capsys: Capture, middle_ms: int
) -> None:
    changed.write(p if p[1] <= middle_ms else renamed(p) for p in loads(changed))
    query = changed.verify(capsys, "--json").query()
    assert query["unexplained"] == 0
    # Near the change either may be: what lies further away is equal.
    assert query["equal"] >= 2 * 4 * 39
    assert query["explained"]["missing"].keys() <= {"earlier_configuration"}


@pytest.mark.parametrize("late", [True, False])
def test_a_transformer_may_be_restarted_some_minutes_later_or_earlier(
    changed: World, capsys: Capture, middle_ms: int, late: bool
) -> None:
    at_ms = middle_ms + (4 if late else -4) * MINUTE_MS
    changed.write(p if p[1] <= at_ms else renamed(p) for p in loads(changed))
    query = changed.verify(capsys, "--json").query()
    assert query["unexplained"] == 0
    assert query["missing"] == query["explained"]["missing"]["earlier_configuration"] > 0


@pytest.mark.parametrize("minutes", [-15, 15])
def test_far_from_the_change_one_configuration_counts(
    changed: World, capsys: Capture, middle_ms: int, minutes: int
) -> None:
    odd_ms = middle_ms + minutes * MINUTE_MS

    def written(point: Point) -> Point:
        right = renamed(point) if point[1] > middle_ms else point
        wrong = point if point[1] > middle_ms else renamed(point)
        return wrong if point[1] == odd_ms else right

    changed.write(map(written, loads(changed)))
    assert changed.verify(capsys, "--json").query()["unexplained"] == 2


def test_what_is_lost_near_the_change_is_not_excused(
    changed: World, capsys: Capture, middle_ms: int
) -> None:
    changed.queries = [{"name": "raw", "select": 'load{job="app"}'}]
    kept = [p for p in loads(changed) if p[1] != middle_ms - 20 * MINUTE_MS]
    changed.write(p if p[1] <= middle_ms else renamed(p) for p in kept)
    assert changed.verify(capsys, "--json").query()["unexplained"] == 2


def test_a_configuration_that_cannot_be_read_is_named_and_passed_over(
    changed: World, redis_client: redis.Redis, capsys: Capture
) -> None:
    key = Keys(changed.namespace).history("raw@hot")
    first = json.loads(redis_client.hget(key, "changes") or b"[]")[0]["id"]
    redis_client.hset(key, first, '{"kind":"select","text":"{"}')
    changed.write(map(renamed, loads(changed)))
    result = changed.verify(capsys, "--json")
    assert "note: query raw: an earlier configuration cannot be read" in result.err
    assert result.query()["unexplained"] == 0


def test_each_part_is_evaluated_as_the_expression_was(
    world: World, redis_client: redis.Redis, capsys: Capture, middle_ms: int
) -> None:
    world.queries = [EXPR]
    before = world.expected_by_host()
    take_over(world, redis_client, {}, middle_ms, "by_host")
    world.queries = [{**EXPR, "expr": f"{EXPR['expr']} * 2"}]
    take_over(world, redis_client, {}, world.end_ms, "by_host")
    points = [(s, t, v if t <= middle_ms else v * 2) for s, t, v in before]
    world.write(points)
    result = world.verify(capsys, "--json").query("by_host")
    assert (result["equal"], result["missing"], result["different"]) == (len(points), 0, 0)
    world.write([(s, t, v) for s, t, v in before if t > middle_ms][:1])
    result = world.verify(capsys, "--json").query("by_host")
    assert (result["different"], result["explained"]["different"]) == (
        1,
        {"earlier_configuration": 1},
    )
    world.write([(before[0][0], before[0][1], 0.5)])
    assert world.verify(capsys, "--json").query("by_host")["unexplained"] == 1
