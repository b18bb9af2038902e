"""Dead letters on real Redis: listed whole, replayed and purged with a balanced ledger."""

from __future__ import annotations

import gzip

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from common.errors import EtlError
from common.state.dead_letters.kept import DeadLetters
from common.state.keys import POINTS, RAW, Keys
from common.state.ledger import Account, Ledger
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Output, Settle
from common.state.windows import Feed, WindowSet

KEYS = Keys("dead")
FEED = Feed("q", "hot", "select", "f")


@pytest.fixture
def letters(redis_client: Redis) -> DeadLetters:
    return DeadLetters(redis_client, KEYS)


def stream(redis: Redis, inbound: str) -> RedisStream:
    found = RedisStream(redis, KEYS, inbound, "w", outbound=POINTS if inbound == RAW else None)
    found.ensure()
    return found


def account(redis: Redis, feed: Feed = FEED) -> Account:
    audit = Ledger(redis, KEYS).audit()
    assert audit.imbalance_samples == 0
    return audit.accounts[feed.name]


def refuse_lines(redis: Redis, count: int = 1, feed: Feed = FEED) -> None:
    """Commit a window, transform it, and let the loader refuse one line of ten, ``count`` times."""
    windows = WindowSet(redis, KEYS)
    raw, points = stream(redis, RAW), stream(redis, POINTS)
    for number in range(count):
        windows.plan(feed, 0, (number + 1) * 1000)
        window = windows.lease(feed, "live", 10**9, 10**9)
        assert window is not None
        windows.commit(feed, window, [windows.stage(b"raw", 10, 60)])
        (entry,) = raw.read(1, 0.01)
        raw.settle(entry, Settle(outputs=[Output(gzip.compress(b"lines"), 10)]), "transformer")
        (entry,) = points.read(1, 0.01)
        letter = DeadLetter("rejected", "field type conflict", b"m value=1 1\n", 1)
        result = points.settle(entry, Settle(loaded=9, dead=[letter]), "loader")
        assert result is SettleResult.OK


def test_dead_letters_say_where_they_come_from(redis_client: Redis, letters: DeadLetters) -> None:
    refuse_lines(redis_client)

    (letter,) = letters

    assert (letter.stage, letter.reason, letter.detail) == (
        "loader",
        "rejected",
        "field type conflict",
    )
    assert (letter.query, letter.tier, letter.samples) == ("q", "hot", 1)
    assert (letter.kind, letter.feed) == (FEED.kind, FEED.name)
    assert letter.window_id
    assert letter.at_ms > 1_600_000_000_000
    assert letters.get(letter.id) == letter
    assert letters.payload(letter) == b"m value=1 1\n"


def test_more_dead_letters_than_a_page(redis_client: Redis, letters: DeadLetters) -> None:
    for number in range(1203):
        redis_client.xadd(KEYS.dead, {"stage": "loader", "samples": str(number)})

    assert [letter.samples for letter in letters] == list(range(1203))


def test_replay_sends_it_through_its_stage_again(redis_client: Redis, letters: DeadLetters) -> None:
    refuse_lines(redis_client)
    (letter,) = letters
    assert account(redis_client).dead_lettered == 1

    assert letters.replay(letter)

    assert (account(redis_client).dead_lettered, account(redis_client).in_flight) == (0, 1)
    points = stream(redis_client, POINTS)
    (entry,) = points.read(1, 0.01)
    assert gzip.decompress(entry.payload) == b"m value=1 1\n"
    points.settle(entry, Settle(loaded=1), "loader")
    assert account(redis_client).loaded == 10
    assert not letters.replay(letter), "it was deleted"
    assert account(redis_client).extracted == 10


def test_a_raw_dead_letter_goes_back_to_the_raw_stream(
    redis_client: Redis, letters: DeadLetters
) -> None:
    windows = WindowSet(redis_client, KEYS)
    windows.plan(FEED, 0, 1000)
    window = windows.lease(FEED, "live", 10**9, 10**9)
    assert window is not None
    windows.commit(FEED, window, [windows.stage(b"raw bytes", 10, 60)])
    raw = stream(redis_client, RAW)
    (entry,) = raw.read(1, 0.01)
    raw.settle(entry, Settle(dead=[DeadLetter("poison", "x", entry.payload, 10)]), "transformer")

    assert letters.replay(next(iter(letters)))

    (again,) = raw.read(1, 0.01)
    assert (again.payload, again.samples, again.query) == (b"raw bytes", 10, "q")


