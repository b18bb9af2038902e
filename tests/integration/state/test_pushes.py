"""Pushed samples on real Redis: committed in one step, in an account of their own, in no window."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.exceptions import RedisError

from common.state import scripts
from common.state.keys import POINTS, RAW
from common.state.pushes import Pushed, PushedSamples
from common.state.stream import SettleResult
from common.state.verdict import PUSHED, Output, Settle
from common.state.windows import Feed
from tests.integration.state.worlds import FEED, STEP_MS, RedisWorld

OTHER = Feed("p", "hot", "select", "f1")
RENAMED = Feed("q", "hot", "expr", "f2")


@pytest.fixture
def pushes(redis_world: RedisWorld) -> PushedSamples:
    for feed in (FEED, OTHER):
        assert redis_world.windows().plan(feed, 0, 10 * STEP_MS)
    return PushedSamples(redis_world.redis, redis_world.keys)


def commit_two(pushes: PushedSamples) -> str:
    return pushes.commit(
        [
            Pushed(FEED, b"abc", 3, {"stale_marker": 2}),
            Pushed(OTHER, dropped={"native_histogram": 4}),
        ]
    )


def test_they_are_counted_and_settled_like_any_other(
    redis_world: RedisWorld, pushes: PushedSamples
) -> None:
    assert commit_two(pushes) == "committed"

    audit = redis_world.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
    assert audit.accounts["q@push"].in_flight == 3
    assert audit.accounts["q@push"].dropped == {"stale_marker": 2}
    assert audit.accounts["p@push"].extracted == 4
    (entry,) = redis_world.stream("transformer").read(10, 0.01)
    assert (entry.query, entry.tier, entry.kind, entry.window_id) == ("q", "hot", "expr", PUSHED)
    assert (entry.payload, entry.samples) == (b"abc", 3)

    verdict = Settle(outputs=[Output(b"x", 2)], drops={"nan": 1})
    stream = redis_world.stream("transformer")
    assert stream.settle(entry, verdict, "transformer") is SettleResult.OK
    loader = redis_world.stream("loader", POINTS)
    (entry,) = loader.read(10, 0.01)
    assert (entry.window_id, entry.tier) == (PUSHED, "hot")
    assert loader.settle(entry, Settle(loaded=2), "loader") is SettleResult.OK

    audit = redis_world.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
    account = audit.accounts["q@push"]
    assert (account.extracted, account.loaded, sum(account.dropped.values())) == (5, 2, 3)
    assert "q@hot" not in audit.accounts


def test_no_watermark_waits_for_them_and_no_seal_has_them(
    redis_world: RedisWorld, pushes: PushedSamples
) -> None:
    before = redis_world.windows().status()

    assert commit_two(pushes) == "committed"

    assert redis_world.windows().status() == before
    assert redis_world.unsettled() == 0
    redis, keys = redis_world.redis, redis_world.keys
    assert redis.exists(keys.seals, keys.seals_due, keys.committed) == 0


def test_heads_are_those_of_the_same_configuration(pushes: PushedSamples) -> None:
    unknown = Feed("u", "hot", "select", "f1")

    assert pushes.heads_ms([FEED, RENAMED, unknown]) == [10 * STEP_MS, None, None]
    assert pushes.heads_ms([]) == []


def test_a_feed_of_another_configuration_refuses_all(
    redis_world: RedisWorld, pushes: PushedSamples
) -> None:
    assert pushes.commit([Pushed(OTHER, b"abc", 3), Pushed(RENAMED, b"abc", 3)]) == "refused"

    assert redis_world.entries() == 0
    assert redis_world.audit().accounts == {}
    assert list(redis_world.redis.scan_iter(f"{redis_world.keys.payload('')}*")) == []


def test_a_key_that_holds_something_else_refuses_all(
    redis_world: RedisWorld, pushes: PushedSamples
) -> None:
    redis_world.redis.set(redis_world.keys.ledger, "somebody's")

    assert commit_two(pushes) == "wrong_type"
    assert redis_world.entries() == 0


def test_a_server_without_memory_refuses_all(
    redis_world: RedisWorld, pushes: PushedSamples
) -> None:
    redis_world.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisError, match="maxmemory"):
            commit_two(pushes)
    finally:
        redis_world.redis.config_set("maxmemory", 0)
    assert redis_world.entries() == 0
    assert redis_world.audit().accounts == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("~= one.fingerprint", "== ''"),
        ("redis.call('SET', key, ARGV[1 + i])", ""),
        ("one.window = a.window", "one.window = ''"),
        ("append_entry(raw, in_flight, one, one.samples, one.bytes, key)", ""),
        ("total = total + samples", ""),
        ("'|extracted', whole(total))", "'|extracted', whole(0))"),
        ("'|dropped|' .. reason, whole(samples)", "'|dropped|' .. reason, 0"),
        ("ARGV[1 + i]", "ARGV[2]"),
    ],
)
def test_a_broken_script_is_noticed(
    redis_world: RedisWorld,
    pushes: PushedSamples,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
) -> None:
    source = scripts.source
    whole = source("push")
    assert whole.count(old) == 1
    changed = whole.replace(old, new)
    monkeypatch.setattr(scripts, "source", lambda name: changed if name == "push" else source(name))

    def is_noticed() -> bool:
        try:
            committed()
        except AssertionError:
            return True
        return False

    def committed() -> None:
        redis: Redis = redis_world.redis
        assert pushes.commit([Pushed(RENAMED, b"abc", 3)]) == "refused"
        two = [Pushed(FEED, b"abc", 3, {"nan": 2}), Pushed(OTHER, b"de", 2)]
        assert pushes.commit(two) == "committed"
        audit = redis_world.audit()
        assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
        extracted = {name: account.extracted for name, account in audit.accounts.items()}
        assert extracted == {"q@push": 5, "p@push": 2}
        entries = redis_world.stream("reader", RAW).read(10, 0.01)
        assert [entry.payload for entry in entries] == [b"abc", b"de"]
        assert {entry.window_id for entry in entries} == {PUSHED}
        assert redis.hget(redis_world.keys.ledger, "q@push|dropped|nan") == b"2"

    assert is_noticed()
