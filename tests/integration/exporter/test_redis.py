"""etl-metrics on a real Redis: populated, empty, away, refusing, full, damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from common.state.keys import POINTS, RAW, Keys
from common.state.stream import RedisStream
from common.state.windows import WindowSet
from devtools.servers.ports import free_port
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from tests.integration.exporter.exporter_world import FEED, Rig, populate

ABOUT_REDIS = {"etl_redis_up", "etl_redis_read_seconds", "etl_redis_read_failures_total"}
HOT, WARM = ("q", "hot"), ("r", "warm")


@pytest.fixture
def keys(redis_namespace: str) -> Keys:
    return Keys(redis_namespace)


@pytest.fixture
def rig(redis_server: RedisServer, redis_client: redis.Redis, keys: Keys) -> Iterator[Rig]:
    rig = Rig(redis_server.plain_url, keys)
    yield rig
    rig.close()


@pytest.fixture
def populated(rig: Rig, redis_client: redis.Redis, keys: Keys) -> Rig:
    populate(redis_client, keys)
    assert rig.step() == 10
    return rig


def test_streams(populated: Rig) -> None:
    assert populated.series("etl_stream_entries") == {(RAW,): 2, (POINTS,): 1}
    assert populated.series("etl_stream_samples") == {(RAW,): 80, (POINTS,): 30}
    assert populated.series("etl_stream_pending_entries") == {(RAW,): 0, (POINTS,): 1}
    assert populated.series("etl_stream_delayed_entries") == {(RAW,): 0, (POINTS,): 0}
    assert populated.series("etl_stream_lost_samples") == {(RAW,): 0, (POINTS,): 0}
    assert populated.series("etl_stream_unaccounted_entries") == {(RAW,): 0, (POINTS,): 0}
    ages = populated.series("etl_stream_oldest_entry_age_seconds")
    assert all(0 < age < 60 for age in ages.values())
    stream_bytes = populated.series("etl_stream_bytes")
    assert stream_bytes[(RAW,)] > 2 * 512
    assert populated.value("etl_in_flight_bytes") == sum(stream_bytes.values())
    assert populated.value("etl_staged_bytes") == 0
    assert populated.value("etl_backpressure_active") == 0


def test_the_ledger_of_each_query(populated: Rig) -> None:
    accounts = populated.series("etl_ledger_samples")
    assert {key[2]: value for key, value in accounts.items() if key[:2] == HOT} == {
        "extracted": 100,
        "loaded": 18,
        "dropped": 5,
        "dead_lettered": 7,
        "in_flight": 70,
    }
    assert accounts[(*WARM, "extracted")] == accounts[(*WARM, "in_flight")] == 40
    assert populated.series("etl_ledger_dropped_samples") == {(*HOT, "nan"): 5}
    assert populated.value("etl_ledger_imbalance_samples") == 0
    assert populated.series("etl_ledger_query_imbalance_samples") == {HOT: 0, WARM: 0}


def test_windows_and_watermarks(populated: Rig) -> None:
    assert populated.series("etl_windows_open") == {HOT: 0, WARM: 1}
    assert populated.series("etl_windows_unsettled") == {HOT: 2, WARM: 1}
    assert populated.series("etl_backlog_seconds") == {HOT: 0, WARM: 120}
    assert populated.series("etl_origin_timestamp_seconds") == {HOT: 0, WARM: 0}
    assert populated.series("etl_planned_watermark_timestamp_seconds") == {HOT: 180, WARM: 240}
    assert populated.series("etl_watermark_timestamp_seconds") == {HOT: 180, WARM: 0}
    # The newest window was extracted and settled first; and nobody has asked the sink of the other.
    assert populated.series("etl_loaded_watermark_timestamp_seconds") == {HOT: 0}
    assert populated.series("etl_query_failures_in_a_row") == {HOT: 0, WARM: 0}
    assert populated.series("etl_gaps_declared") == {HOT: 0, WARM: 0}
    assert populated.value("etl_seals_due") == 1


def test_the_limit_of_a_lag_is_shown_where_it_is_known(
    populated: Rig, redis_client: redis.Redis, keys: Keys
) -> None:
    WindowSet(redis_client, keys).plan(FEED, 0, 180_000, lag_limit_ms=180_000)
    populated.step()
    assert populated.series("etl_lag_limit_seconds") == {HOT: 180}


def test_dead_letters_workers_memory(populated: Rig) -> None:
    assert populated.value("etl_dead_letters_kept") == 1
    letter = ("transformer", "rejected")
    assert populated.series("etl_dead_letter_entries") == {letter: 1}
    assert populated.series("etl_dead_letter_samples") == {letter: 7}
    workers = {("extractor",): 0, ("transformer",): 1, ("loader",): 1}
    assert populated.series("etl_workers") == workers
    assert (populated.value("etl_redis_memory_used_bytes") or 0) > 100_000
    assert populated.value("etl_redis_memory_max_bytes") is None
    assert populated.value("etl_redis_up") == 1
    assert populated.ready == {"redis": (True, "")}


def test_a_closed_feed_leaves_no_window_series_behind(
    populated: Rig, redis_client: redis.Redis, keys: Keys
) -> None:
    WindowSet(redis_client, keys).close("r@warm", 0, "query removed")
    populated.step()
    assert populated.series("etl_windows_open") == {HOT: 0}
    # Its samples are still on their way.
    assert populated.value("etl_ledger_samples", *WARM, "in_flight") == 40


def test_a_loss_shows_as_imbalance(populated: Rig, redis_client: redis.Redis, keys: Keys) -> None:
    redis_client.delete(keys.stream(POINTS))
    populated.step()
    assert populated.value("etl_ledger_imbalance_samples") == 30
    assert populated.value("etl_ledger_query_imbalance_samples", *HOT) == 30
    assert populated.value("etl_stream_lost_samples", POINTS) == 30


def test_failures_in_a_row_and_gaps(populated: Rig, redis_client: redis.Redis, keys: Keys) -> None:
    windows = WindowSet(redis_client, keys)
    windows.plan(FEED, 0, 300_000)
    window = windows.lease(FEED, "live", 10**9, 60_000)
    assert window is not None
    windows.declare_gap(FEED, window, 270_000, "gone")
    window = windows.lease(FEED, "live", 10**9, 60_000)
    assert window is not None
    windows.fail(FEED, window, 60, 600)
    populated.step()
    assert populated.value("etl_query_failures_in_a_row", *HOT) == 1
    assert populated.value("etl_deferred_seconds", *HOT) == 0
    assert populated.value("etl_gaps_declared", *HOT) == 1


def test_how_long_a_query_has_matched_nothing(
    populated: Rig, redis_client: redis.Redis, keys: Keys
) -> None:
    assert populated.series("etl_query_empty_seconds") == {HOT: 0, WARM: 0}
    windows = WindowSet(redis_client, keys)
    windows.plan(FEED, 0, 200_000)
    window = windows.lease(FEED, "live", 10**9, 60_000)
    assert window is not None
    assert windows.commit(FEED, window, [], matched=False) == "committed"
    populated.step()
    assert populated.series("etl_query_empty_seconds") == {HOT: 20, WARM: 0}


def test_released_entries_are_delayed_and_belong_to_no_worker(
    populated: Rig, redis_client: redis.Redis, keys: Keys
) -> None:
    raw = RedisStream(redis_client, keys, RAW, "transformer-a", outbound=POINTS)
    entries = raw.read(2, 1.0)
    raw.release([entries[0].id], 3600)
    populated.step()
    assert populated.value("etl_stream_pending_entries", RAW) == 2
    assert populated.value("etl_stream_delayed_entries", RAW) == 1
    assert populated.value("etl_workers", "transformer") == 1


def test_an_empty_redis(rig: Rig) -> None:
    rig.step()
    assert rig.value("etl_redis_up") == 1
    assert rig.ready == {"redis": (True, "")}
    assert rig.series("etl_stream_entries") == {(RAW,): 0, (POINTS,): 0}
    assert set(rig.series("etl_workers").values()) == {0}
    assert rig.value("etl_dead_letters_kept") == 0
    assert rig.names.isdisjoint(
        {"etl_ledger_samples", "etl_windows_open", "etl_rq_jobs", "etl_dead_letter_entries"}
    )
    assert set(rig.series("etl_redis_read_failures_total").values()) == {0}


def test_a_redis_that_is_away_leaves_nothing_but_that(
    make_redis: Callable[..., RedisServer], keys: Keys
) -> None:
    server = make_redis()
    with server.client() as client:
        populate(client, keys)
    rig = Rig(server.plain_url, keys)
    rig.step()
    assert "etl_ledger_samples" in rig.names

    server.kill()
    rig.step()
    assert rig.names == ABOUT_REDIS
    assert rig.value("etl_redis_up") == 0
    assert rig.value("etl_redis_read_failures_total", "connection") == 1
    ok, detail = rig.ready["redis"]
    assert not ok
    assert detail.startswith("Redis cannot be read: ")

    server.start()
    rig.step()
    assert rig.value("etl_redis_up") == 1
    assert rig.value("etl_ledger_samples", *HOT, "extracted") == 100
    assert rig.ready["redis"] == (True, "")
    rig.close()


def test_a_redis_that_hangs_is_given_up_in_time(
    make_redis: Callable[..., RedisServer], keys: Keys
) -> None:
    server = make_redis()
    rig = Rig(server.plain_url, keys, timeout_seconds=0.2)
    server.pause()
    try:
        rig.step()
        assert rig.value("etl_redis_up") == 0
        assert rig.names == ABOUT_REDIS
    finally:
        server.resume()
    rig.step()
    assert rig.value("etl_redis_up") == 1
    rig.close()


def test_a_redis_that_never_was(keys: Keys) -> None:
    rig = Rig(f"redis://127.0.0.1:{free_port()}/0", keys)
    rig.step()
    assert rig.value("etl_redis_up") == 0
    rig.close()


@pytest.mark.parametrize("password", ["wrong password", None])
def test_a_wrong_or_missing_password(
    make_redis: Callable[..., RedisServer], keys: Keys, password: str | None
) -> None:
    server = make_redis(password="right")
    rig = Rig(server.plain_url, keys, password)
    rig.step()
    assert rig.value("etl_redis_up") == 0
    ok, detail = rig.ready["redis"]
    assert not ok
    assert "password" in detail or "Authentication" in detail
    assert "wrong password" not in detail
    rig.close()


def test_a_full_redis_is_read_all_the_same_and_said_to_be_full(
    make_redis: Callable[..., RedisServer], keys: Keys
) -> None:
    server = make_redis()
    with server.client() as client:
        populate(client, keys)
        client.script_flush()
        client.config_set("maxmemory", "500kb")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("x", b"y")
        rig = Rig(server.plain_url, keys)
        rig.step()
    assert rig.value("etl_redis_up") == 1
    assert rig.value("etl_redis_memory_max_bytes") == 500 * 1024
    assert rig.value("etl_ledger_samples", *HOT, "extracted") == 100
    ok, detail = rig.ready["redis"]
    assert ok
    assert detail.startswith("its memory is full: ")
    rig.close()


def test_a_redis_that_may_evict_and_does_is_told(
    make_redis: Callable[..., RedisServer], keys: Keys
) -> None:
    server = make_redis()
    with server.client() as client:
        rig = Rig(server.plain_url, keys)
        seen = []
        for maxmemory in (0, 64 << 20):
            client.config_set("maxmemory", maxmemory)
            for policy in ("noeviction", "volatile-ttl"):
                client.config_set("maxmemory-policy", policy)
                rig.step()
                seen.append((rig.value("etl_redis_may_evict"), rig.ready["redis"]))
        remark = (
            "maxmemory-policy is volatile-ttl: Redis may throw data away; it must be noeviction"
        )
        assert seen == [(0, (True, ""))] * 3 + [(1, (True, remark))]
        assert rig.value("etl_redis_evicted_keys_total") == 0

        for number in range(20):
            client.set(f"passing:{number}", b"x" * 10_000, ex=600)

        def evicted_some() -> bool:
            # What Redis frees meanwhile, buffers of clients for one, may make room without it.
            client.config_set("maxmemory", client.info("memory")["used_memory"] - 100_000)
            client.get("x")
            return bool(client.info("stats")["evicted_keys"])

        wait_until(evicted_some, deadline_seconds=30, what="Redis has evicted a key")
        rig.step()
        evicted = rig.value("etl_redis_evicted_keys_total")
        assert evicted == client.info("stats")["evicted_keys"] > 0
    rig.close()


def test_a_damaged_value_of_the_ledger_shows_as_imbalance(
    populated: Rig, redis_client: redis.Redis, keys: Keys
) -> None:
    redis_client.hset(keys.ledger, "q@hot|extracted", "many")
    populated.step()
    assert populated.value("etl_ledger_samples", *HOT, "extracted") == 0
    assert populated.value("etl_ledger_imbalance_samples") == 100


@pytest.mark.parametrize(
    ("part", "damage", "gone", "stays"),
    [
        (
            "ledger",
            lambda client, keys: client.set(keys.ledger, "x"),
            {"etl_ledger_samples", "etl_stream_entries", "etl_in_flight_bytes"},
            {"etl_windows_open", "etl_stream_pending_entries"},
        ),
        (
            "windows",
            lambda client, keys: client.hset(keys.feed("q@hot"), "ranges", "[[1"),
            {"etl_windows_open", "etl_watermark_timestamp_seconds"},
            {"etl_ledger_samples"},
        ),
        (
            "consumers",
            lambda client, keys: client.set(keys.stream(RAW), "x"),
            {"etl_stream_pending_entries"},
            {"etl_windows_open"},
        ),
        (
            "queues",
            lambda client, keys: client.set("rq:queues", "x"),
            {"etl_rq_jobs"},
            {"etl_windows_open", "etl_ledger_samples"},
        ),
        (
            "dead_letters",
            lambda client, keys: client.set(keys.dead, "x"),
            {"etl_dead_letter_entries"},
            {"etl_windows_open"},
        ),
    ],
    ids=["ledger", "windows", "consumers", "queues", "dead_letters"],
)
def test_a_part_that_cannot_be_read_does_not_hide_the_others(
    populated: Rig,
    redis_client: redis.Redis,
    keys: Keys,
    part: str,
    damage: Callable[[redis.Redis, Keys], object],
    gone: set[str],
    stays: set[str],
) -> None:
    damage(redis_client, keys)
    populated.step()
    populated.step()
    assert gone.isdisjoint(populated.names)
    assert stays <= populated.names
    assert populated.value("etl_redis_up") == 1
    assert populated.value("etl_redis_read_failures_total", part) == 2
    ok, detail = populated.ready["redis"]
    assert ok
    assert f"{part} cannot be read" in detail
    said = [event for event in populated.events if event["event"] == "ledger_incomplete"]
    assert [event["part"] for event in said].count(part) == 1


def test_strange_fields_become_no_labels(
    populated: Rig, redis_client: redis.Redis, keys: Keys
) -> None:
    for number in range(300):
        redis_client.hset(keys.ledger, f"q@hot|dropped|reason{number}", 1)
    redis_client.hset(keys.ledger, "q@hot|dropped|Über und drüber: 0x17", 1)
    redis_client.xadd(
        keys.dead, {"stage": "x y", "reason": "http://1.2.3.4/17", "samples": "many", "payload": ""}
    )
    populated.step()
    reasons = {key[2] for key in populated.series("etl_ledger_dropped_samples")}
    assert len(reasons) <= 101
    assert "other" in reasons
    assert sum(populated.series("etl_ledger_dropped_samples").values()) == 5 + 300 + 1
    letters = populated.series("etl_dead_letter_entries")
    assert letters == {("transformer", "rejected"): 1, ("other", "other"): 1}


def test_a_redis_that_was_emptied_shows_no_dead_letters_of_before(
    populated: Rig, redis_client: redis.Redis
) -> None:
    redis_client.flushall()
    populated.step()
    assert populated.series("etl_dead_letter_entries") == {}
    assert "etl_ledger_samples" not in populated.names


# -- dead letters -----------------------------------------------------------------------------
