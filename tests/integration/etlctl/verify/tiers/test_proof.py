"""What the real stages loaded into a warm tier is proven, by the source and by its seals alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest

from tests.integration.etlctl.verify.tiers.stages import Stages, windows_of
from tests.integration.etlctl.verify.world import Result

Capture = pytest.CaptureFixture[str]

MINUTE_MS = 60_000
ONE_NAME = [{"action": "labeldrop", "regex": "host"}]
TAG_OF_AN_AGGREGATE = [{"source_labels": ["host"], "target_label": "max"}]


def verify(stages: Stages, capsys: Capture, *options: str) -> Result:
    return stages.world.run(capsys, "verify", "--tier", "warm", "--json", *options)


def relabelled(stages: Stages, rules: Sequence[Mapping[str, object]]) -> None:
    stages.world.changes["transform.relabel"] = list(rules)
    stages.reload()
    stages.run()


def delete(stages: Stages, condition: str) -> None:
    stages.world.influx.query(
        f'DELETE FROM "load" WHERE {condition}', database=f"{stages.world.database}_warm"
    )


def test_series_that_collide_after_relabelling_are_rolled_up_as_one(
    stages: Stages, capsys: Capture
) -> None:
    relabelled(stages, ONE_NAME)
    dropped = stages.account().dropped
    # Of every time one sample of two.
    assert dropped["collision"] >= 236

    against_source = verify(stages, capsys)
    assert against_source.query()["verdict"] == "equal", against_source.out
    assert against_source.query()["dropped"]["collision"] == 236
    by_seals = verify(stages, capsys, "--sealed")
    assert (by_seals.code, windows_of(by_seals.query())) == (0, {"intact": 6})

    time_ms = stages.world.start_ms + 33 * MINUTE_MS
    delete(stages, f"time = {time_ms * 1_000_000}")
    query = verify(stages, capsys).query()
    assert (query["missing"], query["unexplained"]) == (1, 1)
    assert windows_of(verify(stages, capsys, "--sealed").query()) == {"intact": 5, "thinned": 1}


def test_a_tag_named_as_an_aggregate_is_proven_too(stages: Stages, capsys: Capture) -> None:
    relabelled(stages, TAG_OF_AN_AGGREGATE)
    assert verify(stages, capsys).query()["verdict"] == "equal"
    assert windows_of(verify(stages, capsys, "--sealed").query()) == {"intact": 6}


def test_what_the_sink_keeps_no_longer_is_explained_and_nothing_younger(
    stages: Stages, capsys: Capture
) -> None:
    """The tier's retention begins in the middle of the history."""
    world, warm = stages.world, f"{stages.world.database}_warm"
    seconds = int(time.time() - world.start_ms / 1_000) - 30 * 60
    world.influx.drop_database(warm)
    world.influx.create_database(warm, retention_seconds=seconds)
    world.changes["load.tiers"]["warm"]["retention"] = f"{seconds}s"
    stages.reload()
    stages.run()

    account = stages.account()
    too_old = account.dropped["beyond_retention"]
    assert too_old > 60
    assert account.dead_lettered == 0
    query = verify(stages, capsys).query()
    assert query["explained"]["missing"] == {"beyond_retention": query["missing"]}
    assert (query["verdict"], query["unexplained"]) == ("explained", 0)
    assert query["equal"] > 60
    assert windows_of(verify(stages, capsys, "--sealed").query()).keys() <= {"intact", "expired"}

    time_ms = world.start_ms + 55 * MINUTE_MS
    delete(stages, f"\"host\" = 'a' AND time = {time_ms * 1_000_000}")
    assert verify(stages, capsys).query()["unexplained"] == 1
    assert windows_of(verify(stages, capsys, "--sealed").query())["thinned"] == 1
