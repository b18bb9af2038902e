"""``etlctl coverage`` on a real Redis and a real influxd."""

from __future__ import annotations

import json
from dataclasses import replace

from common.state.backfills import Backfills
from common.state.proven import ProofRecord, Proven
from tests.integration.etlctl.coverage.world import DAY_MS, HOUR_MS, START_MS, World


def test_what_is_loaded_proven_and_sealed(world: World) -> None:
    world.load(48)
    world.prove(36)
    world.seal_windows([(hour, hour + 1) for hour in range(12, 48)])

    result = world.run("--json")

    assert result.code == 0, result.err
    assert result.document["well"] is True
    assert (result.document["from_ms"], result.document["to_ms"]) == (
        START_MS,
        START_MS + 2 * DAY_MS,
    )
    assert result.ranges("planned") == result.ranges("loaded") == [(0, 48)]
    assert result.ranges("proven") == [(0, 36)]
    assert result.ranges("sealed") == [(12, 48)]
    result = world.run()
    assert result.code == 0
    assert result.out.startswith("All is well: ")
    assert "raw@hot: loaded 2d of 2d, proven 1d12h, sealed 1d12h\n" in result.out
    assert result.rows() == {
        "2026-01-30": "P" * 12 + "#" * 12,
        "2026-01-31": "#" * 12 + "S" * 12,
    }


def test_a_gap_is_shown_with_its_reason(world: World) -> None:
    world.plan(8)
    first = START_MS + 2 * HOUR_MS
    world.windows.declare_gap(world.feed, world.lease(8), first, "older than Prometheus keeps")
    document = world.run("--json")
    assert document.ranges("gaps") == [(0, 2)]
    assert document.feed()["gaps"][0]["reason"] == "older than Prometheus keeps"
    assert document.ranges("open") == [(2, 8)]
    assert document.code == 1
    assert [one["kind"] for one in document.document["findings"]] == ["gap"]


def test_every_state_has_its_sign(world: World) -> None:
    world.plan(9)
    world.commit(world.lease(1))  # hour 8
    world.commit(world.lease(1))  # hour 7: reported to differ
    world.windows.defer(world.feed, world.lease(1), 3600, 3600)  # hour 6
    entry = world.lease(1)  # hour 5
    world.commit(entry, samples=2)
    world.refuse([entry.start_ms + 1, entry.start_ms + 60_000])
    world.lease(1)  # hour 4: open
    world.commit(world.lease(1), samples=3)  # hour 3: not settled
    gap = world.lease(1)  # hour 2
    world.windows.declare_gap(world.feed, gap, gap.end_ms, "gone")
    world.commit(world.lease(1))  # hour 1; hour 0 is backlog

    result = world.run("--to", str((START_MS + 10 * HOUR_MS) / 1000))

    assert result.code == 1
    assert result.rows() == {"2026-01-30": "BLGOODWLL."}
    assert "Not all is well: gaps, dead letters, windows wait." in result.out
    assert "  gap: 2026-01-30T02:00:00Z to 2026-01-30T03:00:00Z: gone\n" in result.out
    assert "  dead letters: 2026-01-30T05:00:00Z to 2026-01-30T05:01:00Z: 2 samples\n" in result.out
    assert "  waits: 2026-01-30T06:00:00Z to 2026-01-30T07:00:00Z\n" in result.out
    for text in (
        "B backlog",
        "L loaded",
        "G a gap",
        "O being",
        "D has dead",
        "W cannot",
        ". nothing",
    ):
        assert f"  {text}" in result.out
    assert "# loaded" not in result.out


def test_a_range_that_differs_is_not_proven(world: World) -> None:
    world.load(6)
    world.prove(6, (2, 3))
    result = world.run("--json")
    assert result.code == 1
    assert result.ranges("differing") == [(2, 3)]
    assert result.ranges("proven") == [(0, 2), (3, 6)]
    assert world.run().rows() == {"2026-01-30": "PP!PPP"}


def test_what_a_backfill_has_loaded_is_proven_before_it_joins(world: World) -> None:
    world.load(6)
    world.windows.set_reconciled(world.feed)
    early = START_MS - 6 * HOUR_MS, START_MS - 2 * HOUR_MS
    id_, _ = Backfills(world.client, world.keys).create({world.feed: [early]}, *early)
    part = replace(world.feed, backfill=id_)
    while window := world.windows.lease(part, "catchup", 0, 4 * HOUR_MS):
        assert world.windows.commit(part, window, []) == "committed"
    compared = ((early[0], early[1] - HOUR_MS), (START_MS, START_MS + 6 * HOUR_MS))
    record = ProofRecord(world.client, world.keys, "one", 60)
    proof = record.read()[world.feed.name]
    assert record.save({world.feed.name: proof._replace(proven=Proven(START_MS, compared))})

    result = world.run("--json", "--from", str(early[0] / 1000))

    assert result.ranges("loaded") == [(-6, -2), (0, 6)]
    assert result.ranges("proven") == [(-6, -3), (0, 6)]


