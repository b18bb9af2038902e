"""The certificates of ``etlctl secrets init --tls``, used: a real handshake for each server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest

from etlctl.secrets import tls
from etlctl.secrets.folder import open_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "secrets"
    with open_folder(path, create=True) as opened:
        list(tls.complete(opened))
    return path


def handshake(folder: Path, server: str, host: str, authority: Path) -> None:
    """Raises :class:`ssl.SSLError` if a client that trusts ``authority`` does not trust us."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / f"{server}.crt", folder / f"{server}.key")
    asking = ssl.create_default_context(cafile=str(authority))
    asking.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    left, right = socket.socketpair()
    left.settimeout(10)
    right.settimeout(10)

    def serve() -> None:
        # What the client did not like, the client says.
        with left, contextlib.suppress(OSError):
            serving.wrap_socket(left, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with right:
            asking.wrap_socket(right, server_hostname=host).close()
    finally:
        thread.join()


@pytest.mark.parametrize("server", tls.SERVERS)
@pytest.mark.parametrize("by", ["service", "localhost", "127.0.0.1"])
def test_a_server_is_trusted_under_its_names(folder: Path, server: str, by: str) -> None:
    host = tls.SERVERS[server] if by == "service" else by
    handshake(folder, server, host, folder / "tls_ca.crt")


def test_a_server_is_not_trusted_under_the_name_of_another(folder: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="grafana"):
        handshake(folder, "tls_redis", "grafana", folder / "tls_ca.crt")


def test_another_authority_does_not_vouch(folder: Path, tmp_path: Path) -> None:
    with open_folder(tmp_path / "other", create=True) as other:
        list(tls.complete(other))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, "tls_redis", "redis", tmp_path / "other" / "tls_ca.crt")
