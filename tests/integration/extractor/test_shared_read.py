"""Windows of one query's tiers that cover the same time are read at once, and stay apart."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from common.errors import QueryTooLarge, SourceError, SourceUnavailable
from common.state.ledger import Ledger
from services.extractor.extract import Outcome
from services.extractor.staging import EntryBuilder
from tests.integration.extractor.extraction_world import KEYS, STEP_MS
from tests.integration.extractor.shared_read_world import (
    HEAD_MS,
    LEAD_IN_MS,
    TIERS,
    WINDOW_MS,
    Tiers,
)

NEWEST = HEAD_MS - WINDOW_MS, HEAD_MS


def colliding() -> EntryBuilder:
    """Relabelling makes every third series one; entries hold few."""
    return EntryBuilder(
        100, lambda kind, name, series: [b"%d" % (int(s[-4:-2].strip(b'"')) % 3) for s in series]
    )


def test_one_read_serves_every_tier(redis_client: Redis) -> None:
    rig = Tiers(redis_client)

    outcome, beside = rig.extract("hot")

    assert (outcome, beside) == (Outcome.COMMITTED, ["warm", "cold"])
    assert rig.source.reads == [(HEAD_MS - WINDOW_MS - LEAD_IN_MS, HEAD_MS)]
    for tier in TIERS:
        status = rig.status_of(tier)
        assert (status.backlog, status.open) == ([(0, HEAD_MS - WINDOW_MS)], [])


@pytest.mark.parametrize("expr", [False, True])
@pytest.mark.parametrize("histograms", [0, 2])
@pytest.mark.parametrize("builder", [EntryBuilder(100), EntryBuilder(5000), colliding()])
def test_each_tier_is_given_what_it_would_have_been_given_alone(
    redis_client: Redis, expr: bool, histograms: int, builder: EntryBuilder
) -> None:
    found = []
    for shared in (False, True):
        redis_client.flushall()
        rig = Tiers(redis_client, builder=builder, expr=expr, series=12)
        rig.source.histograms = 0 if expr else histograms
        rig.extract_all(shared=shared)
        found.append(rig.content())
        if builder.identities is None:
            assert len(rig.source.reads) == (4 if shared else 12)

    assert found[0] == found[1]
    assert len(found[0]["samples"]) == 12


def test_several_windows_of_a_tier_lie_within_one(redis_client: Redis) -> None:
    rig = Tiers(redis_client, "warm", "cold")
    warm = rig.plan_for("warm")
    for start in (0, 300 * STEP_MS):
        assert rig.windows.lease(warm.feed, "catchup", 0, 300 * STEP_MS, (start, HEAD_MS))

    assert rig.extract("cold") == (Outcome.COMMITTED, [])
    rig.clock.advance(61)
    assert rig.extract("cold") == (Outcome.COMMITTED, ["warm"])


def test_a_worker_that_dies_between_two_commits_doubles_and_loses_nothing(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Tiers(redis_client)
    commit, commits = rig.windows.commit, 0

    def dies(*args: Any, **named: Any) -> str:
        nonlocal commits
        commits += 1
        if commits == 2:
            raise RedisConnectionError("killed")
        return commit(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(rig.windows, "commit", dies)
        with pytest.raises(RedisConnectionError):
            rig.extract("hot")
    assert [rig.status_of(tier).open for tier in TIERS] == [[], [NEWEST], [NEWEST]]
    assert rig.take("warm") != rig.take("cold"), "others are leased meanwhile"
    rig.clock.advance(61)

    rig.extract_all(shared=True)
    while rig.status_of("warm").open or rig.status_of("cold").open:
        tier = "warm" if rig.status_of("warm").open else "cold"
        assert rig.extract(tier)[0] is Outcome.COMMITTED

    found = rig.content()
    redis_client.flushall()
    alone = Tiers(redis_client)
    alone.extract_all(shared=False)
    assert found == alone.content()


def test_what_another_worker_holds_is_left_to_it(redis_client: Redis) -> None:
    rig = Tiers(redis_client)
    held = rig.take("cold")
    assert held is not None

    assert rig.extract("hot") == (Outcome.COMMITTED, ["warm"])

    assert rig.windows.renew(rig.plan_for("cold").feed, held)


def test_a_tier_that_waits_after_a_failure_is_not_taken(redis_client: Redis) -> None:
    rig = Tiers(redis_client)
    cold, window = rig.plan_for("cold"), rig.take("cold")
    assert window is not None
    assert rig.windows.fail(cold.feed, window, 10, 60)

    assert rig.extract("hot") == (Outcome.COMMITTED, ["warm"])

    assert rig.status_of("cold").attempts == 1


def test_a_gap_of_one_tier_is_no_gap_of_another(redis_client: Redis) -> None:
    """Cold was promised from before what the source still has, warm was not."""
    rig = Tiers(redis_client, "cold", "warm")
    rig.source.lowest = HEAD_MS - 300 * STEP_MS
    rig.origins_ms["q@warm"] = rig.source.lowest

    assert rig.extract("cold") == (Outcome.GAP, ["warm"])

    assert [(gap.start_ms, gap.end_ms) for gap in rig.windows.gaps("q@cold")] == [NEWEST]
    assert rig.windows.gaps("q@warm") == []
    assert {batch.origin.tier for batch in rig.entries()} == {"warm"}
    assert rig.extracted() > 0


def test_a_lease_that_is_lost_meanwhile_concerns_that_tier_alone(redis_client: Redis) -> None:
    rig = Tiers(redis_client)

    def steal() -> None:
        rig.source.meanwhile = lambda: None
        rig.clock.advance(61)
        assert rig.take("warm") is not None

    rig.source.meanwhile = steal

    assert rig.extract("hot") == (Outcome.COMMITTED, ["warm", "cold"])

    assert [rig.status_of(tier).open for tier in TIERS] == [[], [NEWEST], []]
    assert {batch.origin.tier for batch in rig.entries()} == {"hot", "cold"}
    rig.extracted()


@pytest.mark.parametrize("failure", [SourceUnavailable("away"), QueryTooLarge("too many samples")])
def test_where_nothing_is_read_the_others_are_as_they_were(
    redis_client: Redis, failure: SourceError
) -> None:
    rig = Tiers(redis_client)
    rig.source.failure = failure

    outcome, beside = rig.extract("warm")

    assert beside == ["hot", "cold"]
    too_large = isinstance(failure, QueryTooLarge)
    assert outcome is (Outcome.SPLIT if too_large else Outcome.OPEN)
    assert rig.status_of("warm").attempts == (0 if too_large else 1)
    for tier in ("hot", "cold"):
        window = rig.take(tier)
        assert window is not None
        assert (window.start_ms, window.end_ms, window.attempts) == (*NEWEST, 0)
        assert rig.status_of(tier).attempts == 0
    assert Ledger(redis_client, KEYS).audit().staged_bytes == 0


def test_what_is_too_much_together_is_read_alone(redis_client: Redis) -> None:
    """Warm reads five minutes more, for what has increased."""
    rig = Tiers(redis_client, "hot", "warm")
    rig.source.failure, rig.source.fail_above_ms = QueryTooLarge("too many"), WINDOW_MS

    assert rig.extract("hot") == (Outcome.COMMITTED, ["warm"])

    assert rig.status_of("hot").open == []
    assert rig.status_of("warm").open == [NEWEST]
    assert rig.extracted() > 0


def test_what_is_live_is_read_by_itself(redis_client: Redis) -> None:
    rig = Tiers(redis_client)
    hot = rig.plan_for("hot")
    window = rig.windows.lease(hot.feed, "live", WINDOW_MS, WINDOW_MS)
    assert window is not None

    assert rig.siblings("hot", window) == []
