"""A limit of a real influxd that names a measurement and a tag: it stops nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable

from common.state.verdict import Retry, Settle
from devtools.servers.influx_server import InfluxServer
from tests.doubles.loading import entry
from tests.integration.loader.worlds import Influxd, Loading

NOW_MS = int(time.time() * 1000)
MOST_VALUES = 20
LIMIT = {"data": {"max-values-per-tag": MOST_VALUES}}


def limited(make_influx: Callable[..., InfluxServer]) -> Influxd:
    server = make_influx(settings=LIMIT)
    world = Influxd(make_influx, server)
    world.create()
    loading = Loading(world)
    # influxd counts the values before a write, not those of the write itself.
    known = [b"cpu,host=h%d value=1 1" % i for i in range(MOST_VALUES)]
    assert loading.handle(entry("0", known)) == [Settle(loaded=MOST_VALUES)]
    loading.handler.close()
    return world


def text() -> list[bytes]:
    """Every fifth line has a value of ``host`` that is one of forty."""
    return [
        b"cpu,host=h%d value=%d.5 %d" % (i // 5 % 40, i, NOW_MS - i)
        if i % 5 == 0
        else b"m,n=%d value=%d.5 %d" % (i % 7, i, NOW_MS - i)
        for i in range(2000)
    ]


def test_only_new_values_of_the_tag_are_dead_letters(
    make_influx: Callable[..., InfluxServer],
) -> None:
    world = limited(make_influx)
    loading = Loading(world)
    first, second = loading.handle(
        entry("1", text()), entry("2", [b"k value=1 %d" % (NOW_MS - i) for i in range(10)])
    )
    assert isinstance(first, Settle)
    assert first.loaded == 1600 + MOST_VALUES * 10
    assert {one.reason for one in first.dead} == {"limit"}
    assert all('measurement="cpu" tag="host"' in one.detail for one in first.dead)
    assert second == Settle(loaded=10)
    points = world.points()
    assert len(points) == MOST_VALUES + first.loaded + 10
    assert len({tags for name, tags, _ in points if name == "cpu"}) == MOST_VALUES
    assert loading.posts("capacity") == 0
    assert loading.posts("limit") + loading.posts("written") < 100
    loading.handler.close()


def test_held_lines_are_written_when_the_limit_is_raised(
    make_influx: Callable[..., InfluxServer],
) -> None:
    world = limited(make_influx)
    loading = Loading(world, on_limit="hold")
    held = entry("1", text())
    assert isinstance(loading.handle(held)[0], Retry)
    assert loading.handler.check() is None
    world.server.influxd.settings = {}
    world.server.influxd.restart()
    assert loading.handle(held) == [Settle(loaded=2000)]
    assert len(world.points()) == MOST_VALUES + 2000
    loading.handler.close()
