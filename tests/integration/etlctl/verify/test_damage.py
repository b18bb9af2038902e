"""Every kind of damage to the sink: found against the source, and by the seals alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.integration.etlctl.verify.sealing import WINDOW_MS, Sealer
from tests.integration.etlctl.verify.world import STEP_MS, Point, Series, World

Capture = pytest.CaptureFixture[str]

HOST_A: Series = ("load", (("host", "a"), ("job", "app")))


def delete(world: World, condition: str, measurements: str = '"load"') -> None:
    world.influx.query(f"DELETE FROM {measurements} WHERE {condition}", database=world.database)


def deleted_series(world: World) -> None:
    delete(world, "\"host\" = 'a'")


def deleted_hour(world: World) -> None:
    delete(world, f"time > {world.start_ms * 1_000_000}", '"load", "odd", "late"')


def altered_bit(world: World) -> None:
    series, time_ms, value = point_of(world, HOST_A, 3)
    world.write([(series, time_ms, value * (1 + 2**-52))])


def lost_sign_of_zero(world: World) -> None:
    zeros = [one for one in world.expected() if repr(one[2]) == "-0.0"]
    world.write([(series, time_ms, 0.0) for series, time_ms, _ in zeros[:1]])


def added_point(world: World) -> None:
    world.write([(HOST_A, world.start_ms + STEP_MS + 1, 1.0)])


def shifted_millisecond(world: World) -> None:
    series, time_ms, value = point_of(world, HOST_A, 3)
    world.delete(series[0], dict(series[1]), time_ms)
    world.write([(series, time_ms + 1, value)])


def shifted_over_the_edge_of_a_window(world: World) -> None:
    series, time_ms, value = point_of(world, HOST_A, WINDOW_MS // STEP_MS)
    assert time_ms == world.start_ms + WINDOW_MS
    world.delete(series[0], dict(series[1]), time_ms)
    world.write([(series, time_ms + 1, value)])


def duplicate_series(world: World) -> None:
    name, tags = HOST_A
    world.write(
        ((name, (*tags, ("zone", "x"))), time_ms, value)
        for series, time_ms, value in world.expected()
        if series == HOST_A
    )


def renamed_series(world: World) -> None:
    duplicate_series(world)
    delete(world, "\"host\" = 'a' AND \"zone\" = ''")


def exchanged_values(world: World) -> None:
    first, second = (point_of(world, HOST_A, n) for n in (5, 6))
    world.write([(*first[:2], second[2]), (*second[:2], first[2])])


def point_of(world: World, series: Series, index: int) -> Point:
    """The point of a series at a step of the history, counted from 1."""
    (found,) = [
        point
        for point in world.expected()
        if point[0] == series and point[1] == world.start_ms + STEP_MS * index
    ]
    return found


@dataclass(frozen=True)
class Damage:
    """What ``do`` does, as ``verify`` counts it in points, and ``verify --sealed`` in windows."""

    do: Callable[[World], None]
    points: dict[str, int]
    windows: dict[str, int]


# The history fills six windows; the seventh has only the points that come 7 ms late.
DAMAGES = [
    Damage(deleted_series, {"missing": 240}, {"intact": 1, "thinned": 6}),
    Damage(deleted_hour, {"missing": 768}, {"deleted": 7}),
    Damage(altered_bit, {"different": 1}, {"intact": 6, "altered": 1}),
    Damage(lost_sign_of_zero, {"different": 1}, {"intact": 6, "altered": 1}),
    Damage(added_point, {"extra": 1}, {"intact": 6, "extra": 1}),
    Damage(shifted_millisecond, {"missing": 1, "extra": 1}, {"intact": 6, "altered": 1}),
    Damage(
        shifted_over_the_edge_of_a_window,
        {"missing": 1, "extra": 1},
        {"intact": 5, "thinned": 1, "extra": 1},
    ),
    Damage(duplicate_series, {"extra": 240}, {"intact": 1, "extra": 6}),
    Damage(renamed_series, {"missing": 240, "extra": 240}, {"intact": 1, "altered": 6}),
    Damage(exchanged_values, {"different": 2}, {"intact": 6, "altered": 1}),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.do.__name__ for damage in DAMAGES])
def test_damage_is_found_whole(world: World, capsys: Capture, damage: Damage) -> None:
    points = world.expected()
    world.write(points)
    Sealer(world).seal_all(points)
    assert world.verify(capsys).code == world.run(capsys, "verify", "--sealed").code == 0

    damage.do(world)

    against_source = world.verify(capsys, "--json")
    assert against_source.code == 1
    query = against_source.query()
    found = {kind: query[kind] for kind in ("missing", "extra", "different") if query[kind]}
    assert found == damage.points
    assert query["unexplained"] == sum(found.values())

    by_seals = world.run(capsys, "verify", "--sealed", "--json")
    assert by_seals.code == 1
    windows = by_seals.query()["windows"]
    assert {kind: number for kind, number in windows.items() if number} == damage.windows
