"""A payload that Redis lost, on a real one: its window is extracted again, the ledger is even."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from common.runtime.undeliverable import lost_payload
from common.state.keys import RAW, Keys
from common.state.ledger import Ledger
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Entry, Settle
from common.state.windows import Feed, Range, WindowSet
from devtools.servers.waiting import wait_until

FEED = Feed("up", "hot", "select", "f1")


def extract(redis_client: Redis, keys: Keys, entries: int = 1) -> WindowSet:
    windows = WindowSet(redis_client, keys)
    windows.plan(FEED, 0, 60_000)
    extract_once_more(windows, entries)
    return windows


def extract_once_more(windows: WindowSet, entries: int = 1) -> Range:
    window = windows.lease(FEED, "live", 10**9, 60_000)
    assert window is not None
    staged = [windows.stage(b"x", 40, 60) for _ in range(entries)]
    assert windows.commit(FEED, window, staged) == "committed"
    return window.start_ms, window.end_ms


def entry_without_payload(redis_client: Redis, keys: Keys) -> tuple[RedisStream, Entry]:
    extract(redis_client, keys)
    redis_client.delete(*redis_client.keys(keys.payload("*")))
    raw = RedisStream(redis_client, keys, RAW, "transformer-a")
    raw.ensure()
    (entry,) = raw.read(1, 1.0)
    assert entry.payload_missing
    return raw, entry


def test_its_window_is_extracted_again(redis_client: Redis, redis_namespace: str) -> None:
    keys = Keys(redis_namespace)
    raw, entry = entry_without_payload(redis_client, keys)

    verdict = lost_payload(entry, raw.knows_window)
    assert verdict == Settle(drops={"payload_lost": 40}, again=True)
    assert raw.settle(entry, verdict, "transformer") is SettleResult.OK

    windows = WindowSet(redis_client, keys)
    assert extract_once_more(windows) == (0, 60_000)
    account = Ledger(redis_client, keys).audit().accounts["up@hot"]
    assert (account.extracted, account.in_flight, account.imbalance_samples) == (80, 40, 0)
    assert windows.lease(FEED, "live", 10**9, 60_000) is None


def test_once_by_whichever_worker_settles_it(redis_client: Redis, redis_namespace: str) -> None:
    keys = Keys(redis_namespace)
    stopped, entry = entry_without_payload(redis_client, keys)
    verdict = lost_payload(entry, stopped.knows_window)
    assert isinstance(verdict, Settle)

    other = RedisStream(redis_client, keys, RAW, "transformer-b", lease_seconds=0.001)
    claimed: list[Entry] = []

    def run_out() -> bool:
        claimed.extend(other.claim(1).entries)
        return bool(claimed)

    wait_until(run_out, deadline_seconds=10, what="the lease has run out")
    its = lost_payload(claimed[0], other.knows_window)
    assert isinstance(its, Settle)
    assert other.settle(claimed[0], its, "transformer") is SettleResult.OK
    windows = WindowSet(redis_client, keys)
    assert extract_once_more(windows) == (0, 60_000)

    assert stopped.settle(entry, verdict, "transformer") is SettleResult.REFUSED
    assert windows.lease(FEED, "live", 10**9, 60_000) is None, "nothing is extracted once more"


def test_once_for_all_of_its_entries(redis_client: Redis, redis_namespace: str) -> None:
    keys = Keys(redis_namespace)
    windows = extract(redis_client, keys, entries=3)
    raw = RedisStream(redis_client, keys, RAW, "transformer-a")
    raw.ensure()
    kept, *lost = raw.read(3, 1.0)
    redis_client.delete(*(entry.payload_key for entry in lost))
    first, second = (replace(entry, payload=b"", payload_missing=True) for entry in lost)

    def settle(entry: Entry) -> None:
        verdict = lost_payload(entry, raw.knows_window)
        assert verdict == Settle(drops={"payload_lost": 40}, again=True)
        assert raw.settle(entry, verdict, "transformer") is SettleResult.OK

    settle(first)
    assert extract_once_more(windows) == (0, 60_000)
    settle(second)

    assert windows.lease(FEED, "live", 10**9, 60_000) is None, "nothing is extracted once more"
    assert raw.settle(kept, Settle(loaded=40), "transformer") is SettleResult.OK
    (left,) = redis_client.hkeys(keys.unsettled)
    assert left != kept.window_id.encode(), "its first extraction is settled"
    account = Ledger(redis_client, keys).audit().accounts["up@hot"]
    assert (account.extracted, account.in_flight, account.imbalance_samples) == (160, 40, 0)


def test_a_feed_that_has_gone_meanwhile_leaves_it_to_be_judged_anew(
    redis_client: Redis, redis_namespace: str
) -> None:
    keys = Keys(redis_namespace)
    raw, entry = entry_without_payload(redis_client, keys)
    verdict = lost_payload(entry, raw.knows_window)
    assert isinstance(verdict, Settle)
    WindowSet(redis_client, keys).close(FEED.name, 0, "query removed")

    assert raw.settle(entry, verdict, "transformer") is SettleResult.REFUSED

    verdict = lost_payload(entry, raw.knows_window)
    assert isinstance(verdict, Settle)
    assert [letter.reason for letter in verdict.dead] == ["payload_missing"]
    assert raw.settle(entry, verdict, "transformer") is SettleResult.OK


def test_where_the_window_is_not_known_a_dead_letter_tells(
    redis_client: Redis, redis_namespace: str
) -> None:
    keys = Keys(redis_namespace)
    raw, entry = entry_without_payload(redis_client, keys)
    redis_client.delete(keys.committed)

    verdict = lost_payload(entry, raw.knows_window)

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
