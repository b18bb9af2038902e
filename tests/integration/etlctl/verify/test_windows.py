"""``etlctl verify`` of a tier of rollups that has no window yet, or none that ends so late."""

from __future__ import annotations

import pytest
import redis

from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from tests.integration.etlctl.verify.sealing import Sealer
from tests.integration.etlctl.verify.tiers.warm import WINDOW_MS, Warm
from tests.integration.etlctl.verify.world import World

Capture = pytest.CaptureFixture[str]

# None of so long a window began and ended while the source kept samples.
LONG = "10000d"


@pytest.fixture
def windows(redis_client: redis.Redis, world: World) -> WindowSet:
    return WindowSet(redis_client, Keys(world.namespace))


@pytest.fixture
def warm(world: World) -> Warm:
    """Nothing is in the warm tier yet; the hot one is whole."""
    database = f"{world.database}_warm"
    world.influx.query(f'CREATE DATABASE "{database}"')
    world.write(world.expected())
    return Warm(world, database)


def load_up_to(windows: WindowSet, tier: str, start_ms: int, end_ms: int) -> None:
    """Plan a feed up to an instant, and commit that if it is later than its start."""
    feed = Feed("raw", tier, "select", f"any {tier}")
    windows.plan(feed, start_ms, end_ms)
    windows.set_reconciled(feed)
    if window := windows.lease(feed, "live", 10**12, 10**12):
        assert windows.commit(feed, window, []) == "committed"


@pytest.mark.parametrize("planned", [False, True], ids=["not planned", "planned"])
def test_a_tier_without_a_window_is_no_difference(
    warm: Warm, windows: WindowSet, capsys: Capture, planned: bool
) -> None:
    world = warm.world
    load_up_to(windows, "hot", world.start_ms, world.end_ms)
    if planned:
        load_up_to(windows, "warm", world.start_ms, world.start_ms)
    else:
        world.changes["load.tiers"]["warm"]["window"] = LONG

    for result in (world.run(capsys, "verify"), world.verify(capsys)):
        assert result.code == 0, result.out + result.err
        assert "hot: Source and sink are equal" in result.out
        assert result.out.endswith("warm: no window yet in this range.\n")
    document = world.run(capsys, "verify", "--json").document
    assert document["verdict"] == "equal"
    assert (list(document["tiers"]), document["no_window_yet"]) == (["hot"], ["raw@warm"])

    alone = world.run(capsys, "verify", "--tier", "warm")
    assert (alone.code, alone.out) == (8, "warm: no window yet in this range.\n")
    document = world.run(capsys, "verify", "--tier", "warm", "--json").document
    assert (document["verdict"], document["tiers"]) == ("nothing_to_compare", {})


def test_a_tier_that_redis_does_not_know_is_not_excused_where_the_source_is_old(
    warm: Warm, windows: WindowSet, capsys: Capture
) -> None:
    world = warm.world
    load_up_to(windows, "hot", world.start_ms, world.end_ms)
    result = world.run(capsys, "verify")
    assert (result.code, result.out) == (2, "")
    assert "Redis knows of nothing extracted" in result.err
    result = world.verify(capsys)
    assert result.code == 1
    assert "warm: Source and sink differ" in result.out


def test_a_tier_is_compared_as_far_as_it_has_windows(
    warm: Warm, windows: WindowSet, capsys: Capture
) -> None:
    world = warm.world
    origin_ms, head_ms = world.start_ms + WINDOW_MS, world.start_ms + 4 * WINDOW_MS
    load_up_to(windows, "hot", world.start_ms, world.end_ms)
    load_up_to(windows, "warm", origin_ms, head_ms)
    held = [one for one in warm.lines if origin_ms < one[1] <= head_ms]
    warm.write(held)

    result = world.verify(capsys, "--json")
    assert result.code == 0, result.out
    (of_warm,) = [one for one in result.document["queries"] if one["tier"] == "warm"]
    assert of_warm["equal"] == len(held) == 100
    bounds = result.document["tiers"]["warm"]
    assert (bounds["from_ms"], bounds["to_ms"]) == (origin_ms, head_ms)
    assert result.document["no_window_yet"] == []

    # What is asked for by name is compared as it is.
    named = world.verify(capsys, "--tier", "warm", "--json")
    assert named.document["verdict"] == "incomplete"
    assert named.code == 7

    # No bucket ends there.
    bounds_s = (str((origin_ms + 1_000) / 1_000), str((origin_ms + 59_000) / 1_000))
    between = world.run(capsys, "verify", "--from", bounds_s[0], "--to", bounds_s[1])
    assert between.code == 0, between.out
    assert "warm: no window yet in this range." in between.out
    later = world.run(capsys, "verify", "--from", str(head_ms / 1_000))
    assert later.code == 0, later.out
    assert "warm: no window yet in this range." in later.out

    warm.delete(f"\"host\" = 'a' AND time = {head_ms * 1_000_000}")
    assert world.verify(capsys).code == 1


def test_a_tier_without_seals_is_no_damage_where_the_hot_one_is_young(
    warm: Warm, capsys: Capture
) -> None:
    world = warm.world
    Sealer(world).seal_all(world.expected())
    # A window of it should have been sealed.
    assert world.run(capsys, "verify", "--sealed").code == 8

    world.changes["load.tiers"]["warm"]["window"] = LONG
    result = world.run(capsys, "verify", "--sealed")
    assert result.code == 0, result.out + result.err
    assert "hot: Every sealed window is intact." in result.out
    assert result.out.endswith("warm: no window yet.\n")
    assert list(world.run(capsys, "verify", "--sealed", "--json").document["tiers"]) == ["hot"]
    assert world.run(capsys, "verify", "--sealed", "--tier", "warm").code == 8


def test_a_report_of_no_tier_is_no_report(warm: Warm, windows: WindowSet, capsys: Capture) -> None:
    world = warm.world
    load_up_to(windows, "warm", world.start_ms, world.start_ms)
    report = world.folder / "report.json"
    report.write_text(world.run(capsys, "verify", "--tier", "warm", "--json").out)
    result = world.run(capsys, "repair", str(report))
    assert result.code == 2
    assert f"{report}: nothing was compared" in result.err
