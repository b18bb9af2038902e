"""A short run of the fault suite passes, and its oracle notices every kind of loss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from common.state.keys import RAW, feed_of
from devtools import PROJECT_ROOT
from devtools.chaos.__main__ import SHORT_PAST_SECONDS, SHORT_TIMES
from devtools.chaos.comparing import Compared, Comparer
from devtools.chaos.epochs import Epochs, counts
from devtools.chaos.faults.sink import KINDS as SINK_KINDS
from devtools.chaos.kinds import FaultContext
from devtools.chaos.ledger import LedgerWatch
from devtools.chaos.load import COUNTER, COUNTERS, ODD
from devtools.chaos.oracle import WARM_TIER, Oracle
from devtools.chaos.rig import KEYS, WARM, Rig
from devtools.servers.binaries import Toolbox
from services.verifier.wiring import HOT

RUN_SECONDS = 360

pytestmark = pytest.mark.timeout(RUN_SECONDS + 60)


@pytest.mark.chaos
def test_a_short_run_loses_nothing(tmp_path: Path) -> None:
    report = tmp_path / "chaos.json"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ETL")}

    done = subprocess.run(
        [sys.executable, "-m", "devtools.chaos", "--short", "--json", str(report)],
        cwd=PROJECT_ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("CHAOS_SEED=")
    found: dict[str, Any] = json.loads(report.read_text())
    assert {fault["kind"]: fault["count"] for fault in found["faults"]} == SHORT_TIMES
    assert found["samples_extracted"] > 200_000
    assert found["samples_lost"] == 0
    assert found["samples_duplicated"] == 0
    assert found["ledger_max_imbalance"] == 0
    assert found["redeliveries"] > 0
    points = found["points_equal"]
    assert points.keys() == {"hot", "warm", f"hot of {COUNTER}", f"warm of {COUNTER}"}
    assert points[f"hot of {COUNTER}"] == COUNTERS * SHORT_PAST_SECONDS
    assert min(points.values()) > 2_000
    assert found["backfill"]["begun"] >= 2
    assert found["backfill"]["samples"] > 2 * points[f"hot of {COUNTER}"]


class World:
    """A rig without faults, and its oracle."""

    def __init__(self, rig: Rig, comparer: Comparer) -> None:
        self.rig = rig
        self.comparer = comparer
        self.epochs = Epochs()
        self.oracle = Oracle(rig, comparer, self.epochs)
        self.bucket = rig.settings.load.influxdb.bucket

    def prove(self) -> tuple[list[str], Compared]:
        """What the oracle finds wrong now, and its comparison of the time since its last check."""
        proof = self.oracle.prove()
        self.oracle.collect(proof)
        assert proof.compared is not None, proof.problems
        return proof.problems, proof.compared

    def loaded_point(self) -> tuple[str, int, float]:
        """Tags, time in ms and value of a point of load_b that the next proof will compare."""
        found: list[dict[str, Any]] = []

        def loaded() -> bool:
            found[:] = self.rig.stack.influx.query(
                "SELECT value FROM load_b WHERE \"series\" = '00001'"
                " GROUP BY * ORDER BY time DESC LIMIT 1",
                database=self.bucket,
                epoch="ms",
            )
            # What the last proof has compared is not checked again.
            return bool(found) and found[0]["values"][0][0] > self.oracle.proved_ms

        self.rig.until(loaded, "a point is loaded that no proof has compared")
        time_ms, value = found[0]["values"][0]
        tags = ",".join(f"{k}={v}" for k, v in found[0]["tags"].items() if v)
        return tags, time_ms, value

    def last_comparisons(self) -> dict[str, Compared]:
        """The comparisons of the whole run, by what they are of; of hot the second half."""
        parts = [part.result() for part in self.oracle.last_comparisons(self.comparer)]
        return {part.what: part for part in parts}

    def write(self, tags: str, value: float, time_ms: int) -> None:
        response = requests.post(
            f"{self.rig.stack.influx.direct_url}/write",
            params={"db": self.bucket, "precision": "ms"},
            data=f"load_b,{tags} value={value} {time_ms}",
            timeout=10,
        )
        assert response.status_code == 204


@pytest.fixture(scope="module")
def world(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    run_dir = tmp_path_factory.mktemp("chaos")
    with Rig("1", series=400, past_seconds=300, run_dir=run_dir, toolbox=toolbox) as rig:
        rig.until_flowing()
        rig.backfill.begin()
        with Comparer(rig.stack.config_path, rig.direct_environ()) as comparer:
            yield World(rig, comparer)


def test_the_oracle_is_content_with_a_pipeline_that_works(world: World) -> None:
    problems, compared = world.prove()

    assert problems == []
    assert 1000 < compared.equal <= compared.source


def test_warm_and_the_past_are_whole_and_a_loss_in_them_is_noticed(world: World) -> None:
    rig = world.rig
    assert rig.backfill.finish() == []
    problems, _ = world.prove()
    assert problems == []
    whole = world.last_comparisons()
    hot_past, warm_past = (f"{tier} of {COUNTER}" for tier in (HOT, WARM_TIER))
    assert {part.problem for part in whole.values()} == {None}
    assert whole[hot_past].equal == COUNTERS * (rig.past.end_ms - rig.past.start_ms) // 1000

    middle_ms = (rig.past.start_ms + rig.past.end_ms) // 2
    for bucket, measurement, time_ms in (
        (world.bucket, COUNTER, middle_ms),
        (WARM["bucket"], COUNTER, middle_ms),
        (WARM["bucket"], "load_d", world.oracle.warm_proved_ms),
    ):
        rig.stack.influx.query(
            f"DELETE FROM {measurement} WHERE time = {time_ms}ms", database=bucket
        )

    damaged = world.last_comparisons()
    missing = {what: part.missing for what, part in damaged.items() if part.problem}
    assert missing == {WARM_TIER: 100, hot_past: COUNTERS, warm_past: COUNTERS}

    def seals_tell() -> bool:
        """Of each of the three; the last of them are written a moment later."""
        found = [seals.problems for seals in world.oracle.last_seals()[1:]]
        return all(any("sealed windows of" in one for one in problems) for problems in found)

    rig.until(seals_tell, "the seals tell of it too")


def test_a_point_that_is_missing_in_the_sink_is_noticed(world: World) -> None:
    _, time_ms, _ = world.loaded_point()
    world.rig.stack.influx.query(
        f"DELETE FROM load_b WHERE \"series\" = '00001' AND time = {time_ms}ms",
        database=world.bucket,
    )

    problems, compared = world.prove()

    assert (compared.missing, compared.extra, compared.different) == (1, 0, 0)
    assert len(problems) == 1
    assert "load_b" in problems[0]


def test_a_point_too_many_in_the_sink_is_noticed(world: World) -> None:
    tags, time_ms, value = world.loaded_point()
    world.write(tags, value, time_ms + 1)

    problems, compared = world.prove()

    assert (compared.missing, compared.extra, compared.different) == (0, 1, 0)
    assert len(problems) == 1


def test_a_point_with_another_value_is_noticed(world: World) -> None:
    tags, time_ms, value = world.loaded_point()
    world.write(tags, value + 1, time_ms)

    problems, compared = world.prove()

    assert (compared.missing, compared.extra, compared.different) == (0, 0, 1)
    assert len(problems) == 1


def test_a_bad_point_is_expected_and_its_dead_letter_missed(world: World) -> None:
    (bad_point,) = (kind.fire for kind in SINK_KINDS if kind.name == "bad_point")
    assert bad_point(FaultContext(world.rig, world.rig.rng, world.oracle, world.epochs), 1) == 1

    problems, compared = world.prove()
    assert problems == []
    assert compared.refused == 1

    dead_letters: Any = world.rig.redis.xrange(KEYS.dead)
    assert world.rig.redis.xdel(KEYS.dead, dead_letters[0][0]) == 1
    problems, _ = world.prove()
    wanted = f"no dead letters: [Point(series=SeriesKey(measurement='{ODD}_000001'"
    assert any(wanted in problem for problem in problems)
    assert world.rig.ledger.audit().imbalance_samples == 1
    # As if there had never been a dead letter: what follows begins with a ledger that balances.
    world.rig.redis.hdel(KEYS.dead_records, dead_letters[0][0])


def test_samples_that_vanish_from_redis_are_noticed_in_the_books(world: World) -> None:
    rig = world.rig
    with LedgerWatch(rig.connect_redis(), KEYS) as watch:
        for transformer in rig.stack.services["transformer"]:
            transformer.pause()
        rig.until(lambda: rig.redis.xlen(KEYS.stream(RAW)), "an entry waits")
        entries: Any = rig.redis.xrange(KEYS.stream(RAW))
        id_, fields = entries[0]
        rig.redis.xdel(KEYS.stream(RAW), id_)
        rig.until(lambda: watch.worst_samples, "the watch sees the ledger")
        for transformer in rig.stack.services["transformer"]:
            transformer.resume()

    assert watch.worst_samples == watch.worst_lost_samples == int(fields[b"samples"])


def test_every_ledger_is_counted_against_the_source(world: World) -> None:
    rig = world.rig
    rig.stack.stop_services()
    epoch = world.epochs.close(rig)

    found = {count.feed: count for count in counts(rig, world.epochs)}
    assert found.keys() == {plan.feed.name for plan in rig.plans}
    assert all(count.recorded == count.wanted > 0 for count in found.values())

    counter = feed_of(COUNTER, WARM_TIER)
    epoch.extracted = {**epoch.extracted, "load_c@hot": epoch.extracted["load_c@hot"] + 3}
    epoch.loaded = {**epoch.loaded, counter: epoch.loaded[counter] - 1000}
    wrong = [count for count in counts(rig, world.epochs) if count.recorded != count.wanted]
    assert {count.feed for count in wrong} == {"load_c@hot", counter}
    differences = {count.feed: count.recorded - count.wanted for count in wrong}
    assert differences["load_c@hot"] == 3
    # What vanished before may have been of this one, and is in flight for ever.
    assert -1000 <= differences[counter] < 0
