"""A container's health check.

``python -S -m deploy.image.healthcheck PORT [PATH] [--ca-file FILE]``

Requests ``/health`` of the service in the same container and ends with 0 only on status 200; with
a CA file over TLS, and only if that authority vouches for the service as ``localhost``.

This runs every few seconds, in each container, and what it imports is nearly all that it costs: so
nothing but what is part of the interpreter itself, for even ``socket`` alone takes twice as long as
all the rest.
"""

import _socket
import sys

HOST = "localhost"
_ADDRESS = "127.0.0.1"
TIMEOUT_SECONDS = 4.0
_CA_FILE = "--ca-file"
_STATUS_LINE_BYTES = 64


def check(
    port: int,
    path: str = "/health",
    timeout_seconds: float = TIMEOUT_SECONDS,
    ca_file: str | None = None,
) -> str | None:
    """What is wrong with the service on this machine's ``port``; None if the status is 200."""
    request = f"GET {path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode("ascii")
    try:
        response = _response(request, port, timeout_seconds, ca_file)
    except OSError as error:  # also what TLS says
        return f"port {port}: {error}"
    status = response.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(status) > 1 and status[0].startswith(b"HTTP/") and status[1] == b"200":
        return None
    return (
        f"port {port}{path}: {response[:_STATUS_LINE_BYTES].decode('ascii', 'replace').strip()!r}"
    )


def _response(request: bytes, port: int, timeout_seconds: float, ca_file: str | None) -> bytes:
    """The status line, and what came along with it."""
    connection = _connected(port, timeout_seconds, ca_file)
    try:
        connection.sendall(request)
        response = b""
        while b"\r\n" not in response and len(response) < _STATUS_LINE_BYTES:
            received = connection.recv(_STATUS_LINE_BYTES)
            if not received:
                break
            response += received
        return response
    finally:
        connection.close()


def _connected(port: int, timeout_seconds: float, ca_file: str | None) -> _socket.socket:
    if ca_file is not None:
        return _connected_by_tls(port, timeout_seconds, ca_file)
    connection = _socket.socket()
    try:
        connection.settimeout(timeout_seconds)
        connection.connect((_ADDRESS, port))
    except OSError:
        connection.close()
        raise
    return connection


def _connected_by_tls(port: int, timeout_seconds: float, ca_file: str) -> _socket.socket:
    import socket
    import ssl

    connection = socket.create_connection((_ADDRESS, port), timeout_seconds)
    try:
        context = ssl.create_default_context(cafile=ca_file)
        return context.wrap_socket(connection, server_hostname=HOST)
    except OSError:
        connection.close()
        raise


def main(arguments: list[str]) -> int:
    """0 = healthy, 1 = not, 2 = called wrongly."""
    given, ca_file = list(arguments), None
    if given[-2:-1] == [_CA_FILE]:
        ca_file = given.pop()
        given.pop()
    if not 1 <= len(given) <= 2 or not given[0].isdigit() or _CA_FILE in given:
        sys.stderr.write(
            f"usage: python -m deploy.image.healthcheck PORT [PATH] [{_CA_FILE} FILE]\n"
        )
        return 2
    path = given[1] if len(given) > 1 else "/health"
    problem = check(int(given[0]), path, ca_file=ca_file)
    if problem is not None:
        sys.stderr.write(f"unhealthy: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
