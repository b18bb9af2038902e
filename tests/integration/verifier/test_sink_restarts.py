"""A real influxd loses what it accepted, and the verifier finds it although it was proven.

After a crash in the middle of a write, a torn record ends the write-ahead log. The next start takes
it away, but appends where it ended, so what is accepted then lies behind a hole, where the start
after that ends the log (influxdata/influxdb#9657).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from common.config import load_settings
from devtools.servers.influx_server import InfluxServer
from tests.integration.etlctl.verify.world import STEP_MS, Point, World
from tests.integration.verifier import prover_rig
from tests.integration.verifier.prover_rig import FEED, Rig

MIDDLE_STEPS = 100
# A record of 5,000 bytes, of which a few were written.
TORN = b"\x01\x00\x00\x13\x88" + bytes(range(100))


@pytest.fixture
def rig(
    world: World,
    redis_client: Redis,
    make_influx: Callable[..., InfluxServer],
    monkeypatch: pytest.MonkeyPatch,
) -> Rig:
    """With an influxd of its own; its extractor has the configuration of the verifier."""
    influx = make_influx(databases=[world.database], token="t")
    influx.influxd.cuts_torn_records = False
    world = replace(world, influx=influx)
    query = next(q for q in load_settings(world.config()).extract.queries if q.name == "raw")
    monkeypatch.setattr(prover_rig, "FEED", replace(FEED, fingerprint=query.fingerprint("hot")))
    return Rig(world, redis_client)


def crash(influx: InfluxServer, torn: bytes = b"") -> None:
    """It is killed, in the middle of a write if ``torn`` is what it has written of it; and back."""
    influx.influxd.kill()
    segments = list(influx.influxd.work_dir.glob("data/wal/*/autogen/*/*.wal"))
    assert segments
    for segment in segments:
        with segment.open("ab") as file:
            file.write(torn)
    influx.influxd.start()


def held_times_ms(rig: Rig) -> set[int]:
    found = rig.world.influx.query(
        'SELECT value FROM "load"', database=rig.world.database, epoch="ms"
    )
    return {int(time_ms) for time_ms, _ in found[0]["values"]}


def lose_what_was_proven(rig: Rig) -> list[Point]:
    """Two starts after a crash, between which points are loaded and proven; those points."""
    middle_ms = rig.world.start_ms + MIDDLE_STEPS * STEP_MS
    points = rig.world.expected()
    rig.world.write(one for one in points if one[1] <= middle_ms)
    rig.load_up_to(middle_ms)
    rig.turn()
    assert rig.events("sink_restarted") == [], "it was seen for the first time"

    crash(rig.world.influx, TORN)
    late = [one for one in points if one[1] > middle_ms]
    rig.world.write(late)
    rig.load_up_to(rig.world.end_ms)
    rig.turn()
    rig.turn()
    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, 0)
    assert held_times_ms(rig) >= {one[1] for one in late if one[0][0] == "load"}

    crash(rig.world.influx)
    gone = {one[1] for one in late if one[0][0] == "load"} - held_times_ms(rig)
    assert gone, "this influxd keeps what it accepted: the verifier need not look for its starts"
    return [one for one in late if one[1] in gone]


def test_what_the_second_start_after_a_crash_lost_is_found_and_extracted_again(rig: Rig) -> None:
    gone = lose_what_was_proven(rig)
    rig.redis.delete(rig.keys.seals_due)  # nobody knows its windows
    rig.prover = rig.new_prover()  # it was started while no verifier worked

    rig.turn()

    opened = rig.windows.status()[FEED.name].backlog
    assert all(any(start < one[1] <= end for start, end in opened) for one in gone)
    assert len(rig.events("sink_restarted")) == 2
    assert rig.events("verify_differs")

    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    rig.turn()
    rig.turn()
    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, 0)
    assert len(rig.events("sink_restarted")) == 2, "it is told once"


def test_where_it_is_turned_off_a_start_is_not_looked_for(rig: Rig) -> None:
    rig.world.changes = {"verify.sink_restart_seconds": 0}
    rig.prover = rig.new_prover()
    lose_what_was_proven(rig)

    rig.turn()
    rig.turn()

    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, 0), "nobody has looked again"
    assert rig.prover.record.sink_starts() == []


def said(*starts: str) -> Any:
    return SimpleNamespace(starts=lambda: starts)


def look(rig: Rig, *starts: str) -> Sequence[str]:
    """The sink says this of its nodes; what is remembered."""
    rig.prover.restarts.look(said(*starts), lambda: None)
    rig.prover._look()
    return rig.prover.record.sink_starts()


@pytest.fixture
def proven(rig: Rig) -> Rig:
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    rig.turn()
    rig.redis.hdel(rig.keys.verified, "sink_starts")
    rig.prover._look()
    assert rig.verified_ms == rig.world.end_ms
    return rig


def test_what_is_compared_again_waits_as_history_does(proven: Rig) -> None:
    whole_seconds = (proven.world.end_ms - proven.world.start_ms) / 1000
    assert look(proven, "a") == ["a"]
    assert proven.value("etl_verify_history_waiting_seconds") == 0
    assert look(proven, "b") == ["a", "b"]
    assert proven.value("etl_verify_history_waiting_seconds") == whole_seconds
    assert proven.value("etl_verify_waiting_seconds") == 0
    (told,) = proven.events("sink_restarted")
    assert (told["started"], told["again_seconds"]) == ("b", whole_seconds)


def test_nodes_behind_one_address_are_told_apart(proven: Rig) -> None:
    look(proven, "a", "b")
    for one in ("b", "a", "b"):
        assert look(proven, one) == ["a", "b"]
    assert look(proven) == ["a", "b"], "it does not say"
    assert proven.events("sink_restarted") == []
    assert look(proven, "a", "c") == ["a", "b", "c"]
    assert len(proven.events("sink_restarted")) == 1


def test_each_node_that_is_away_has_a_tick(proven: Rig) -> None:
    look(proven, "a")
    ticks: list[int] = []
    proven.prover.restarts.look(said("", "a", ""), lambda: ticks.append(1))
    assert len(ticks) == 3
    assert proven.prover.record.sink_starts() == ["a"]


def test_what_was_proven_long_ago_is_not_compared_again(proven: Rig) -> None:
    look(proven, "a")
    proven.now_seconds += proven.prover.settings.verify.sink_restart_seconds + 1
    look(proven, "b")
    assert proven.verified_ms == proven.world.end_ms
    assert proven.events("sink_restarted")[0]["again_seconds"] == 0


def test_another_verifier_that_works_has_seen_to_it(proven: Rig) -> None:
    look(proven, "a")
    proven.redis.set(proven.keys.verify_lease, "another's")
    assert look(proven, "b") == ["a"]
    assert proven.events("sink_restarted") == []


@pytest.mark.parametrize("kept", ["{", '{"a": 1}', "7"])
def test_what_somebody_else_wrote_is_nothing_seen(proven: Rig, kept: str) -> None:
    proven.redis.hset(proven.keys.verified, "sink_starts", kept)
    assert look(proven, "a") == ["a"]
    assert proven.events("sink_restarted") == []
