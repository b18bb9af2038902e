"""What ``etlctl backfill`` begins, and what it refuses, on a real Redis and Prometheus."""

from __future__ import annotations

import time

import pytest

from etlctl.times import rfc3339
from tests.integration.etlctl.history.world import HOUR_MS, NOWHERE, STEP_MS, WARM, World


def seconds(time_ms: int) -> str:
    return str(time_ms / 1000)


@pytest.fixture
def begun(world: World) -> World:
    world.plan_feeds()
    return world


def from_hours_before(world: World, hours: float) -> tuple[str, str]:
    return "--from", seconds(world.origin_ms - int(hours * HOUR_MS))


def test_time_before_the_origin_is_begun_and_waited_for(begun: World) -> None:
    with begun.working():
        result = begun.backfill(*from_hours_before(begun, 2), "--order", "oldest", "--rate", "500")
    assert result.code == 0, result.err
    found = begun.begun()
    start, end = rfc3339(begun.origin_ms - 2 * HOUR_MS), rfc3339(begun.origin_ms)
    assert f"raw@hot: {start} to {end}\nmean@hot: {start} to {end}\n" in result.out
    assert f"Backfill {found.id} is begun.\n" in result.out
    assert "Extracted and loaded: 4h of 4h, 0 samples.\n" in result.out
    assert (found.state, found.order, found.rate) == ("done", "oldest", 500.0)


def test_bounds_are_whole_steps(begun: World) -> None:
    start_ms, end_ms = begun.origin_ms - HOUR_MS + 1, begun.origin_ms - 2 * STEP_MS - 1
    begun.backfill("--from", seconds(start_ms), "--to", seconds(end_ms), "--detach")
    assert begun.coming("mean@hot") == [(begun.origin_ms - HOUR_MS, begun.origin_ms - 2 * STEP_MS)]


def test_of_a_tier_they_are_whole_buckets(world: World) -> None:
    world.tiers = {"hot": {"bucket": "b"}, "warm": WARM}
    world.plan_feeds()
    start_ms = world.origin_ms - HOUR_MS + 1
    result = world.backfill(
        *("--from", seconds(start_ms), "--query", "raw", "--tier", "warm", "--detach")
    )
    assert result.code == 0
    assert world.begun().feeds == ("raw@warm",)
    assert world.coming("raw@warm") == [(world.origin_ms - HOUR_MS, world.origin_ms)]


def test_what_the_source_does_not_have_is_said_before_it_starts(begun: World) -> None:
    result = begun.backfill(*from_hours_before(begun, 48), "--detach")
    assert result.code == 0
    assert "is left out: the source no longer has all that the query looks at" in result.out
    # An expression needs the five minutes before its first point, too.
    assert begun.coming("raw@hot") == [(begun.first_ms, begun.origin_ms)]
    assert begun.coming("mean@hot") == [(begun.first_ms + 300_000, begun.origin_ms)]


def test_what_the_source_has_nothing_of_is_refused(begun: World) -> None:
    said = begun.refused("--from=-30d", "--to=-20d")
    assert "nothing of the range can be had: what Prometheus keeps begins at" in said


def test_what_the_tier_does_not_keep_is_left_out(world: World) -> None:
    kept_seconds = int(time.time() - world.origin_ms / 1000) + 2 * 3600
    world.tiers = {"hot": {"bucket": "b", "retention": kept_seconds}}
    world.plan_feeds()
    result = world.backfill(*from_hours_before(world, 3), "--query", "raw", "--detach")
    assert result.code == 0
    assert "is left out: older than the tier keeps" in result.out
    ((start_ms, end_ms),) = world.coming("raw@hot")
    assert end_ms == world.origin_ms
    assert world.origin_ms - 2 * HOUR_MS <= start_ms < world.origin_ms - HOUR_MS
    hours = from_hours_before(world, 3), ("--to", seconds(world.origin_ms - 2 * HOUR_MS))
    said = world.refused(*hours[0], *hours[1], "--query", "raw")
    assert "nothing of the range can be had" in said


def test_the_feeds_own_time_is_said_and_no_error(begun: World) -> None:
    result = begun.backfill("--from", seconds(begun.origin_ms), "--to", "now")
    assert result.code == 0
    assert "is left out: at or after the feed's origin" in result.out
    assert result.out.endswith("There is nothing to do.\n")
    result = begun.backfill("--from", seconds(begun.origin_ms + HOUR_MS))
    assert (result.code, begun.backfills.all()) == (0, [])
    assert "raw@hot: begins before the range, and is extracted anyway" in result.out


