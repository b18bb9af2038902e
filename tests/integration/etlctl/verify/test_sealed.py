"""``etlctl verify --sealed`` on a real influxd, which is all that it asks."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.etlctl.verify.sealing import WINDOW_MS, Sealer
from tests.integration.etlctl.verify.world import EXPR, SELECT, World

Capture = pytest.CaptureFixture[str]

# Verdicts as exit codes.
INTACT, DAMAGED, INCOMPLETE, NOTHING = 0, 1, 7, 8


@pytest.fixture
def alone(world: World) -> World:
    """Without Prometheus and Redis: nothing listens where they should be."""
    world.changes = {
        "extract.prometheus_url": "http://127.0.0.1:1",
        "pipeline.redis_url": "redis://127.0.0.1:1/0",
    }
    return world


def windows(query: dict[str, Any]) -> dict[str, int]:
    return {kind: number for kind, number in query["windows"].items() if number}


def test_what_was_loaded_is_intact(alone: World, capsys: Capture) -> None:
    points = alone.expected()
    alone.write(points)
    Sealer(alone).seal_all(points)
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INTACT, result.err
    query = result.query()
    assert windows(query) == {"intact": 7}
    assert (query["intact_points"], query["found"], query["not_sealed"]) == (len(points), [], [])
    result = alone.run(capsys, "verify", "--sealed")
    assert result.code == INTACT
    assert "Every sealed window is intact." in result.out


def test_nothing_sealed_proves_nothing(alone: World, capsys: Capture) -> None:
    alone.write(alone.expected())
    result = alone.run(capsys, "verify", "--sealed")
    assert result.code == NOTHING
    assert "nothing is proven" in result.out
    result = alone.run(capsys, "verify", "--sealed", "--from", "2y", "--to", "now", "--json")
    assert result.code == INCOMPLETE
    assert len(result.query()["not_sealed"]) == 1


def test_windows_without_points_alone_prove_nothing(alone: World, capsys: Capture) -> None:
    Sealer(alone).seal_all([])
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == NOTHING
    assert windows(result.query()) == {"intact": 7}


def test_a_point_in_a_window_that_was_empty_is_extra(alone: World, capsys: Capture) -> None:
    points = [point for point in alone.expected() if point[1] > alone.start_ms + WINDOW_MS]
    Sealer(alone).seal_all(points)
    alone.write([*points, (points[0][0], alone.start_ms + 1, 1.0)])
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == DAMAGED
    assert windows(result.query()) == {"intact": 6, "extra": 1}


def test_time_that_no_seal_covers_is_not_called_intact(alone: World, capsys: Capture) -> None:
    points = alone.expected()
    alone.write(points)
    sealer = Sealer(alone)
    for bounds in sealer.bounds[1:3] + sealer.bounds[4:]:
        sealer.seal(bounds, points)
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INCOMPLETE
    (gap,) = result.query()["not_sealed"]
    assert (gap["from_ms"], gap["to_ms"]) == sealer.bounds[3]
    result = alone.run(capsys, "verify", "--sealed", "--from", str(alone.start_ms / 1000), "--json")
    assert [gap["from_ms"] for gap in result.query()["not_sealed"]] == [
        sealer.bounds[0][0],
        sealer.bounds[3][0],
    ]
    inside = ["--from", str(sealer.bounds[4][0] / 1000), "--to", str(sealer.bounds[4][1] / 1000)]
    result = alone.run(capsys, "verify", "--sealed", *inside, "--json")
    assert result.code == INTACT
    assert windows(result.query()) == {"intact": 1}


def test_the_newest_seal_holds(alone: World, capsys: Capture) -> None:
    points = alone.expected()
    alone.write(points)
    sealer = Sealer(alone)
    first, second, third, *_ = sealer.bounds
    wrong = points[:-1] + points[:1]
    sealer.seal((first[0] + 60_000, first[1] - 60_000), points[:5])  # covered as a whole
    sealer.seal((second[0], second[1] + 60_000), points)  # covered in part
    for bounds in sealer.bounds:
        if bounds != second:
            sealer.seal(bounds, points)
    sealer.seal(third, wrong[:100])
    sealer.seal(third, points)
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INCOMPLETE
    assert windows(result.query()) == {"intact": 6, "replaced": 1}
    assert "loaded again in part: 1 window" in alone.run(capsys, "verify", "--sealed").out


def test_a_window_at_the_edge_of_the_range_is_judged_by_all_that_overlap_it(
    alone: World, capsys: Capture
) -> None:
    points = alone.expected()
    alone.write(points)
    sealer = Sealer(alone)
    sealer.seal_all(points[:100])
    _, second, third, fourth, *_ = sealer.bounds
    sealer.seal((second[0], second[1] - 60_000), points)
    sealer.seal((third[0] + 60_000, fourth[1]), points)
    only = ["--from", str(second[1] / 1000 - 1), "--to", str(third[0] / 1000 + 1)]
    result = alone.run(capsys, "verify", "--sealed", *only, "--json")
    assert result.code == INCOMPLETE
    assert windows(result.query()) == {"replaced": 2}
    assert result.query()["not_sealed"] == []


def test_what_was_replayed_adds_to_its_window(alone: World, capsys: Capture) -> None:
    points = alone.expected()
    alone.write(points)
    sealer = Sealer(alone)
    first, second, *_ = sealer.bounds
    sealer.seal(second, points[:3], ",part=replay")  # older than the window's seal: void
    for bounds in sealer.bounds:
        sealer.seal(bounds, [p for p in points if bounds != first or p[0][0] != "odd"])
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert windows(result.query()) == {"intact": 6, "extra": 1}
    sealer.seal(first, [point for point in points if point[0][0] == "odd"], ",part=replay")
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INTACT, result.out


def test_seals_of_others_are_not_ours(alone: World, capsys: Capture) -> None:
    points = alone.expected()
    alone.write(points)
    Sealer(alone).seal_all(points)
    Sealer(alone, query="former").seal_all(points[:10])
    end_ms = alone.start_ms + WINDOW_MS
    alone.write_raw(
        "etl_seal,pipeline=another,query=raw,tier=hot"
        f' start_ms={alone.start_ms}i,points=1i,digest="{"0" * 32}",sealed_ms={2**50}i {end_ms}'
    )
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INTACT, result.out
    assert result.document["not_configured"] == ["former"]


def test_a_seal_that_cannot_be_read_is_not_called_intact(alone: World, capsys: Capture) -> None:
    points = alone.expected()
    alone.write(points)
    sealer = Sealer(alone)
    sealer.seal_all(points)
    alone.write_raw(
        f"etl_seal,pipeline={alone.namespace},query=raw,tier=hot"
        f" start_ms={sealer.bounds[0][0] - WINDOW_MS}i,points=1i"
        f',digest="unknown",sealed_ms={2**50}i {sealer.bounds[0][1]}'
    )
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INCOMPLETE
    assert windows(result.query()) == {"intact": 6, "unreadable": 1}
    assert result.query()["found"][0]["from_ms"] == sealer.bounds[0][0] - WINDOW_MS


def test_what_retention_deletes_is_expired_and_not_deleted(alone: World, capsys: Capture) -> None:
    points = alone.expected()
    alone.write(points)
    Sealer(alone).seal_all(points)
    middle_ms = alone.start_ms + 3 * WINDOW_MS
    alone.influx.query(
        f"DELETE FROM /load|odd|late/ WHERE time <= {middle_ms * 1_000_000}",
        database=alone.database,
    )
    assert alone.run(capsys, "verify", "--sealed", "--json").code == DAMAGED
    kept_seconds = int(time.time() - middle_ms / 1000 - 60)
    alone.changes["load.tiers"] = {"hot": {"bucket": alone.database, "retention": kept_seconds}}
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INTACT, result.out
    assert windows(result.query()) == {"expired": 4, "intact": 3}


def test_the_retention_that_influxdb_reports_counts_where_none_is_configured(
    alone: World, capsys: Capture
) -> None:
    points = alone.expected()
    alone.write(points)
    Sealer(alone).seal_all(points)
    middle_ms = alone.start_ms + 3 * WINDOW_MS
    kept_seconds = int(time.time() - middle_ms / 1000 - 60)
    assert kept_seconds > 3600, "no InfluxDB keeps points for less"
    alone.influx.query(
        f'ALTER RETENTION POLICY autogen ON "{alone.database}" DURATION {kept_seconds}s '
        "SHARD DURATION 1h"
    )
    alone.influx.query(
        f"DELETE FROM /load|odd|late/ WHERE time <= {middle_ms * 1_000_000}",
        database=alone.database,
    )
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INTACT, result.out
    assert windows(result.query()) == {"expired": 4, "intact": 3}


def test_an_expression_owns_its_measurement(alone: World, capsys: Capture) -> None:
    alone.queries = [SELECT, EXPR]
    points, by_host = alone.expected(), alone.expected_by_host()
    alone.write([*points, *by_host])
    Sealer(alone).seal_all(points)
    Sealer(alone, query="by_host").seal_all(by_host)
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INTACT, result.out
    assert windows(result.query("by_host")) == {"intact": 7}
    alone.delete("by_host", {"host": "a"}, by_host[0][1])
    result = alone.run(capsys, "verify", "--sealed", "--query", "by_host", "--json")
    assert result.code == DAMAGED
    assert windows(result.query("by_host")) == {"intact": 6, "thinned": 1}


def test_a_series_that_only_a_matcher_tells_apart_is_not_ours(
    alone: World, capsys: Capture
) -> None:
    alone.queries = [{"name": "raw", "select": '{job="app", zone!="far"}'}]
    points = alone.expected()
    Sealer(alone).seal_all(points)
    (name, tags), time_ms, value = points[0]
    alone.write([*points, ((name, (*tags, ("zone", "far"))), time_ms, value)])
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert (result.code, windows(result.query())) == (INTACT, {"intact": 7})


def test_relabelling_that_hides_what_was_selected(alone: World, capsys: Capture) -> None:
    rules = [{"action": "labeldrop", "regex": "job"}]
    alone.changes["transform.relabel"] = rules
    points = [((name, tags[:-1]), t, v) for (name, tags), t, v in alone.expected()]
    alone.write(points)
    Sealer(alone).seal_all(points)
    # The only query that can have written these measurements.
    assert alone.run(capsys, "verify", "--sealed", "--json").code == INTACT
    alone.delete("load", {"host": "a"}, points[0][1])
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert windows(result.query()) == {"intact": 6, "thinned": 1}
    # Nobody can tell its series from another's.
    alone.queries = [SELECT, {"name": "others", "select": 'load{job="other"}'}]
    result = alone.run(capsys, "verify", "--sealed", "--query", "raw", "--json")
    assert result.code == INCOMPLETE
    assert windows(result.query()) == {"intact": 6, "untold": 1}


def test_windows_larger_than_a_piece(alone: World, capsys: Capture, monkeypatch: Any) -> None:
    points = alone.expected()
    alone.write(points)
    Sealer(alone).seal_all(points)
    monkeypatch.setattr("services.verifier.sealed.wiring.PIECE_POINTS", 50)
    monkeypatch.setattr("services.verifier.sealed.seals._PAGE_SEALS", 2)
    result = alone.run(capsys, "verify", "--sealed", "--json")
    assert result.code == INTACT, result.out
    assert windows(result.query()) == {"intact": 7}


def test_a_sink_that_is_away_is_no_verdict(alone: World, capsys: Capture) -> None:
    alone.changes["load.influxdb.url"] = "http://127.0.0.1:1"
    result = alone.run(capsys, "verify", "--sealed")
    assert result.code == 3
    assert "cannot be reached" in result.err


def test_a_range_without_time_is_refused(alone: World, capsys: Capture) -> None:
    result = alone.run(capsys, "verify", "--sealed", "--from", "now", "--to", "1h")
    assert result.code == 2
    assert "nothing lies between" in result.err
