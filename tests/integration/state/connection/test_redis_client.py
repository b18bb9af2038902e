"""The client on a real Redis that speaks TLS: who it trusts, and what it reports."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from common.config import Settings
from common.state.connection.redis_client import connect, connect_as_set, wake
from devtools.servers.binaries import Toolbox
from devtools.servers.ports import HOST, free_port
from devtools.servers.redis_failover import MASTER_NAME, SentinelServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until

PASSWORD = "open-sesame"


@dataclass(frozen=True)
class Secured:
    """A Redis with a certificate for ``localhost``, and the authority that vouches for it."""

    port: int
    ca_file: str

    def url(self, host: str = "localhost", scheme: str = "rediss") -> str:
        """Where it listens."""
        return f"{scheme}://{host}:{self.port}/0"


@pytest.fixture
def secured(make_redis: Callable[..., RedisServer], tmp_path: Path) -> Secured:
    settings = tls_settings(tmp_path, "localhost")
    make_redis(password=PASSWORD, settings=settings)
    return Secured(int(settings["tls-port"]), settings["tls-ca-cert-file"])


def tls_settings(folder: Path, host: str) -> dict[str, str]:
    """Lines of redis.conf for a port that speaks TLS, with a certificate for ``host``."""
    authority = trustme.CA()
    issued = authority.issue_cert(host)
    ca_file, cert_file, key_file = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    key_file.touch(0o600)
    authority.cert_pem.write_to_path(str(ca_file))
    issued.cert_chain_pems[0].write_to_path(str(cert_file))
    issued.private_key_pem.write_to_path(str(key_file))
    return {
        "tls-port": str(free_port()),
        "tls-cert-file": str(cert_file),
        "tls-key-file": str(key_file),
        "tls-ca-cert-file": str(ca_file),
        "tls-auth-clients": "no",
    }


def test_the_settings_authority_is_trusted(secured: Secured) -> None:
    settings = Settings.model_validate(
        {
            "extract": {"prometheus_url": "http://p"},
            "load": {"influxdb": {"url": "http://i", "org": "o", "bucket": "b"}},
            "pipeline": {
                "redis_url": secured.url(),
                "redis_password": PASSWORD,
                "redis_ca_file": secured.ca_file,
            },
        }
    )
    with connect_as_set(settings.pipeline) as client:
        assert client.ping()


def test_nobody_else_is(secured: Secured) -> None:
    with (
        connect(secured.url(), PASSWORD) as client,
        pytest.raises(RedisConnectionError, match="certificate verify failed"),
    ):
        client.ping()
    # The certificate is for another name.
    with (
        connect(secured.url("127.0.0.1"), PASSWORD, ca_file=secured.ca_file) as client,
        pytest.raises(RedisConnectionError, match="certificate verify failed"),
    ):
        client.ping()


def test_plain_is_not_understood(secured: Secured) -> None:
    with (
        connect(secured.url(scheme="redis"), PASSWORD) as client,
        pytest.raises(RedisConnectionError),
    ):
        client.ping()


def test_sentinels_and_the_master_behind_tls(
    toolbox: Toolbox, make_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    settings = tls_settings(tmp_path, HOST)
    make_redis(password=PASSWORD, settings=settings)
    asked_port = free_port()
    lines = [f"{name} {value}" for name, value in settings.items() if name != "tls-port"]
    with SentinelServer(
        toolbox,
        tmp_path / "sentinel",
        name="sentinel",
        master_port=int(settings["tls-port"]),
        master_password=PASSWORD,
        lines=[*lines, f"tls-port {asked_port}", "tls-replication yes"],
    ) as sentinel:
        url, ca_file = f"{HOST}:{asked_port}/{MASTER_NAME}/0", settings["tls-ca-cert-file"]
        with connect(f"rediss+sentinel://{url}", PASSWORD, ca_file=ca_file) as client:
            wait_until(lambda: pings(client), deadline_seconds=30, what="the master is reached")
            info: Any = client.info("server")
            assert info["tcp_port"] != sentinel.port
        with (
            connect(f"rediss+sentinel://{url}", PASSWORD) as client,
            pytest.raises(RedisConnectionError, match="certificate verify failed"),
        ):
            client.ping()
        with (
            connect(f"redis+sentinel://{url}", PASSWORD) as client,
            pytest.raises(RedisConnectionError, match="no Sentinel names a master"),
        ):
            client.ping()


def pings(client: Redis) -> bool:
    """The Sentinel may not have looked at the master yet."""
    try:
        return bool(client.ping())
    except RedisConnectionError:
        return False


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_who_waits_is_woken_and_nothing_waits_afterwards(
    make_redis: Callable[..., RedisServer], tmp_path: Path, scheme: str
) -> None:
    settings = tls_settings(tmp_path, "localhost")
    server = make_redis(settings=settings)
    url = f"rediss://localhost:{settings['tls-port']}" if scheme == "rediss" else server.plain_url
    with (
        server.client() as watching,
        connect(url, ca_file=_authority_of(scheme, settings)) as redis,
    ):
        ended: list[BaseException] = []

        def waits() -> None:
            try:
                redis.blpop(["nothing"], 4)
            except RedisConnectionError as error:
                ended.append(error)

        waiting = threading.Thread(target=waits, daemon=True)
        waiting.start()
        wait_until(
            lambda: any(client["cmd"] == "blpop" for client in watching.client_list()),
            deadline_seconds=10,
            what="it waits",
        )
        wake(redis)
        waiting.join(3)
        assert ended
        with pytest.raises(RedisConnectionError, match="nothing is waited for"):
            redis.blpop(["nothing"], 4)
        assert redis.ping(), "all else goes on"


def _authority_of(scheme: str, settings: Mapping[str, str]) -> str | None:
    return settings["tls-ca-cert-file"] if scheme == "rediss" else None
