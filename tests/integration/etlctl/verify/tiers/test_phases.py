"""A tier whose resolution was changed: each part holds what was in force, and is proven by it."""

from __future__ import annotations

import pytest

from tests.integration.etlctl.verify.tiers.stages import Stages, windows_of

Capture = pytest.CaptureFixture[str]

MINUTE_MS = 60_000


@pytest.fixture(params=[30, 31], ids=["between_buckets", "within_a_bucket"])
def middle(request: pytest.FixtureRequest) -> int:
    """In which minute of the history the resolution was changed."""
    minute: int = request.param
    return minute


@pytest.fixture
def changed(stages: Stages, middle: int) -> Stages:
    """Buckets of one minute became buckets of two."""
    stages.run(stages.world.start_ms + middle * MINUTE_MS)
    stages.world.changes["load.tiers"]["warm"]["resolution"] = "2m"
    stages.reload()
    stages.run()
    return stages


def times(stages: Stages) -> list[int]:
    """When host a has points, in minutes."""
    (series,) = stages.world.influx.query(
        "SELECT \"count\" FROM load WHERE host = 'a'",
        database=f"{stages.world.database}_warm",
        epoch="ms",
    )
    return [(row[0] - stages.world.start_ms) // MINUTE_MS for row in series["values"]]


def test_each_part_is_equal_by_what_was_in_force(
    changed: Stages, capsys: Capture, middle: int
) -> None:
    assert times(changed) == [*range(2, middle + 1), *range(middle + 2 - middle % 2, 61, 2)]

    found = changed.world.run(capsys, "verify", "--tier", "warm", "--json")
    assert found.query()["verdict"] == "equal", found.out
    by_seals = changed.world.run(capsys, "verify", "--sealed", "--tier", "warm", "--json")
    assert by_seals.code == 0, by_seals.out
    assert windows_of(by_seals.query()).keys() == {"intact"}


@pytest.mark.parametrize("minute", [20, 50])
def test_what_differs_in_a_part_is_found(changed: Stages, capsys: Capture, minute: int) -> None:
    time_ms = changed.world.start_ms + minute * MINUTE_MS
    changed.world.influx.query(
        f'DELETE FROM "load" WHERE "host" = \'a\' AND time = {time_ms * 1_000_000}',
        database=f"{changed.world.database}_warm",
    )
    query = changed.world.run(capsys, "verify", "--tier", "warm", "--json").query()
    assert (query["missing"], query["unexplained"]) == (1, 1)
    by_seals = changed.world.run(capsys, "verify", "--sealed", "--tier", "warm", "--json")
    assert windows_of(by_seals.query())["thinned"] == 1


def test_points_of_the_old_resolution_are_nothing_foreign(
    changed: Stages, capsys: Capture, middle: int
) -> None:
    """All is extracted again: between the new points stay those that were written before."""
    origin_ms = changed.windows.status()[changed.plan.feed.name].origin_ms
    first_ms = -(-origin_ms // changed.plan.step_ms) * changed.plan.step_ms
    changed.windows.reopen(changed.plan.feed, first_ms, changed.world.end_ms)
    changed.run()
    assert times(changed) == sorted({*range(2, middle + 1), *range(2, 61, 2)})

    query = changed.world.run(capsys, "verify", "--tier", "warm", "--json").query()
    assert query["verdict"] == "explained", query
    assert query["explained"]["extra"].keys() == {"earlier_configuration"}
    assert not query["explained"]["missing"] and not query["explained"]["different"]
    by_seals = changed.world.run(capsys, "verify", "--sealed", "--tier", "warm", "--json")
    assert windows_of(by_seals.query()).keys() == {"intact"}
    assert by_seals.code == 0, by_seals.out
