"""The verifier on a real Prometheus, a real influxd and a real Redis: what it proves, and when."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from common.source.remote_read import choice
from common.state.dead_letters.purged import LATEST_MS
from common.state.windows import Feed
from devtools.servers.ports import free_port
from services.verifier.proving.budget import CpuBudget
from services.verifier.proving.prove import Prover
from services.verifier.source import Source, SourceSeries
from tests.integration.etlctl.verify.world import SELECT, STEP_MS
from tests.integration.verifier.prover_rig import FEED, Rig

RECHECKS = (3600.0,)


def test_what_is_loaded_is_proven_once(rig: Rig) -> None:
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)

    rig.turn()
    rig.turn()  # publishes, and has nothing to do

    assert rig.verified_ms == rig.world.end_ms
    assert rig.value("etl_verify_waiting_seconds") == 0
    assert rig.differing == 0
    assert rig.value("etl_verify_pieces_total", result="differs") == 0
    proven = rig.registry.get_sample_value("etl_records_total")
    assert proven is not None
    assert proven >= len(rig.world.expected())
    assert rig.ready == dict.fromkeys(("redis", "source", "sink"), (True, ""))


def test_what_one_source_has_is_proven_while_another_is_away(rig: Rig) -> None:
    here = {"name": "here", "url": rig.world.prometheus.url, "labels": {"site": "here"}}
    away = {"name": "away", "url": f"http://127.0.0.1:{free_port()}", "labels": {"site": "away"}}
    rig.world.changes = {"extract": {"sources": [away, here], "queries": rig.world.queries}}
    rig.prover = rig.new_prover()
    rig.world.write(
        ((name, tuple(sorted({**dict(tags), "site": "here"}.items()))), time_ms, value)
        for (name, tags), time_ms, value in rig.world.expected()
    )
    rig.load_up_to(rig.world.end_ms, feed=Feed("raw@here", "hot", "select", "f"))

    rig.turn()
    rig.turn()

    labels = {"query": "raw@here", "tier": "hot"}
    proven_seconds = rig.value("etl_verified_timestamp_seconds", **labels)
    assert proven_seconds == rig.world.end_ms / 1000
    assert rig.value("etl_verify_differing_points", **labels) == 0
    assert (rig.ready["source@here"][0], rig.ready["source@away"][0]) == (True, False)


def test_an_hour_that_was_deleted_is_found_and_its_return_too(rig: Rig) -> None:
    points = rig.world.expected()
    middle_ms = rig.world.start_ms + 100 * STEP_MS
    rig.world.write(point for point in points if point[1] <= middle_ms)
    rig.load_up_to(rig.world.end_ms)
    missing = [point for point in points if point[1] > middle_ms]

    rig.turn()
    rig.turn()

    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == len(missing)
    told = rig.events("verify_differs")
    assert sum(line["points"] for line in told) == len(missing)
    assert all(line["missing"] == line["points"] for line in told)
    assert all(len(line["examples"]) <= 3 for line in told)

    rig.world.write(missing)
    rig.turn()
    assert rig.differing == len(missing)  # looked at again only after a while
    rig.now_seconds += 3600
    rig.turn()
    rig.turn()
    assert rig.differing == 0
    assert rig.events("verify_equal_again")
    assert len(rig.events("verify_differs")) == len(told)


def test_a_long_range_is_read_by_chunks_and_what_differs_in_it_by_a_query(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "LEAST_SAMPLES", 1)
    monkeypatch.setattr(choice, "LEAST_SAMPLES_A_SERIES", 1)
    ways: list[str] = []
    for way in ("_by_chunks", "_by_json"):
        monkeypatch.setattr(Source, way, noting(ways, way))
    points = rig.world.expected()
    rig.world.write(points)
    lost = points[-1]
    rig.world.delete(lost[0][0], dict(lost[0][1]), lost[1])
    rig.load_up_to(rig.world.end_ms)

    rig.turn()
    rig.turn()

    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == 1
    # Nothing is known of the first piece; the second read is by a query.
    assert ways[:2] == ["_by_json", "_by_chunks"] and ways[-1] == "_by_json"
    assert not rig.events("remote_read_fallback")


def noting(ways: list[str], way: str) -> Callable[..., list[SourceSeries] | None]:
    """The reader of that name, which notes when it has read."""
    reader = getattr(Source, way)

    def read(source: Source, *window: Any) -> list[SourceSeries] | None:
        found: list[SourceSeries] | None = reader(source, *window)
        if found is not None:
            ways.append(way)
        return found

    return read


def test_nothing_is_proven_before_its_last_recount(rig: Rig) -> None:
    rig.world.write(rig.world.expected())
    first_ms = rig.world.start_ms + 40 * STEP_MS
    rig.load_up_to(first_ms)
    rig.load_up_to(rig.world.end_ms, RECHECKS)

    rig.turn()
    rig.turn()

    assert rig.verified_ms == first_ms
    members = rig.redis.zrange(rig.keys.rechecks(FEED.name), 0, -1)
    assert isinstance(members, list)
    rig.redis.zrem(rig.keys.rechecks(FEED.name), *members)
    rig.turn()
    rig.turn()
    assert rig.verified_ms == rig.world.end_ms


def test_what_is_opened_again_is_proven_again(rig: Rig) -> None:
    points = rig.world.expected()
    rig.world.write(points)
    rig.load_up_to(rig.world.end_ms)
    rig.turn()

    reopened_ms = rig.world.start_ms + 60 * STEP_MS
    rig.windows.reopen(FEED, reopened_ms, rig.world.end_ms)
    rig.turn()
    rig.turn()
    assert rig.verified_ms == reopened_ms

    (_, time_ms, _) = lost = next(point for point in points if point[1] > reopened_ms)
    rig.world.delete(lost[0][0], dict(lost[0][1]), time_ms)
    window = rig.lease()
    assert rig.windows.commit(FEED, window, []) == "committed"
    rig.turn()
    rig.turn()
    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == 1


def test_what_is_opened_again_while_it_is_compared_does_not_count(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.load_up_to(rig.world.end_ms)  # and nothing of it is in the sink
    progress = Prover._progress

    def reopened(self: Prover, position_ms: int) -> None:
        rig.windows.reopen(FEED, rig.world.start_ms, rig.world.end_ms)
        progress(self, position_ms)

    monkeypatch.setattr(Prover, "_progress", reopened)
    rig.turn()
    rig.turn()
    assert rig.verified_ms == rig.world.start_ms
    assert rig.differing == 0
    assert rig.events("verify_differs") == []


def test_what_redis_loses_while_it_is_compared_does_not_count(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_ms = rig.world.start_ms + 60 * STEP_MS
    rig.world.write(point for point in rig.world.expected() if point[1] > begin_ms)
    rig.load_up_to(rig.world.end_ms)  # and the rest of it is not in the sink
    progress = Prover._progress

    def lost(self: Prover, position_ms: int) -> None:
        """Redis comes back empty, and the feed begins anew at a later time."""
        rig.redis.delete(*rig.redis.scan_iter(f"{rig.world.namespace}:*"))
        rig.windows.plan(FEED, begin_ms, rig.world.end_ms, adopt=True)
        assert rig.windows.commit(FEED, rig.lease(), []) == "committed"
        monkeypatch.setattr(Prover, "_progress", progress)

    monkeypatch.setattr(Prover, "_progress", lost)
    rig.turn()
    assert rig.events("verify_differs") == []
    rig.turn()
    rig.turn()
    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == 0


def test_time_that_the_source_has_deleted_is_unproven_and_passed(rig: Rig) -> None:
    rig.world.write(rig.world.expected())
    early_ms = rig.world.start_ms - 7_200_000
    rig.windows.plan(FEED, early_ms, rig.world.end_ms)
    while (window := rig.windows.lease(FEED, "live", 10**12, 10**9)) is not None:
        assert rig.windows.commit(FEED, window, []) == "committed"

    rig.turn()
    rig.turn()

    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == 0
    told = rig.events("verify_unproven")
    assert told[0]["start_ms"] == early_ms
    assert all(one["end_ms"] == two["start_ms"] for one, two in pairwise(told))
    assert rig.value("etl_verify_unproven_seconds_total") == pytest.approx(
        (told[-1]["end_ms"] - early_ms) / 1000
    )
    assert rig.value("etl_verify_proven_by_seal_seconds_total") is None


def test_a_new_process_goes_on_where_the_last_one_was(rig: Rig) -> None:
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    rig.turn()
    compared = rig.registry.get_sample_value("etl_files_total")
    rig.prover = rig.new_prover()
    rig.turn()
    assert rig.registry.get_sample_value("etl_files_total") == compared
    assert rig.verified_ms == rig.world.end_ms


def test_switched_off_it_compares_nothing(rig: Rig) -> None:
    rig.world.changes["verify.enabled"] = False
    rig.prover = rig.new_prover()
    rig.load_up_to(rig.world.end_ms)
    rig.turn()
    rig.turn()
    assert rig.verified_ms == rig.world.start_ms
    assert rig.ready["redis"] == (True, "verify.enabled is false")


@pytest.mark.parametrize("away", ["source", "sink"])
def test_a_server_that_is_away_makes_it_wait(rig: Rig, away: str) -> None:
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    key = {"source": "extract.prometheus_url", "sink": "load.influxdb.url"}[away]
    rig.world.changes[key] = f"http://127.0.0.1:{free_port()}"
    rig.redis.delete(rig.keys.identity)
    rig.prover = rig.new_prover()
    rig.turn()
    ok, why = rig.ready[away]
    assert not ok
    assert "cannot be reached" in why
    assert rig.registry.get_sample_value("etl_failures_total") == 1
    assert rig.verified_ms == rig.world.start_ms


def test_a_query_that_cannot_be_read_keeps_no_other_from_being_proven(rig: Rig) -> None:
    bad = {"name": "bad", "expr": "load / on () load", "step": "30s"}
    rig.world.queries = [bad, SELECT]
    rig.prover = rig.new_prover()
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    other = Feed("bad", "hot", "expr", "f")
    rig.windows.plan(other, rig.world.start_ms, rig.world.end_ms)
    window = rig.windows.lease(other, "live", 10**12, 10**9)
    assert window is not None
    assert rig.windows.commit(other, window, []) == "committed"

    rig.turn()
    rig.turn()

    assert rig.verified_ms == rig.world.end_ms
    start_ms = rig.world.start_ms
    assert rig.value("etl_verified_timestamp_seconds", query="bad", tier="hot") == start_ms / 1000
    waiting = rig.value("etl_verify_waiting_seconds", query="bad", tier="hot")
    assert waiting == (rig.world.end_ms - start_ms) / 1000
    assert not rig.events("verify_unproven")
    told = rig.events("verify_failed")
    assert {line["query"] for line in told} == {"bad"}
    assert "answered execution: found duplicate series" in told[0]["error"]
    assert rig.ready["source"] == (True, "")


class Waits(threading.Event):
    """A stop event on which waiting takes no time, but that of a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = self.waited_seconds = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds += timeout or 0.0
        self.waited_seconds += timeout or 0.0
        return self.is_set()


