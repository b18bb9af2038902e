"""``etlctl verify`` where several pipelines write into one bucket, on real servers."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.integration.etlctl.verify.world import EXPR, SELECT, Point, World

Capture = pytest.CaptureFixture[str]


def in_cluster(cluster: str, points: Iterable[Point]) -> list[Point]:
    """Points as a pipeline writes them that sets ``cluster``."""
    return [
        ((name, tuple(sorted((*tags, ("cluster", cluster))))), time_ms, value)
        for (name, tags), time_ms, value in points
    ]


@pytest.fixture
def shared(world: World) -> World:
    """Two healthy pipelines with the same queries, each with a cluster of its own."""
    world.queries = [SELECT, EXPR]
    for cluster in ("eu", "us"):
        world.write(in_cluster(cluster, [*world.expected(), *world.expected_by_host()]))
    return world


def of_cluster(world: World, cluster: str) -> None:
    rule = {"action": "replace", "target_label": "cluster", "replacement": cluster}
    world.changes = {"transform.relabel": [rule]}


@pytest.mark.parametrize("cluster", ["eu", "us"])
def test_the_points_of_another_cluster_are_foreign(
    shared: World, capsys: Capture, cluster: str
) -> None:
    of_cluster(shared, cluster)
    result = shared.verify(capsys, "--json")
    assert (result.code, result.document["verdict"]) == (0, "equal"), result.out
    points = len(shared.expected()) + len(shared.expected_by_host())
    assert sum(query["equal"] for query in result.document["queries"]) == points
    assert result.document["foreign"] == points


@pytest.mark.parametrize("name", ["load", "by_host"])
def test_a_point_too_many_is_held_against_the_cluster_that_it_names(
    shared: World, capsys: Capture, name: str
) -> None:
    ghost = (name, (("cluster", "eu"), ("host", "ghost"), ("job", "app")))
    shared.write([(ghost, shared.start_ms + 1_800_000, 1.0)])
    of_cluster(shared, "us")
    assert shared.verify(capsys).code == 0
    of_cluster(shared, "eu")
    result = shared.verify(capsys, "--json")
    assert (result.code, result.document["verdict"]) == (1, "different")
    assert sum(query["extra"] for query in result.document["queries"]) == 1


def test_the_points_of_another_shard_are_neither_extra_nor_foreign(
    world: World, capsys: Capture
) -> None:
    """Both write to one measurement: the matchers of the queries tell whose a series is."""
    texts = {"app_a": 'load{job="app", host="a"}', "app_b": 'load{job="app", host!="a"}'}
    world.queries = [{"name": name, "select": text} for name, text in texts.items()]
    world.write(point for point in world.expected() if point[0][0] == "load")
    ghost = ("load", (("host", "ghost"), ("job", "app")))
    shards = {"1/2": "app_b", "2/2": "app_a"}

    for shard, name in shards.items():
        world.changes = {"pipeline.shard": shard}
        result = world.verify(capsys, "--json")
        assert (result.code, result.document["foreign"]) == (0, 0), result.out
        (query,) = result.document["queries"]
        assert (query["query"], query["equal"], query["extra"]) == (name, 240, 0)

    world.write([(ghost, world.start_ms + 1_800_000, 1.0)])
    codes = {}
    for shard, name in shards.items():
        world.changes = {"pipeline.shard": shard}
        codes[name] = world.verify(capsys).code
    assert codes == {"app_a": 0, "app_b": 1}
