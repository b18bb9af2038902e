"""The client on a real Redis that speaks TLS: who it trusts, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from redis.exceptions import ConnectionError as RedisConnectionError

from common.config import Settings
from common.state.redis_client import connect, connect_as_set
from devtools.servers.ports import free_port
from devtools.servers.redis_server import RedisServer

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
    authority, port = trustme.CA(), free_port()
    issued = authority.issue_cert("localhost")
    ca_file, cert_file, key_file = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    key_file.touch(0o600)
    authority.cert_pem.write_to_path(str(ca_file))
    issued.cert_chain_pems[0].write_to_path(str(cert_file))
    issued.private_key_pem.write_to_path(str(key_file))
    make_redis(
        password=PASSWORD,
        settings={
            "tls-port": str(port),
            "tls-cert-file": str(cert_file),
            "tls-key-file": str(key_file),
            "tls-ca-cert-file": str(ca_file),
            "tls-auth-clients": "no",
        },
    )
    return Secured(port, str(ca_file))


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