def test_what_is_loaded_or_coming_is_not_begun_twice(begun: World) -> None:
    older = ("--from", seconds(begun.origin_ms - 3 * HOUR_MS))
    begun.backfill(*older, "--to", seconds(begun.origin_ms - 2 * HOUR_MS), "--detach")
    begun.extract()
    result = begun.backfill(*older, "--detach")
    assert "is left out: loaded already" in result.out
    older_ms, newer_ms = (begun.origin_ms - hours * HOUR_MS for hours in (3, 2))
    assert begun.coming("raw@hot") == [(newer_ms, begun.origin_ms)]
    result = begun.backfill(*older)
    assert "is left out: another backfill extracts it" in result.out
    assert result.out.endswith("There is nothing to do.\n")

    result = begun.backfill(*older, "--again", "--detach")
    assert "is begun" in result.out
    assert begun.coming("raw@hot") == [(older_ms, begun.origin_ms)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from=-1h", "--to=-2h"), "nothing lies between"),
        (("--from=2100-01-01T00:00:00Z",), "--from: 2100-01-01T00:00:00Z has not come"),
        (("--from=-1h", "--to=2100-01-01T00:00:00Z"), "--to: 2100-01-01T00:00:00Z has not come"),
        (("--from=soon",), "--from: 'soon' is not a time"),
        (("--from=-1h", "--to=later"), "--to: 'later' is not a time"),
        (("--from=-1h", "--query", "nope"), "--query nope: is not configured; there are mean, raw"),
        (("--from=-1h", "--tier", "icy"), "--tier icy: is not configured; there are hot"),
        (("--from=-1h", "--rate", "0"), "--rate 0: must be a number of samples more than 0"),
        (("--from=-1h", "--rate=-5"), "--rate -5: must be"),
        (("--from=-1h", "--rate", "nan"), "--rate nan: must be"),
        (("--from=-1h", "--order", "middle"), "'middle' is not one of 'newest', 'oldest'"),
        (("--to=-1h",), "--from must be given"),
        (("--from=-1h", "list"), "list: its options stand after its name"),
    ],
)
def test_bad_input_is_one_clear_error(begun: World, options: tuple[str, ...], said: str) -> None:
    result = begun.backfill(*options)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err
    assert begun.backfills.all() == []


def test_a_feed_that_cannot_have_one_is_named_and_nothing_is_begun(world: World) -> None:
    world.plan_feeds("raw@hot")
    assert "mean@hot: was never planned" in world.refused("--from=-9h")
    world.plan_feeds("mean@hot", reconciled=False)
    assert "mean@hot: its watermark was not read from the sink yet" in world.refused("--from=-9h")
    world.redis.hset(world.keys.feed("mean@hot"), "fingerprint", "another")
    said = world.refused("--from=-9h")
    assert "mean@hot: another configuration is in force" in said
    assert "raw@hot" not in said


def test_a_dry_run_says_what_it_takes(begun: World) -> None:
    result = begun.backfill(*from_hours_before(begun, 2), "--dry-run", "--rate", "100")
    assert result.code == 0, result.err
    assert begun.backfills.all() == []
    rows = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if "@hot" in line}
    # Three series, and one of the expression, with four samples a minute.
    assert rows["raw@hot"][-2:] == ["1,440", "4,320"]
    assert rows["mean@hot"][-2:] == ["480", "1,440"]
    assert "In all 1,920 samples, 20s at 100 samples per second." in result.out


def test_a_dry_run_of_a_tier_counts_what_is_read_and_what_is_written(world: World) -> None:
    world.tiers = {"hot": {"bucket": "b"}, "warm": WARM}
    world.plan_feeds()
    result = world.backfill(
        *from_hours_before(world, 2), "--dry-run", "--tier", "warm", "--query", "raw"
    )
    (row,) = [
        line.split() for line in result.out.splitlines() if line.strip().startswith("raw@warm ")
    ]
    # Two aggregates of 24 buckets of three series, of three bytes each.
    assert row[-2:] == ["1,440", "432"]
    assert "at 200,000 samples per second, which two cores do." in result.out


def test_a_source_that_is_away_ends_a_dry_run(begun: World) -> None:
    begun.source_url = NOWHERE
    result = begun.backfill("--from=-9h", "--dry-run")
    assert result.code == 3
    assert "127.0.0.1" in result.err


def test_with_the_source_away_it_is_begun_as_it_is_given(begun: World) -> None:
    begun.source_url = NOWHERE
    result = begun.backfill(*from_hours_before(begun, 48), "--detach")
    assert result.code == 0
    assert "The range is taken as it is given" in result.err
    start_ms = begun.origin_ms - 48 * HOUR_MS
    assert begun.coming("raw@hot") == [(start_ms, begun.origin_ms)]


def test_without_redis_it_is_said(begun: World) -> None:
    begun.redis_url = "redis://127.0.0.1:9"
    result = begun.backfill("--from=-9h")
    assert (result.code, "Redis cannot be reached" in result.err) == (3, True)