def test_it_rests_for_what_its_share_of_the_processor_takes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    waits = Waits()
    cpu_seconds = 0.0
    progress = Prover._progress

    def worked(self: Prover, position_ms: int) -> None:
        """Each piece took a second of the processor."""
        nonlocal cpu_seconds
        cpu_seconds += 1.0
        waits.seconds += 1.0
        progress(self, position_ms)

    monkeypatch.setattr(Prover, "_progress", worked)
    rig.prover.life.stop = waits
    rig.prover.clock = lambda: waits.seconds
    rig.prover.budget = CpuBudget(0.05, cpu=lambda: cpu_seconds, clock=lambda: waits.seconds)
    rig.turn()

    assert cpu_seconds > 1
    assert waits.seconds == pytest.approx(cpu_seconds / 0.05)
    assert rig.registry.get_sample_value("etl_verify_cpu_seconds_total") == cpu_seconds
    rig.turn()
    assert rig.verified_ms == rig.world.end_ms


def test_another_pipelines_namespace_is_left_alone(rig: Rig) -> None:
    rig.redis.hset(rig.keys.identity, items=["source", "http://else:9090", "sink", "x"])
    rig.load_up_to(rig.world.end_ms)
    rig.turn()
    ok, why = rig.ready["redis"]
    assert not ok
    assert "belongs to another pipeline" in why


def test_what_was_purged_excuses_no_more_points_than_it_had(rig: Rig) -> None:
    """However many pieces there are: each was excused as many."""
    points = rig.world.expected()
    lost_ms = {rig.world.start_ms + steps * STEP_MS for steps in (2, 200)}
    of_load = [one for one in points if one[1] in lost_ms and one[0][0] == "load"]
    rig.world.write(one for one in points if one not in of_load)
    rig.load_up_to(rig.world.end_ms)
    rig.redis.hset(rig.keys.dead_purged, FEED.name, json.dumps([[0, LATEST_MS, 2]]))

    rig.turn()
    rig.turn()
    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, len(of_load) - 2)

    # What was excused once is excused again, where it is compared again.
    assert rig.windows.reopen(FEED, rig.world.start_ms, rig.world.start_ms + 10 * STEP_MS)
    rig.load_up_to(rig.world.end_ms)
    rig.redis.hset(rig.keys.dead_purged, FEED.name, json.dumps([[0, LATEST_MS, 2]]))
    rig.turn()
    rig.turn()
    assert rig.differing == len(of_load) - 2