def test_purge_counts_the_samples_as_dropped(redis_client: Redis, letters: DeadLetters) -> None:
    refuse_lines(redis_client, count=3)

    purged = [letters.purge(letter) for letter in letters]

    assert purged == [True] * 3

    assert list(letters) == []
    assert account(redis_client).dropped == {"purged": 3}
    assert account(redis_client).dead_lettered == 0
    assert list(redis_client.scan_iter(KEYS.payload("*"))) == []


def test_those_of_one_of_several_sources_are_replayed_and_purged(
    redis_client: Redis, letters: DeadLetters
) -> None:
    feed = Feed("q@north", "hot", "select", "f")
    refuse_lines(redis_client, 2, feed)
    replayed, purged = letters

    assert letters.replay(replayed)
    assert letters.purge(purged)

    assert account(redis_client, feed).dropped == {"purged": 1}
    assert (replayed.query, replayed.tier) == ("q@north", "hot")


def test_purge_works_and_replay_is_refused_whole_at_maxmemory(
    redis_client: Redis, letters: DeadLetters
) -> None:
    refuse_lines(redis_client, count=2)
    first, second = letters
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            letters.replay(first)
        assert letters.purge(second)
    finally:
        redis_client.config_set("maxmemory", 0)

    assert account(redis_client).dead_lettered == 1
    assert letters.replay(first)


@pytest.mark.parametrize(
    "id_", ["nonsense", "1-1", "", "-", "1-x", "²-1", "99999999999999999999-1"]
)
def test_an_unknown_id_is_one_clear_error(letters: DeadLetters, id_: str) -> None:
    with pytest.raises(EtlError, match="no dead letter has the id"):
        letters.get(id_)


def test_a_dead_letter_whose_payload_was_deleted_is_an_error(
    redis_client: Redis, letters: DeadLetters
) -> None:
    refuse_lines(redis_client)
    (letter,) = letters
    redis_client.delete(letter.payload_key)

    for attempt in (letters.payload, letters.replay):
        with pytest.raises(EtlError, match="was deleted"):
            attempt(letter)
    assert letters.purge(letter)


@pytest.mark.parametrize(
    ("payload", "samples"),
    [
        (gzip.compress(b"m value=1 1\nm value=1 2\n"), 3),
        (b"m value=1 1\n", 2),
        (b"m value=1 1\n\n# no point\n", 3),
        (b"m value=1 1\nm value=1 2\n", 1),
        (b"kind=expr\nquery=q", 1),
        (gzip.compress(b"m value=1 1\n" * 50)[:-9], 50),
    ],
)
def test_a_dead_letter_without_a_line_for_each_sample_is_not_replayed(
    redis_client: Redis, letters: DeadLetters, payload: bytes, samples: int
) -> None:
    windows, points = WindowSet(redis_client, KEYS), stream(redis_client, POINTS)
    windows.plan(FEED, 0, 1000)
    window = windows.lease(FEED, "live", 10**9, 10**9)
    assert window is not None
    windows.commit(FEED, window, [windows.stage(b"raw", samples, 60)])
    raw = stream(redis_client, RAW)
    (entry,) = raw.read(1, 0.01)
    raw.settle(entry, Settle(outputs=[Output(payload, samples)]), "transformer")
    (entry,) = points.read(1, 0.01)
    dead = DeadLetter("corrupt", "it holds other lines", payload, samples)
    assert points.settle(entry, Settle(dead=[dead]), "loader") is SettleResult.OK
    (letter,) = letters

    with pytest.raises(EtlError, match=letter.id):
        letters.replay(letter)

    assert account(redis_client).dead_lettered == samples
    assert letters.purge(letter)


