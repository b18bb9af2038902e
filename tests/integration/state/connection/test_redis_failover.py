"""Failover on real servers: the old master lives on as a replica and keeps connections open."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from common.runtime.telemetry import Telemetry
from common.state.connection.redis_client import connect
from common.state.keys import Keys
from devtools.servers.ports import HOST
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from services.extractor.scheduler import Scheduler

MakeRedis = Callable[..., RedisServer]


@pytest.fixture
def replicated(make_redis: MakeRedis) -> tuple[RedisServer, RedisServer]:
    master = make_redis()
    replica = make_redis(
        settings={"replicaof": f"{HOST} {master.port}", "repl-diskless-sync-delay": "0"}
    )
    with replica.client() as client:
        wait_until(
            lambda: client.info("replication")["master_link_status"] == "up",
            deadline_seconds=20,
            what="the replica follows",
        )
    return master, replica


def test_a_connection_to_what_became_a_replica_is_dropped(
    replicated: tuple[RedisServer, RedisServer],
) -> None:
    """Any command may get the refusal: plain, in a script, in a transaction."""
    master, replica = replicated
    with connect(master.url) as client, master.client() as admin, replica.client() as other:
        client.set("a", "1")
        before = client.client_id()
        other.replicaof("NO", "ONE")
        admin.replicaof(HOST, str(replica.port))
        for write in (
            lambda: client.set("a", "2"),
            lambda: client.eval("return redis.call('SET', KEYS[1], '2')", 1, "a"),
            lambda: client.pipeline().set("a", "2").set("b", "2").execute(),
            lambda: client.pipeline(transaction=False).set("a", "2").set("b", "2").execute(),
        ):
            with pytest.raises(RedisConnectionError, match="read-only replica"):
                write()  # type: ignore[no-untyped-call]
            after = client.client_id()
            assert after != before
            before = after


def test_a_scheduler_that_cannot_queue_is_not_ready(
    replicated: tuple[RedisServer, RedisServer],
) -> None:
    _, replica = replicated
    stop = threading.Event()
    checks: list[tuple[str, bool]] = []

    def set_ready(check: str, ok: bool, detail: str) -> None:
        checks.append((check, ok))
        if ok:
            stop.set()
        else:
            assert "read-only replica" in detail
            with replica.client() as admin:
                admin.replicaof("NO", "ONE")

    with connect(replica.url) as client:
        Scheduler(client, Keys("etl")).plan_at_each_tick(
            0.05, stop, Telemetry("extractor", CollectorRegistry()), set_ready
        )
    assert checks == [("scheduler", False), ("scheduler", True)]


def test_a_user_of_the_acl(make_redis: MakeRedis) -> None:
    server = make_redis()
    with server.client() as admin:
        admin.acl_setuser(
            "stage", enabled=True, passwords=["+word"], keys=["*"], commands=["+@all"]
        )
    with connect(f"redis://stage@{HOST}:{server.port}/0", "word") as client:
        assert client.acl_whoami() == "stage"
