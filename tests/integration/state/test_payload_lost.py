"""A payload that Redis lost, on a real one: its window is extracted again, the ledger is even."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from common.runtime.undeliverable import lost_payload
from common.state.keys import RAW, Keys
from common.state.ledger import Ledger
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Entry, Settle
from common.state.windows import Feed, WindowSet
from devtools.servers.waiting import wait_until

FEED = Feed("up", "hot", "select", "f1")


def extract(redis_client: Redis, keys: Keys) -> WindowSet:
    windows = WindowSet(redis_client, keys)
    windows.plan(FEED, 0, 60_000)
    window = windows.lease(FEED, "live", 10**9, 60_000)
    assert window is not None
    assert windows.commit(FEED, window, [windows.stage(b"x", 40, 60)]) == "committed"
    return windows


def entry_without_payload(redis_client: Redis, keys: Keys) -> tuple[RedisStream, Entry]:
    extract(redis_client, keys)
    redis_client.delete(*redis_client.keys(keys.payload("*")))
    raw = RedisStream(redis_client, keys, RAW, "transformer-a")
    raw.ensure()
    (entry,) = raw.read(1, 1.0)
    assert entry.payload_missing
    return raw, entry


@pytest.mark.parametrize("times", [1, 2])
def test_its_window_is_extracted_again(
    redis_client: Redis, redis_namespace: str, times: int
) -> None:
    keys = Keys(redis_namespace)
    raw, entry = entry_without_payload(redis_client, keys)

    for _ in range(times):  # a worker may die before it settles
        verdict = lost_payload(entry, raw.reopen_window)
    assert verdict == Settle(drops={"payload_lost": 40})
    assert raw.settle(entry, verdict, "transformer") is SettleResult.OK

    windows = WindowSet(redis_client, keys)
    again = windows.lease(FEED, "live", 10**9, 60_000)
    assert again is not None
    assert (again.start_ms, again.end_ms) == (0, 60_000)
    assert windows.commit(FEED, again, [windows.stage(b"x", 40, 60)]) == "committed"
    account = Ledger(redis_client, keys).audit().accounts["up@hot"]
    assert (account.extracted, account.in_flight, account.imbalance_samples) == (80, 40, 0)
    assert windows.lease(FEED, "live", 10**9, 60_000) is None


def test_where_the_window_is_not_known_a_dead_letter_tells(
    redis_client: Redis, redis_namespace: str
) -> None:
    keys = Keys(redis_namespace)
    raw, entry = entry_without_payload(redis_client, keys)
    redis_client.delete(keys.committed)

    verdict = lost_payload(entry, raw.reopen_window)

    assert isinstance(verdict, Settle)
    (letter,) = verdict.dead
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.samples) == ("payload_missing", 40)


def test_a_worker_that_was_stopped_since_it_read_does_not_take_what_is_settled_for_lost(
    redis_client: Redis, redis_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(redis_namespace)
    windows = extract(redis_client, keys)
    stopped, other = (
        RedisStream(redis_client, keys, RAW, name, lease_seconds=0.001) for name in "ab"
    )
    stopped.ensure()
    read = redis_client.xreadgroup

    def read_and_stop(*args: Any, **options: Any) -> Any:
        found = read(*args, **options)
        claimed: list[Entry] = []

        def run_out() -> bool:
            claimed.extend(other.claim(1).entries)
            return bool(claimed)

        wait_until(run_out, deadline_seconds=10, what="the lease has run out")
        assert other.settle(claimed[0], Settle(loaded=40), "transformer") is SettleResult.OK
        return found

    monkeypatch.setattr(redis_client, "xreadgroup", read_and_stop)
    assert stopped.read(1, 1.0) == []
    assert windows.lease(FEED, "live", 10**9, 60_000) is None, "nothing is extracted again"
