"""The state of a namespace in a real Redis: exact, of one instant, and back in one step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from common.errors import EtlError
from common.state.keys import Keys
from common.state.workers import Workers
from devtools.servers.waiting import wait_until
from etlctl.backup.redis_state import FILE, RedisState
from tests.support.redis_content import content_of

KEYS = Keys("etl")
BINARY = bytes(range(256))


def nothing(_: int) -> None:
    pass


@pytest.fixture
def filled(redis_client: Redis) -> Redis:
    """A Redis with keys of every type, of ours and of others."""
    client: Any = redis_client
    client.set(KEYS.payload("a"), BINARY * 4_000)
    client.set(KEYS.payload("b"), b"staged", px=3_600_000)
    client.hset(KEYS.ledger, mapping={"up@hot|extracted": 5, BINARY: BINARY})
    client.sadd(KEYS.feeds, "up@hot")
    client.rpush(KEYS.gaps("up@hot"), "{}", "{}")
    client.zadd(KEYS.rechecks("up@hot"), {"x": 1795935600123})
    client.xgroup_create(KEYS.stream("raw"), "etl", mkstream=True)
    client.xadd(KEYS.stream("raw"), {"payload": "a"})
    client.xadd(KEYS.stream("raw"), {"payload": "b"})
    client.xreadgroup("etl", "one", {KEYS.stream("raw"): ">"}, count=1)
    for number in range(100):
        client.set(KEYS.payload(f"n{number}"), str(number))
    client.set("etl2:ledger", "another pipeline's")
    client.set("rq:job", "RQ's")
    return redis_client


def save(client: Redis, folder: Path) -> dict[str, Any]:
    return dict(RedisState(client, KEYS).save(folder, nothing).known)


def lose(client: Redis) -> None:
    client.delete(*client.scan_iter(match="etl:*"))


def test_everything_of_the_namespace_comes_back_and_nothing_else(
    filled: Redis, tmp_path: Path
) -> None:
    ours, all_keys = content_of(filled, "etl:*"), content_of(filled, "*")
    known = save(filled, tmp_path)
    assert known["keys"] == len(ours)
    lose(filled)
    state = RedisState(filled, KEYS)
    state.check(tmp_path, known)
    assert state.restore(tmp_path, known, nothing) == f"{len(ours)} keys"
    assert content_of(filled, "*") == all_keys


def test_what_is_of_running_processes_is_left_out(filled: Redis, tmp_path: Path) -> None:
    expected = content_of(filled, "etl:*")
    for key in (KEYS.verify_lease, KEYS.seals_writer):
        filled.set(key, "somebody")
    known = save(filled, tmp_path)
    lose(filled)
    filled.set(KEYS.seals_writer, "another")  # not in the way either
    RedisState(filled, KEYS).restore(tmp_path, known, nothing)
    filled.delete(KEYS.seals_writer)
    assert content_of(filled, "etl:*") == expected


def test_what_expires_meanwhile_is_gone(filled: Redis, tmp_path: Path) -> None:
    filled.set(KEYS.payload("b"), b"staged", px=3_000)
    known = save(filled, tmp_path)
    assert KEYS.payload("b").removeprefix("etl:").encode() in (tmp_path / FILE).read_bytes()
    lose(filled)
    filled.set("beside", "x", px=3_000)
    wait_until(lambda: not filled.exists("beside"), deadline_seconds=30, what="time passes")
    RedisState(filled, KEYS).restore(tmp_path, known, nothing)
    assert not filled.exists(KEYS.payload("b"))
    assert filled.exists(KEYS.payload("a"))


@pytest.mark.parametrize("command", ["save", "check"])
def test_a_pipeline_that_runs_is_refused(filled: Redis, tmp_path: Path, command: str) -> None:
    Workers(filled, KEYS).report("loader-1", "loader", True, {})
    with pytest.raises(EtlError, match=r"the pipeline runs \(loader-1\): stop extractor"):
        getattr(RedisState(filled, KEYS), command)(tmp_path, {} if command == "check" else nothing)


class Meddling:
    """Calls ``action`` after so many bytes were moved."""

    def __init__(self, action: Callable[[], object], times: int = 1_000_000) -> None:
        self.action, self.times = action, times

    def __call__(self, _: int) -> None:
        if self.times:
            self.times -= 1
            self.action()


def test_a_state_that_changes_meanwhile_is_copied_again(filled: Redis, tmp_path: Path) -> None:
    def write() -> None:
        # Both are written in one step by the pipeline's scripts: half of it must not be saved.
        filled.hincrby(KEYS.ledger, "up@hot|extracted", 1)
        filled.set(KEYS.payload("new"), "x")

    known = RedisState(filled, KEYS).save(tmp_path, Meddling(write, times=1)).known
    expected = content_of(filled, "etl:*")
    lose(filled)
    RedisState(filled, KEYS).restore(tmp_path, known, nothing)
    assert content_of(filled, "etl:*") == expected


def test_a_state_that_never_rests_is_not_saved(filled: Redis, tmp_path: Path) -> None:
    write = Meddling(lambda: filled.hincrby(KEYS.ledger, "up@hot|extracted", 1))
    with pytest.raises(EtlError, match=r"etl:\* in Redis are written all the time"):
        RedisState(filled, KEYS).save(tmp_path, write)


def test_a_namespace_that_is_not_empty_is_left_alone(filled: Redis, tmp_path: Path) -> None:
    known, before = save(filled, tmp_path), content_of(filled, "*")
    state = RedisState(filled, KEYS)
    with pytest.raises(EtlError, match=r"Redis is not empty: it has \d+ keys etl:\*, such as etl:"):
        state.check(tmp_path, known)
    with pytest.raises(EtlError, match="Redis is not empty"):
        state.restore(tmp_path, known, nothing)
    assert content_of(filled, "*") == before


def test_a_pipeline_that_starts_meanwhile_keeps_what_it_wrote(
    filled: Redis, tmp_path: Path
) -> None:
    known = save(filled, tmp_path)
    lose(filled)
    start = Meddling(lambda: filled.hset(KEYS.ledger, "up@hot|extracted", 1), times=1)
    with pytest.raises(EtlError, match="written meanwhile: nothing was restored"):
        RedisState(filled, KEYS).restore(tmp_path, known, start)
    assert set(content_of(filled, "etl:*")) == {KEYS.ledger.encode()}


def test_an_interrupted_restore_leaves_nothing_and_a_killed_one_is_cleaned_up(
    filled: Redis, tmp_path: Path
) -> None:
    expected = content_of(filled, "etl:*")
    known = save(filled, tmp_path)
    lose(filled)

    def interrupt() -> None:
        raise KeyboardInterrupt

    state = RedisState(filled, KEYS)
    with pytest.raises(KeyboardInterrupt):
        state.restore(tmp_path, known, Meddling(interrupt))
    assert content_of(filled, "etl:*") == {}
    filled.set("etl:restoring:ledger", "half")
    state.check(tmp_path, known)
    state.restore(tmp_path, known, nothing)
    assert content_of(filled, "etl:*") == expected


def test_a_file_that_is_not_whole_or_not_of_this_redis_is_one_sentence(
    filled: Redis, tmp_path: Path
) -> None:
    known = save(filled, tmp_path)
    lose(filled)
    state, file = RedisState(filled, KEYS), tmp_path / FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(EtlError, match="ends in the middle of a key"):
        state.restore(tmp_path, known, nothing)
    # The last ten bytes of a value are the version of its format and a checksum.
    file.write_bytes(whole[:-10] + b"\xff\xff" + whole[-8:])
    with pytest.raises(EtlError, match=r"cannot read what Redis .* wrote"):
        state.restore(tmp_path, known, nothing)
    file.write_bytes(whole)
    with pytest.raises(EtlError, match="does not hold the keys of its manifest"):
        state.restore(tmp_path, {**known, "keys": 1}, nothing)
    assert content_of(filled, "etl:*") == {}


def test_a_redis_that_goes_away_leaves_nothing_that_looks_whole(
    make_redis: Callable[..., Any], tmp_path: Path
) -> None:
    server = make_redis()
    with server.client() as client:
        client.set(KEYS.payload("a"), b"x")
        with pytest.raises((RedisConnectionError, EtlError)):
            RedisState(client, KEYS).save(tmp_path, lambda _: server.kill())
