"""Failover on real servers: the old master lives on as a replica and keeps connections open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from common.runtime.telemetry import Telemetry
from common.state.keys import Keys
from common.state.redis_client import connect
from devtools.servers.ports import HOST, free_port
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from services.extractor.scheduler import Scheduler

MakeRedis = Callable[..., RedisServer]


class Sentinels(RedisServer):
    """One redis-sentinel that watches ``master`` alone."""

    def __init__(self, *args: object, master: RedisServer, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._master = master

    def prepare(self) -> None:
        """A configuration that Sentinel writes to."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            f"bind {HOST}\nport {self.port}\ndir {self._data_dir}\n"
            f"sentinel monitor etl {HOST} {self._master.port} 1\n"
            "sentinel down-after-milliseconds etl 1000\n"
            "sentinel failover-timeout etl 5000\n",
            encoding="utf-8",
        )

    def command(self) -> list[str]:
        return [*super().command(), "--sentinel"]


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


@pytest.fixture
def sentinel(replicated: tuple[RedisServer, RedisServer], tmp_path: Path) -> Iterator[Sentinels]:
    master, _ = replicated
    server = Sentinels(master._toolbox, tmp_path / "sentinel", name="sentinel", master=master)
    with server.start():
        yield server


@pytest.mark.timeout(120)
def test_sentinels_lead_to_the_master_of_the_moment(
    replicated: tuple[RedisServer, RedisServer], sentinel: Sentinels
) -> None:
    master, replica = replicated
    url = f"redis+sentinel://{HOST}:{free_port()},{HOST}:{sentinel.port}/etl/3"
    with connect(url) as client, master.client() as old, sentinel.client() as asked:
        wait_until(
            lambda: len(asked.execute_command("SENTINEL", "replicas", "etl")) == 1,
            deadline_seconds=30,
            what="the sentinel knows the replica",
        )
        client.set("a", "1")
        assert client.info("server")["tcp_port"] == master.port

        def failed_over() -> bool:
            try:
                return bool(asked.execute_command("SENTINEL", "failover", "etl"))
            except RedisError:
                return False  # it does not know enough of the replica yet

        wait_until(failed_over, deadline_seconds=60, what="the sentinel fails over")

        def demoted() -> bool:
            try:
                return bool(old.info("replication")["role"] == "slave")
            except RedisError:
                return False  # Sentinel ends the connections of the one that it demotes

        wait_until(demoted, deadline_seconds=30, what="the old master became a replica, alive")

        def written() -> bool:
            try:
                return bool(client.set("a", "2"))
            except RedisError:
                return False

        wait_until(written, deadline_seconds=30, what="the client found the new master")
        assert client.info("server")["tcp_port"] == replica.port
        assert client.get("a") == b"2"
        assert client.connection_pool.connection_kwargs["db"] == 3


def test_a_user_of_the_acl(make_redis: MakeRedis) -> None:
    server = make_redis()
    with server.client() as admin:
        admin.acl_setuser(
            "stage", enabled=True, passwords=["+word"], keys=["*"], commands=["+@all"]
        )
    with connect(f"redis://stage@{HOST}:{server.port}/0", "word") as client:
        assert client.acl_whoami() == "stage"