def test_a_replayed_dead_letter_keeps_its_window_unsettled(
    redis_client: Redis, letters: DeadLetters
) -> None:
    windows = WindowSet(redis_client, KEYS)
    windows.plan(FEED, 0, 1000)
    window = windows.lease(FEED, "live", 10**9, 10**9)
    assert window is not None
    windows.commit(FEED, window, [windows.stage(b"a", 1, 60), windows.stage(b"b", 1, 60)])
    raw = stream(redis_client, RAW)
    bad, good = raw.read(2, 0.01)
    raw.settle(bad, Settle(dead=[DeadLetter("poison", "x", b"a", 1)]), "transformer")
    assert letters.replay(next(iter(letters)))
    (again,) = raw.read(1, 0.01)

    raw.settle(again, Settle(drops={"nan": 1}), "transformer")

    assert windows.status()["q@hot"].loaded_watermark_ms == 0, "the good one is still in flight"
    raw.settle(good, Settle(drops={"nan": 1}), "transformer")
    assert windows.status()["q@hot"].loaded_watermark_ms == 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"a": "b"},
        {"stage": "loader", "samples": "5", "payload": "dead:ledger"},
        {"stage": "loader", "samples": "x" * 5000, "feed": "q@hot"},
        {"stage": "loader", "samples": "9" * 17, "feed": "q@hot", "query": "q", "tier": "hot"},
        {"stage": "loader", "samples": "9" * 5000, "payload": "dead:payload:\x00"},
        {"stage": "loader", "samples": "0", "feed": "a b|c", "query": "a", "tier": "b"},
        {"stage": "loader", "samples": "3", "feed": "\udcff@hot", "query": "a", "tier": "b"},
    ],
)
def test_a_foreign_dead_letter_harms_nothing_and_can_be_purged(
    redis_client: Redis, letters: DeadLetters, fields: dict[str, str]
) -> None:
    refuse_lines(redis_client)
    encoded = {k.encode(): v.encode("utf-8", "surrogateescape") for k, v in fields.items()}
    redis_client.xadd(KEYS.dead, dict(encoded.items()))
    _, foreign = letters
    before = account(redis_client)

    with pytest.raises(EtlError):
        letters.replay(foreign)
    assert letters.purge(foreign)

    assert account(redis_client) == before
    assert len(list(letters)) == 1


def test_a_damaged_gzip_payload_is_one_clear_error(
    redis_client: Redis, letters: DeadLetters
) -> None:
    refuse_lines(redis_client)
    (letter,) = letters
    broken = bytearray(gzip.compress(b"m value=1 1\n" * 50))
    broken[15] ^= 0xFF
    redis_client.set(letter.payload_key, bytes(broken))

    with pytest.raises(EtlError, match=letter.id):
        letters.payload(letter)


def test_a_dead_letter_without_samples_can_be_replayed_and_purged(
    redis_client: Redis, letters: DeadLetters
) -> None:
    raw = stream(redis_client, RAW)
    for _ in range(2):
        redis_client.xadd(KEYS.stream(RAW), {"query": "q", "tier": "hot", "window": "w"})
        (entry,) = raw.read(1, 0.01)
        empty = DeadLetter("unknown_schema", "x", b"fields", 0)
        assert raw.settle(entry, Settle(dead=[empty]), "transformer") is SettleResult.OK
    first, second = letters

    assert letters.replay(first)
    assert letters.purge(second)

    assert list(letters) == []
    assert Ledger(redis_client, KEYS).audit().imbalance_samples == 0


def test_a_query_named_as_a_recording_rule_is_in_the_ledger_too(
    redis_client: Redis, letters: DeadLetters
) -> None:
    feed = Feed("job:errors:rate", "hot", "expr", "f")
    windows = WindowSet(redis_client, KEYS)
    windows.plan(feed, 0, 1000)
    window = windows.lease(feed, "live", 10**9, 10**9)
    assert window is not None
    windows.commit(feed, window, [windows.stage(b"raw", 2, 60)])
    raw = stream(redis_client, RAW)
    (entry,) = raw.read(1, 0.01)
    dead = [DeadLetter("undecodable", "", b"a", 1), DeadLetter("undecodable", "", b"b", 1)]
    assert raw.settle(entry, Settle(dead=dead), "transformer") is SettleResult.OK

    first, second = letters
    assert letters.purge(first)
    letters.replay(second)

    audit = Ledger(redis_client, KEYS).audit()
    found = audit.accounts["job:errors:rate@hot"]
    assert (audit.imbalance_samples, found.dropped, found.dead_lettered) == (0, {"purged": 1}, 0)
    assert found.in_flight == 1
