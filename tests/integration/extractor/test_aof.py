"""Half a script at the end of the append-only file must not be applied at a later start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis
from redis.exceptions import ResponseError

from common.errors import StackError
from common.runtime.telemetry import Telemetry
from devtools.servers.binaries import Toolbox
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from services.extractor.aof import AGAIN_SECONDS, AofHealer
from tests.support.captured_log import CapturedLog
from tests.support.full_disk import FullDiskRedis

SCRIPT = "for _, key in ipairs({'a', 'b', 'c'}) do redis.call('INCR', key) end"


@pytest.fixture
def full_disk_redis(toolbox: Toolbox, tmp_path: Path, log_dir: Path) -> Iterator[FullDiskRedis]:
    """A started Redis of the test's own."""
    with FullDiskRedis(toolbox, tmp_path / "full", name="redis-full", log_dir=log_dir) as server:
        yield server


def counts(server: RedisServer) -> list[int]:
    with server.client() as client:
        found: Any = client.mget(["a", "b", "c"])
        return [int(value or 0) for value in found]


def newest_increments(server: RedisServer) -> Path:
    return max(server.work_dir.rglob("*.incr.aof"), key=lambda path: path.stat().st_mtime)


def crash_within_a_script(server: RedisServer) -> None:
    """Three scripts, then a crash that leaves half of the last one in the file."""
    with server.client() as client:
        for _ in range(3):
            client.eval(SCRIPT, 0)
    server.kill()
    file = newest_increments(server)
    content = file.read_bytes()
    cut = content.rindex(b"INCR", 0, content.rindex(b"INCR"))  # within the second of three
    file.write_bytes(content[: cut + 2])
    server.start()


@pytest.mark.parametrize("healed", [True, False])
def test_half_a_script_is_gone_after_the_rewrite(
    make_redis: Callable[..., RedisServer], healed: bool
) -> None:
    server = make_redis(append_fsync="always")
    crash_within_a_script(server)
    assert counts(server) == [2, 2, 2]
    healer_telemetry = Telemetry("extractor", CollectorRegistry())
    with server.client() as client:
        healer = AofHealer(client, healer_telemetry)
        if healed:
            assert healer.check()
            wait_until(
                lambda: not client.info("persistence")["aof_rewrite_in_progress"],
                deadline_seconds=20,
                what="the file is rewritten",
            )
            assert not healer.check(), "once for each run of the server"
        client.eval(SCRIPT, 0)
    server.kill()

    server.start()

    found = counts(server)
    if healed:
        assert found == [3, 3, 3]
    else:
        assert len(set(found)) > 1, "this Redis needs no healing any more"


@pytest.mark.parametrize("healed", [True, False])
def test_a_file_that_a_full_disk_damaged_is_written_anew(
    full_disk_redis: FullDiskRedis, healed: bool
) -> None:
    server = full_disk_redis
    now = 1000.0
    log = CapturedLog()
    with server.client() as client:
        healer = AofHealer(client, log, clock=lambda: now)
        assert healer.check(), "it is new to us"
        server.await_rewrite()
        assert not healer.check()
        client.set("before", "kept")
        server.fill_disk()
        assert not healer.check(), "there is no room"
        with pytest.raises(ResponseError, match="MISCONF"):
            client.set("meanwhile", "refused")
        server.make_room()
        if healed:
            assert healer.check()
            server.await_rewrite()
            assert not healer.check()
        client.set("after", "kept")
    server.stop()

    if healed:
        server.start()
        with server.client() as client:
            assert client.mget("before", "meanwhile", "after") == [b"kept", None, b"kept"]
        reasons = [line.get("why") for line in log.lines]
        assert list(zip(log.events, reasons, strict=True)) == [
            ("aof_rewrite_requested", "new"),
            ("aof_write_failed", None),
            ("aof_rewrite_requested", "writes_again"),
        ]
    else:
        with pytest.raises(StackError, match="Bad file format"):
            server.start()


def test_a_rewrite_that_fails_is_requested_again_but_not_at_once(
    full_disk_redis: FullDiskRedis,
) -> None:
    now = 1000.0
    log = CapturedLog()
    with full_disk_redis.client() as client:
        client.set("large", os.urandom(20_000))
        client.bgrewriteaof()
        assert full_disk_redis.await_rewrite() == "ok"
        healer = AofHealer(client, log, clock=lambda: now)
        full_disk_redis.limit_files(10_000)  # room to append, none for another base
        assert healer.check()
        assert full_disk_redis.await_rewrite() == "err"
        assert not healer.check()
        now += AGAIN_SECONDS
        assert healer.check()
        assert full_disk_redis.await_rewrite() == "err"
        full_disk_redis.make_room()
        now += AGAIN_SECONDS
        assert healer.check()
        assert full_disk_redis.await_rewrite() == "ok"
        now += AGAIN_SECONDS
        assert not healer.check()

    reasons = [line["why"] for line in log.lines]
    assert reasons == ["new", "rewrite_failed", "rewrite_failed"]


def test_who_may_not_ask_says_so_once(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis()
    log = CapturedLog()
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "plain", "on", "nopass", "~*", "+@all", "-info")
    with Redis(port=server.port, username="plain", password="-", protocol=2) as client:
        healer = AofHealer(client, log)
        assert not healer.check()
        assert not healer.check()
    assert log.events == ["aof_rewrite_refused"]


def test_a_server_without_the_file_is_left_alone(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(append_only=False)

    with server.client() as client:
        assert not AofHealer(client, Telemetry("extractor", CollectorRegistry())).check()
