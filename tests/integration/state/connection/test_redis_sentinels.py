"""Clients that ask real Sentinels for the master, while masters die, hang and come back."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from common.config import Settings
from common.state.connection.redis_client import connect, connect_as_set
from common.state.connection.sentinels import SENTINEL_TIMEOUT_SECONDS, SentinelLogin
from devtools.servers.binaries import Toolbox
from devtools.servers.ports import HOST, free_port
from devtools.servers.redis_failover import MASTER_NAME, RedisFailover
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from services.exporter.settings import load_settings

pytestmark = pytest.mark.timeout(180)

PASSWORD, ASKED = "open-sesame", "who-is-it"
SECURITY = Path(__file__).parents[4] / "docs" / "security.md"


def user(name: str, password: str) -> tuple[str, str]:
    """A line of a configuration in two parts: the user with the rights that the document gives."""
    (line,) = re.findall(rf"(?m)^user {name} on #HASH (.*)$", SECURITY.read_text("utf-8"))
    return f"user {name}", f"on >{password} {line}"


@pytest.fixture(scope="module")
def failover(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory, log_dir: Path
) -> Iterator[RedisFailover]:
    with RedisFailover(
        toolbox,
        tmp_path_factory.mktemp("failover"),
        log_dir=log_dir / "failover",
        password=PASSWORD,
        settings={
            "min-replicas-to-write": "1",
            "min-replicas-max-lag": "2",
            "masteruser": "replica",
            **dict((user("replica", PASSWORD), user("sentinel", PASSWORD))),
        },
        sentinel_lines=[
            f"sentinel auth-user {MASTER_NAME} sentinel",
            " ".join(user("watcher", ASKED)),
        ],
    ) as started:
        yield started


@pytest.fixture(autouse=True)
def whole(failover: RedisFailover) -> None:
    for server in (*failover.servers, *failover.sentinels):
        server.resume()
        server.start()
    failover.wait_whole()


@pytest.fixture
def client(failover: RedisFailover) -> Iterator[Redis]:
    with connect(failover.url, PASSWORD) as made:
        yield made


def until_served(command: Callable[[], Any], what: str) -> None:
    def served() -> bool:
        try:
            return bool(command())
        except RedisError:
            return False

    wait_until(served, deadline_seconds=60, what=what, poll_seconds=0.05)


def port_of(client: Redis) -> int:
    info: Any = client.info("server")
    return int(info["tcp_port"])


def test_a_killed_master_is_followed_by_another(failover: RedisFailover, client: Redis) -> None:
    client.set("a", "1")
    client.wait(2, 5000)
    old = failover.master()
    assert port_of(client) == old.port
    old.kill()
    with pytest.raises(RedisConnectionError):
        client.set("a", "2")
    until_served(lambda: client.set("a", "3"), "the client found the new master")
    assert port_of(client) == failover.wait_for_another_master_than(old).port
    assert client.get("a") == b"3"


def test_a_master_that_hangs_is_left_and_comes_back_as_a_replica(failover: RedisFailover) -> None:
    """Both clients keep connections open to it: one writes, one only reads, as etl-metrics does.

    What only reads believes it until the Sentinels have made it a replica.
    """
    old = failover.master()
    with (
        connect(failover.url, PASSWORD, socket_timeout_seconds=1.0) as writer,
        connect(failover.url, PASSWORD, socket_timeout_seconds=1.0) as reader,
    ):
        assert writer.set("a", "1")
        assert reader.get("a") == b"1"
        old.pause()
        failover.wait_for_another_master_than(old)
        until_served(lambda: writer.set("a", "2"), "the writer found the new master")
        old.resume()
        until_served(lambda: port_of(reader) != old.port, "the reader found the new master")
        assert port_of(reader) == port_of(writer) != old.port
        assert reader.get("a") == b"2"
        with old.client() as admin:
            wait_until(
                lambda: admin.info("replication")["role"] == "slave",
                deadline_seconds=30,
                what="the old master follows the new one",
            )
            assert admin.get("a") == b"2"


def test_a_reply_that_comes_late_is_not_that_of_the_next_command(failover: RedisFailover) -> None:
    """The next command is sent before the late reply is there, so no look at the socket helps."""
    with connect(failover.url, PASSWORD, socket_timeout_seconds=0.5) as client:
        client.set("a", "of this command")
        with pytest.raises(RedisTimeoutError):
            client.execute_command("BLPOP", "nothing is in it", "0.7")
        assert client.get("a") == b"of this command"


def test_a_reader_leaves_a_master_that_is_demoted_alive(
    failover: RedisFailover, client: Redis
) -> None:
    old = failover.master()
    assert port_of(client) == old.port
    with failover.sentinels[0].client() as asked:
        until_served(
            lambda: asked.execute_command("SENTINEL", "FAILOVER", MASTER_NAME), "a failover"
        )
    failover.wait_for_another_master_than(old)
    until_served(lambda: port_of(client) != old.port, "the reader found the new master")


def test_a_master_without_replicas_refuses_writes_and_keeps_what_it_acknowledged(
    failover: RedisFailover, client: Redis
) -> None:
    for replica in failover.replicas():
        replica.pause()

    def refused() -> str:
        try:
            client.incr("n")
            client.eval("return redis.call('INCR', KEYS[1])", 1, "n")
        except RedisConnectionError as error:
            return str(error)
        return ""

    said = wait_until(refused, deadline_seconds=30, what="writes are refused", poll_seconds=0.05)
    assert "master no more" in said
    assert "NOREPLICAS" in said
    with pytest.raises(RedisConnectionError, match="NOREPLICAS"):
        client.eval("return redis.call('INCR', KEYS[1])", 1, "n")
    with client.pipeline() as pipe:
        pipe.incr("n")
        with pytest.raises(RedisConnectionError, match="NOREPLICAS"):
            pipe.execute()
    acknowledged = client.get("n")
    for replica in failover.servers:
        replica.resume()
    failover.wait_whole()
    until_served(lambda: client.incr("n") == int(acknowledged or 0) + 1, "writes go on")


def test_a_sentinel_that_is_away_hangs_or_refuses_is_passed_over(
    failover: RedisFailover, redis_server: RedisServer
) -> None:
    """One port where nobody listens, one that never answers, a Redis that is no Sentinel."""
    with closing(socket.create_server((HOST, 0))) as silent:
        ports = (free_port(), silent.getsockname()[1], redis_server.port)
        bad = ",".join(f"{HOST}:{port}" for port in ports)
        good = f"{HOST}:{failover.sentinels[2].port}"
        with connect(f"redis+sentinel://{bad},{good}/{MASTER_NAME}/0", PASSWORD) as client:
            assert client.ping()
            # The one that responded is asked first from now on, by all threads at once too.
            manager = client.connection_pool.sentinel_manager
            assert manager.sentinels[0].connection_pool.connection_kwargs["port"] == (
                failover.sentinels[2].port
            )
            assert manager.sentinels[0].connection_pool.connection_kwargs["socket_timeout"] == (
                SENTINEL_TIMEOUT_SECONDS
            )
            found: list[int] = []
            threads = [
                threading.Thread(target=lambda: found.append(manager.discover_master("etl")[1]))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert found == [failover.master().port] * 8
        with (
            connect(f"redis+sentinel://{bad}/{MASTER_NAME}", PASSWORD) as client,
            pytest.raises(RedisConnectionError) as caught,
        ):
            client.ping()
    said = str(caught.value)
    assert said.startswith(f"no Sentinel names a master {MASTER_NAME}: {HOST}:{ports[0]}: ")
    assert "refused" in said
    assert "Timeout" in said
    assert "unknown command" in said


def test_a_master_that_nobody_knows_is_named(failover: RedisFailover) -> None:
    url = failover.url.replace(f"/{MASTER_NAME}/", "/other/")
    with (
        connect(url, PASSWORD) as client,
        pytest.raises(RedisConnectionError, match="it knows no master of that name"),
    ):
        client.ping()


def test_master_and_sentinels_have_users_and_passwords_of_their_own(
    failover: RedisFailover, tmp_path: Path
) -> None:
    for server in failover.servers:
        with server.client() as admin:
            admin.acl_setuser(
                "stage", enabled=True, passwords=["+word"], keys=["*"], commands=["+@all"]
            )
    secrets = {"redis": "word", "sentinel": ASKED}
    for name, secret in secrets.items():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(secret)
    url = failover.url.replace("://", "://stage@")
    settings = Settings.model_validate(
        {
            "extract": {"prometheus_url": "http://p"},
            "load": {"influxdb": {"url": "http://i", "org": "o", "bucket": "b"}},
            "pipeline": {
                "redis_url": url,
                "redis_password_file": str(tmp_path / "redis"),
                "redis_sentinel_username": "watcher",
                "redis_sentinel_password_file": str(tmp_path / "sentinel"),
            },
        }
    )
    with connect_as_set(settings.pipeline) as client:
        assert client.acl_whoami() == "stage"
        with failover.sentinels[0].client() as admin:
            known = {one["user"] for one in admin.client_list()}
        assert "watcher" in known
    exporter = load_settings(
        [],
        {
            "ETL__PIPELINE__REDIS_URL": url,
            "ETL__PIPELINE__REDIS_PASSWORD_FILE": str(tmp_path / "redis"),
            "ETL__PIPELINE__REDIS_SENTINEL_USERNAME": "watcher",
            "ETL__PIPELINE__REDIS_SENTINEL_PASSWORD_FILE": str(tmp_path / "sentinel"),
        },
    )
    login = SentinelLogin(exporter.redis_sentinel_username, exporter.redis_sentinel_password)
    assert login == SentinelLogin("watcher", ASKED)
    assert ASKED not in repr(login)
    with (
        connect(url, "word", sentinel_login=SentinelLogin("watcher", "wrong")) as client,
        pytest.raises(RedisConnectionError, match="invalid username-password pair"),
    ):
        client.ping()
