"""Differences that Redis explains: windows, gaps and dead letters of a real one."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import redis

from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.state.keys import POINTS, RAW, Keys
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Settle
from common.state.windows import Feed, Window, WindowSet
from services.verifier.expect import Identify
from services.verifier.explain import Range
from services.verifier.knowledge import RedisKnowledge, points_of_lines
from services.verifier.points import SeriesKey

FEED = Feed("raw", "hot", "select", "f1")
FOREVER_MS = 2**62


def by_name(labels: dict[str, str]) -> SeriesKey | str:
    tags = {name: value for name, value in labels.items() if name != "__name__"}
    return SeriesKey.of(labels["__name__"], tags)


@pytest.fixture
def keys(redis_namespace: str) -> Keys:
    return Keys(redis_namespace)


@pytest.fixture
def windows(redis_client: redis.Redis, keys: Keys) -> WindowSet:
    return WindowSet(redis_client, keys)


@pytest.fixture
def knowledge(redis_client: redis.Redis, keys: Keys) -> RedisKnowledge:
    identify: dict[str, Identify] = {"raw": by_name}  # type: ignore[dict-item]
    return RedisKnowledge(redis_client, keys, "hot", identify, lambda: 5)


def lease(windows: WindowSet) -> Window:
    window = windows.lease(FEED, "live", 10**9, 60_000)
    assert window is not None
    return window


def commit(windows: WindowSet, payload: bytes, samples: int) -> Window:
    window = lease(windows)
    staged = windows.stage(payload, samples, 60)
    assert windows.commit(FEED, window, [staged]) == "committed"
    return window


def dead_letter(client: redis.Redis, keys: Keys, stream: str, payload: bytes, samples: int) -> None:
    reader = RedisStream(client, keys, stream, "c", outbound=POINTS)
    reader.ensure()
    (entry,) = reader.read(1, 1.0)
    letter = DeadLetter("rejected", "because", payload, samples)
    assert reader.settle(entry, Settle(dead=[letter]), "loader") is SettleResult.OK


def test_a_query_that_redis_does_not_know_excuses_nothing(knowledge: RedisKnowledge) -> None:
    assert knowledge.pending("raw") == {}
    facts = knowledge.facts("raw")
    assert facts.ranges["gap"] == []
    assert facts.ranges["before_origin"] == []
    assert facts.ranges["beyond_retention"] == [Range(0, 5)]


def test_what_is_planned_open_or_unsettled_is_pending(
    windows: WindowSet, knowledge: RedisKnowledge
) -> None:
    windows.plan(FEED, 0, 240_000)
    newest = commit(windows, b"payload", 3)
    leased = lease(windows)
    assert (newest.start_ms, newest.end_ms) == (180_000, 240_000)
    assert (leased.start_ms, leased.end_ms) == (120_000, 180_000)
    pending = knowledge.pending("raw")
    assert set(pending["in_flight"]) == {Range(180_000, 240_000), Range(120_000, 180_000)}
    assert list(pending["not_extracted"]) == [Range(0, 120_000), Range(240_000, FOREVER_MS)]


def test_gaps_and_the_time_before_the_first_window(
    windows: WindowSet, knowledge: RedisKnowledge
) -> None:
    windows.plan(FEED, 60_000, 120_000)
    assert windows.declare_gap(FEED, lease(windows), 90_000, "gone")
    ranges = knowledge.facts("raw").ranges
    assert ranges["gap"] == [Range(60_000, 90_000)]
    assert ranges["before_origin"] == [Range(0, 60_000)]


@pytest.mark.parametrize("packed", [True, False])
def test_refused_lines_explain_their_points(
    redis_client: redis.Redis,
    keys: Keys,
    windows: WindowSet,
    knowledge: RedisKnowledge,
    packed: bool,
) -> None:
    lines = b"m,host=a\\,b value=1 17\nm,host=a\\,b value=2 18\nn value=1 19\n"
    windows.plan(FEED, 0, 60_000)
    commit(windows, b"raw", 3)
    dead_letter(redis_client, keys, RAW, gzip.compress(lines) if packed else lines, 3)
    facts = knowledge.facts("raw")
    assert {str(key): times.tolist() for key, times in facts.dead.items()} == {
        "m{host='a,b'}": [17, 18],
        "n{}": [19],
    }
    assert facts.unreadable_dead_samples == 0


def test_samples_that_were_never_transformed_explain_their_points(
    redis_client: redis.Redis, keys: Keys, windows: WindowSet, knowledge: RedisKnowledge
) -> None:
    batch = SampleBatch(
        Origin("raw", "select", "hot", "w", 0, 60_000),
        Samples(
            (b'{"__name__":"m","host":"a"}', b'{"__name__":"n"}'),
            np.array([2, 1]),
            np.array([1_000, 2_000, 1_000]),
            np.array([1.0, np.nan, 3.0]),
        ),
    )
    windows.plan(FEED, 0, 60_000)
    commit(windows, b"raw", 3)
    dead_letter(redis_client, keys, RAW, batch.encode(), 3)
    dead = knowledge.facts("raw").dead
    assert {str(key): times.tolist() for key, times in dead.items()} == {
        "m{host='a'}": [1_000],
        "n{}": [1_000],
    }


def test_bytes_that_nobody_can_read_are_counted(
    redis_client: redis.Redis, keys: Keys, windows: WindowSet, knowledge: RedisKnowledge
) -> None:
    windows.plan(FEED, 0, 120_000)
    commit(windows, b"raw", 7)
    dead_letter(redis_client, keys, RAW, b"\x00\xff garbage", 7)
    assert knowledge.facts("raw").unreadable_dead_samples == 7
    # Dead letters that come later are seen too.
    commit(windows, b"raw", 2)
    dead_letter(redis_client, keys, RAW, b"\x1f\x8b broken gzip", 2)
    assert knowledge.facts("raw").unreadable_dead_samples == 9


@pytest.mark.parametrize("samples", [b"3", b"3" * 5_000, "٣".encode()])
def test_a_foreign_dead_letter_explains_nothing_and_stops_nothing(
    redis_client: redis.Redis, keys: Keys, knowledge: RedisKnowledge, samples: bytes
) -> None:
    redis_client.hset(keys.ledger, "raw@hot|extracted", 1)
    fields = {"feed": "raw@hot", "payload": keys.ledger, "samples": samples}
    redis_client.xadd(keys.dead, fields)  # type: ignore[arg-type]
    facts = knowledge.facts("raw")
    assert facts.dead == {}
    assert facts.unreadable_dead_samples == (3 if samples == b"3" else 0)


def test_dead_letters_of_other_queries_are_not_ours(
    redis_client: redis.Redis, keys: Keys, windows: WindowSet, knowledge: RedisKnowledge
) -> None:
    windows.plan(FEED, 0, 60_000)
    commit(windows, b"raw", 1)
    dead_letter(redis_client, keys, RAW, b"m value=1 1\n", 1)
    assert knowledge.facts("raw").dead
    assert not knowledge.facts("other").dead


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (rb"m value=1 5", ("m", {}, 5)),
        (rb"a\ b\,c,k\=x=v\ w value=-0 -5", ("a b,c", {"k=x": "v w"}, -5)),
        (rb"m,k=back\slash,l=\\n value=1 5", ("m", {"k": r"back\slash", "l": r"\\n"}, 5)),
        ("mé,k=ü value=1 5".encode(), ("mé", {"k": "ü"}, 5)),
        (b"x=y,a=b value=1 1", ("x=y", {"a": "b"}, 1)),
        (rb"x\=y\ z=,a=b value=1 1", (r"x\=y z=", {"a": "b"}, 1)),
        (b"m value=1 9223372036854775807", ("m", {}, 2**63 - 1)),
        (b"m value=1 9223372036854775808", None),
        (b"m value=1 " + b"9" * 5_000, None),
        (b"", None),
        (b"# comment", None),
        (b"m,k value=1 5", None),
        (b"m value=1", None),
        (b"\xff value=1 5", None),
        (b",k=v value=1 5", None),
    ],
)
def test_lines_are_read(line: bytes, expected: tuple[str, dict[str, str], int] | None) -> None:
    wanted = [(SeriesKey.of(*expected[:2]), expected[2])] if expected else []
    assert list(points_of_lines(line, 1)) == wanted