def test_purged_dead_letters_are_shown_and_need_nobody(world: World) -> None:
    world.plan(2)
    world.commit(window := world.lease(2), samples=1)
    world.refuse([window.start_ms + HOUR_MS + 1])
    letters = world.dead_letters()
    for letter in list(letters):
        assert letters.purge(letter)
    result = world.run("--json")
    assert (result.code, result.ranges("dead_lettered")) == (0, [])
    assert result.feed()["purged"][0]["samples"] == 1
    assert world.run().rows() == {"2026-01-30": "L-"}


def test_dead_letters_that_nobody_can_read_are_not_lost_from_sight(world: World) -> None:
    world.plan(2)
    world.commit(world.lease(2), samples=1)
    world.refuse([START_MS + 1])
    (letter,) = world.dead_letters()
    world.client.set(letter.payload_key, b"\x00\xff")
    result = world.run("--json")
    assert result.code == 1
    assert result.feed()["dead_lettered"] == []
    assert result.feed()["dead_lettered_samples_without_time"] == 1
    assert "at times that nobody can read" in world.run().out


def test_days_of_two_months(world: World) -> None:
    world.load(24 * 30)
    world.seal(0, 24 * 29)
    result = world.run()
    assert result.rows() == {"2026-01": "SS", "2026-02": "S" * 27 + "L"}
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_a_sealed_gap_is_none(world: World) -> None:
    """A range that was loaded, opened again, and could not be read once more."""
    world.plan(2)
    window = world.lease(2)
    world.windows.declare_gap(world.feed, window, window.end_ms, "gone")
    world.seal(0, 1)
    result = world.run("--json")
    assert result.ranges("gaps") == [(1, 2)]
    assert result.ranges("loaded") == result.ranges("sealed") == [(0, 1)]


def test_seals_from_before_redis_lost_everything_are_shown(world: World) -> None:
    world.load(4)
    world.seal(-3, -1)
    world.seal(-1, 4)
    result = world.run("--json")
    assert result.document["from_ms"] == START_MS - 3 * HOUR_MS
    assert result.ranges("planned") == [(0, 4)]
    assert result.ranges("loaded") == result.ranges("sealed") == [(-3, 4)]


def test_what_the_sink_has_deleted_is_not_called_loaded(world: World) -> None:
    world.load(48)
    world.seal(0, 48)
    # More than what has passed since the start, by far: nothing is kept.
    world.tiers = {"hot": {"bucket": world.database, "retention": "1s"}}
    result = world.run("--json")
    assert result.ranges("expired") == [(0, 48)]
    assert result.ranges("loaded") == result.ranges("sealed") == []
    shown = world.run()
    assert shown.code == 0
    assert shown.rows() == {"2026-01-30": "X" * 24, "2026-01-31": "X" * 24}
    assert "raw@hot: all of it has expired" in shown.out


def test_without_the_sink_what_redis_knows_is_shown(world: World) -> None:
    world.load(4)
    world.prove(2)
    world.sink_url = "http://127.0.0.1:1"
    result = world.run()
    assert result.code == 2
    assert result.rows() == {"2026-01-30": "PPLL"}
    assert result.out.startswith("Whether all is well cannot be told: ")
    assert "What is sealed in tier hot is unknown: InfluxDB at http://127.0.0.1:1" in result.out
    assert "sealed unknown" in result.out
    document = world.run("--json").document
    assert document["well"] is None
    assert list(document["sink_errors"]) == ["hot"]
    assert document["feeds"][0]["sealed"] is None


def test_what_is_wrong_is_said_without_the_sink_too(world: World) -> None:
    world.load(4)
    world.prove(4, (1, 2))
    world.sink_url = "http://127.0.0.1:1"
    result = world.run("--json")
    assert (result.code, result.document["well"]) == (1, False)


def test_each_tier_is_a_feed_of_its_own(world: World) -> None:
    world.load(4)
    world.tiers = {
        "hot": {"bucket": world.database},
        "warm": {"bucket": f"{world.database}_warm", "resolution": "5m", "aggregates": ["avg"]},
    }
    result = world.run("--json")
    assert [(one["query"], one["tier"]) for one in result.document["feeds"]] == [
        ("raw", "hot"),
        ("raw", "warm"),
    ]
    assert "raw@warm: no window yet\n" in world.run("--tier", "warm", "--from", "1d").out
    only = world.run("--json", "--tier", "hot", "--query", "raw").document
    assert [one["tier"] for one in only["feeds"]] == ["hot"]


def test_json_is_one_document_with_all_that_is_printed(world: World) -> None:
    world.load(4)
    result = world.run("--json")
    assert set(result.feed()) == {
        *("query", "tier", "planned", "loaded", "proven", "sealed", "open", "backlog"),
        *("deferred", "expired", "gaps", "differing", "dead_lettered", "purged"),
        *("dead_lettered_samples_without_time", "purged_samples_without_time"),
    }
    assert json.loads(result.out)["findings"] == []
