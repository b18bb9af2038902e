"""Half a script at the end of the append-only file must not be applied at a later start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.runtime.telemetry import Telemetry
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from services.extractor.aof import AofHealer

SCRIPT = "for _, key in ipairs({'a', 'b', 'c'}) do redis.call('INCR', key) end"


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
            assert not healer.check(), "once for each run of the server"
            wait_until(
                lambda: not client.info("persistence")["aof_rewrite_in_progress"],
                deadline_seconds=20,
                what="the file is rewritten",
            )
        client.eval(SCRIPT, 0)
    server.kill()

    server.start()

    found = counts(server)
    if healed:
        assert found == [3, 3, 3]
    else:
        assert len(set(found)) > 1, "this Redis needs no healing any more"


def test_a_server_without_the_file_is_left_alone(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(append_only=False)

    with server.client() as client:
        assert not AofHealer(client, Telemetry("extractor", CollectorRegistry())).check()
