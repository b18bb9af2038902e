"""A container's health check says what the service's /health says, and nothing better."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from prometheus_client import CollectorRegistry

from common.runtime.http_server import HttpServer, service_routes
from common.runtime.readiness.health import Health
from deploy.image.healthcheck import check, main
from devtools import PROJECT_ROOT


@contextmanager
def responding(response: bytes) -> Iterator[int]:
    """A server that sends one connection this response, whatever the request; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(response)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(10)


@pytest.fixture
def served() -> Iterator[tuple[Health, int]]:
    """A service's own pages on a free port."""
    health = Health(live_seconds=60.0)
    server = HttpServer("127.0.0.1", 0, service_routes(CollectorRegistry(), health, dict))
    yield health, server.port
    server.close()


def test_healthy_is_zero_and_not_ready_is_one(
    served: tuple[Health, int], capsys: pytest.CaptureFixture[str]
) -> None:
    health, port = served
    assert main([str(port)]) == 1
    assert "503" in capsys.readouterr().err
    health.set_ready("redis", True)
    assert main([str(port)]) == 0
    assert main([str(port), "/livez"]) == 0
    health.set_ready("redis", False, "connection refused")
    assert main([str(port)]) == 1


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, str]:
    """An authority, and the file with its certificate."""
    authority, file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return authority, str(file)


@contextmanager
def responding_tls(authority: trustme.CA, name: str, response: bytes) -> Iterator[int]:
    """As :func:`responding`, over TLS with a certificate for ``name``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with suppress(OSError), connection, context.wrap_socket(connection, True) as tls:
                tls.recv(1024)
                tls.sendall(response)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(10)


OK = b"HTTP/1.1 200 OK\r\n\r\n"


def test_over_tls_the_authority_vouches_for_localhost(authority: tuple[trustme.CA, str]) -> None:
    ours, ca_file = authority
    with responding_tls(ours, "localhost", OK) as port:
        assert main([str(port), "--ca-file", ca_file]) == 0
    with responding_tls(ours, "localhost", b"HTTP/1.1 503 \r\n\r\n") as port:
        assert main([str(port), "/livez", "--ca-file", ca_file]) == 1
    for server, name in ((ours, "other"), (trustme.CA(), "localhost")):
        with responding_tls(server, name, OK) as port:
            problem = check(port, timeout_seconds=2.0, ca_file=ca_file)
            assert problem is not None
            assert "certificate verify failed" in problem


def test_plain_and_tls_do_not_understand_each_other(authority: tuple[trustme.CA, str]) -> None:
    ours, ca_file = authority
    with responding(OK) as port:
        assert check(port, timeout_seconds=2.0, ca_file=ca_file) is not None
    with responding_tls(ours, "localhost", OK) as port:
        assert check(port, timeout_seconds=2.0) is not None


def test_a_ca_file_that_is_not_there_is_unhealthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with responding(b"") as port:
        assert main([str(port), "--ca-file", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_check_loads_nothing_but_the_interpreter(served: tuple[Health, int]) -> None:
    health, port = served
    health.set_ready("redis", True)
    program = f"""
import sys
from deploy.image.healthcheck import main
print(main(["{port}"]), *(sys.modules.keys() & {{"socket", "re", "collections", "encodings.idna"}}))
"""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.split() == ["0"], ran.stderr


def test_nobody_listens(free: Callable[[], int]) -> None:
    problem = check(free(), timeout_seconds=2.0)
    assert problem is not None
    assert "refused" in problem


@pytest.fixture
def free() -> Callable[[], int]:
    """A port that was free a moment ago."""

    def port() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return int(listener.getsockname()[1])

    return port


@pytest.mark.parametrize(
    "response", [b"", b"HTTP/1.1", b"HTTP/1.1 2000 OK\r\n", b"200 OK\r\n", b"\xff" * 200]
)
def test_what_is_no_response_of_200_is_unhealthy(response: bytes) -> None:
    with responding(response) as port:
        assert check(port, timeout_seconds=2.0) is not None


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["x"], ["80", "/a", "/b"], ["-1"], ["80", "--ca-file"]),
        *(["--ca-file", "f"], ["--ca-file", "f", "80"], ["80", "--ca-file", "f", "/a"]),
    ],
)
def test_called_wrongly_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")
