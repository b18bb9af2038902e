"""Liveness and readiness with a clock of the test's own, and what HTTP says of them."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from common.errors import ConfigError
from common.runtime.http_server import MAX_CONNECTIONS, HttpServer, service_routes
from common.runtime.readiness.health import Health
from common.runtime.telemetry import Telemetry


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(60, clock)


@pytest.fixture
def telemetry(health: Health) -> Telemetry:
    telemetry = Telemetry("loader", CollectorRegistry())
    telemetry.watch_health(health.healthy)
    return telemetry


@pytest.fixture
def server(telemetry: Telemetry, health: Health) -> Iterator[HttpServer]:
    pages = service_routes(telemetry.registry, health, lambda: {"service": "loader"})
    server = HttpServer("127.0.0.1", 0, pages)
    yield server
    server.close()


def test_what_was_said_too_long_ago_does_not_count(health: Health, clock: Clock) -> None:
    """Who makes a check may have died, or hang where no time-out reaches."""
    health.set_ready("redis", True, valid_seconds=10)
    health.set_ready("identity", True)
    clock.now += 10
    assert health.ready()

    clock.now += 5

    assert not health.ready()
    report = health.ready_report()["checks"]
    assert report["redis"] == {"ok": False, "detail": "not checked for 5 s longer than usual"}
    assert report["identity"]["ok"]
    health.set_ready("redis", True, valid_seconds=10)
    assert health.ready()


def ask(
    server: HttpServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers.get("Content-Type", ""), response.read()
    finally:
        connection.close()


def report(server: HttpServer, path: str) -> tuple[int, dict[str, Any]]:
    status, content_type, body = ask(server, path)
    assert content_type == "application/json"
    return status, json.loads(body)


def test_livez_fails_when_the_loop_has_not_ticked(
    server: HttpServer, health: Health, clock: Clock
) -> None:
    assert report(server, "/livez")[0] == 200
    clock.now += 60
    assert report(server, "/livez")[0] == 200
    clock.now += 1
    assert report(server, "/livez") == (
        503,
        {"live": False, "tick_age_seconds": 61.0, "live_seconds": 60},
    )
    health.tick()
    assert report(server, "/livez")[0] == 200


def test_readyz_fails_with_the_reason_until_every_dependency_serves(
    server: HttpServer, health: Health
) -> None:
    nothing_said = {"ready": False, "stopping": False, "checks": {}}
    assert report(server, "/readyz") == (503, nothing_said)
    health.set_ready("redis", True)
    health.set_ready("sink", False, "401 unauthorized")
    status, body = report(server, "/readyz")
    assert status == 503
    assert body["checks"] == {
        "redis": {"ok": True, "detail": ""},
        "sink": {"ok": False, "detail": "401 unauthorized"},
    }
    health.set_ready("sink", True, "paused")
    status, body = report(server, "/readyz")
    assert status == 200
    assert body["checks"]["sink"] == {"ok": True, "detail": "paused"}
    health.stopping()
    assert report(server, "/readyz")[0] == 503
    assert report(server, "/livez")[0] == 200


def test_set_ready_tells_what_changed(health: Health) -> None:
    assert health.set_ready("redis", False, "refused")
    assert not health.set_ready("redis", False, "still refused")
    assert health.set_ready("redis", True)
    assert not health.set_ready("redis", True)


def test_health_is_both_and_so_is_the_metric(
    server: HttpServer, health: Health, clock: Clock, telemetry: Telemetry
) -> None:
    def metric() -> float | None:
        return telemetry.registry.get_sample_value("etl_health_status")

    assert (report(server, "/health")[0], metric()) == (503, 0)
    health.set_ready("redis", True)
    status, body = report(server, "/health")
    assert (status, metric()) == (200, 1)
    assert body["service"] == "loader"
    assert body["live"]
    assert body["ready"]
    clock.now += 61
    assert (report(server, "/health")[0], metric()) == (503, 0)


def test_metrics_are_served_as_asked_for(server: HttpServer, telemetry: Telemetry) -> None:
    telemetry.batch_succeeded(3, 0.1)
    status, content_type, body = ask(server, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=0.0.4")
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    assert "etl_records" in families
    status, content_type, body = ask(
        server, "/metrics", Accept="application/openmetrics-text; version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    _, _, body = ask(server, "/metrics?name[]=etl_uptime_seconds")
    names = [line.split()[0] for line in body.decode().splitlines() if not line.startswith("#")]
    assert names == ["etl_uptime_seconds"]


def test_head_has_the_headers_and_no_body(server: HttpServer) -> None:
    status, content_type, body = ask(server, "/livez", "HEAD")
    assert (status, content_type, body) == (200, "application/json", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(server: HttpServer, method: str) -> None:
    assert ask(server, "/livez", method)[0] == 405


@pytest.mark.parametrize("path", ["/", "/metrics/", "/nope", "/%00", "*"])
def test_unknown_paths(server: HttpServer, path: str) -> None:
    assert ask(server, path)[0] == 404


def raw(server: HttpServer, request: bytes) -> bytes:
    """The response; a server that does not read all of a request may reset the connection."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(request)
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # of those, no ConnectionError is made
                raise
        while part := connection.recv(65_536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\x00\xff\xfe\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics?name[]=%ff&%zz HTTP/1.1\r\n\r\n",
    ],
)
def test_garbage_does_not_hurt(server: HttpServer, request_: bytes) -> None:
    answer = raw(server, request_)
    assert b"Traceback" not in answer
    assert ask(server, "/livez")[0] == 200


def test_a_client_that_goes_away_is_nobodys_error(
    server: HttpServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(5):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        # An abortive close: what the server writes then fails.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.close()
    assert ask(server, "/livez")[0] == 200
    assert capfd.readouterr().err == ""


def connect(server: HttpServer, client: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 20, source_address=(client, 0))


@pytest.fixture
def server_with_neighbours(telemetry: Telemetry, health: Health) -> Iterator[HttpServer]:
    """To whom 127.0.0.1 is another machine, and 127.0.0.9 its own."""
    pages = service_routes(telemetry.registry, health, dict)
    server = HttpServer("127.0.0.1", 0, pages, is_reserved_for=lambda host: host == "127.0.0.9")
    yield server
    server.close()


def test_the_health_check_passes_while_others_take_every_place(
    server_with_neighbours: HttpServer,
) -> None:
    server = server_with_neighbours
    with contextlib.ExitStack() as silent:
        for _ in range(MAX_CONNECTIONS):
            silent.enter_context(connect(server))
        with connect(server) as extra:
            assert extra.recv(1) == b""  # turned away at once
        for _ in range(100):
            with connect(server, "127.0.0.9") as own:
                own.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
                assert own.makefile("rb").read().startswith(b"HTTP/1.0 200")


def test_by_default_places_are_reserved_for_this_machine(server: HttpServer) -> None:
    with contextlib.ExitStack() as silent:
        for _ in range(MAX_CONNECTIONS):
            silent.enter_context(connect(server))
        assert ask(server, "/livez")[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /livez HTTP/1.0\r\n" + b"X: " + b"y" * 16_000 + b"\r\n\r\n", b"200"),
        (b"GET /livez HTTP/1.0\r\n" + b"X: " + b"y" * 17_000, b"431"),
        (b"GET /livez HTTP/1.0\r\n" + b"X: yyyy\r\n" * 90 + b"X: " + b"y" * 16_000, b"431"),
        (b"GET /" + b"a" * 16_384, b"414"),
    ],
)
def test_a_head_may_have_so_many_bytes(server: HttpServer, request_: bytes, status: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").readline().split()[1] == status


def test_a_large_head_costs_no_memory(server: HttpServer) -> None:
    """95 headers of 65 KB each: 45 MiB where all of them are kept."""
    head = b"GET /livez HTTP/1.0\r\n" + (b"X: " + b"y" * 65_000 + b"\r\n") * 95 + b"\r\n"
    tracemalloc.start()  # what is sent is there already
    try:
        raw(server, head)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 20
    assert ask(server, "/livez")[0] == 200


def test_silent_clients_take_only_so_many_places(server_with_neighbours: HttpServer) -> None:
    server = server_with_neighbours
    silent = [connect(server) for _ in range(MAX_CONNECTIONS)]
    with connect(server) as extra:
        assert extra.recv(1) == b""  # turned away at once
    for connection in silent:
        connection.close()
    free = threading.Event()
    for _ in range(200):
        try:
            assert ask(server, "/livez")[0] == 200
            break
        except (ConnectionError, http.client.HTTPException):
            free.wait(0.05)
    else:
        pytest.fail("the places were never released")


def test_a_client_that_dawdles_is_cut_off(telemetry: Telemetry, health: Health) -> None:
    """Its every byte comes in time, but its request never ends."""
    pages = service_routes(telemetry.registry, health, dict)
    server = HttpServer("127.0.0.1", 0, pages, connection_seconds=0.3)
    pause = threading.Event()

    def dawdle(connection: socket.socket) -> None:
        connection.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        while not pause.wait(0.02):
            connection.sendall(b"y")

    try:
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection,
            pytest.raises(OSError, match=r"(?i)broken pipe|reset"),
        ):
            dawdle(connection)
    finally:
        server.close()


def test_a_port_in_use_is_one_clear_error(server: HttpServer, telemetry: Telemetry) -> None:
    pages = service_routes(telemetry.registry, Health(1), dict)
    with pytest.raises(ConfigError) as caught:
        HttpServer("127.0.0.1", server.port, pages)
    assert str(caught.value) == (
        "pipeline.http_host and http_port: cannot listen on 127.0.0.1 port "
        f"{server.port}: Address already in use"
    )
    with pytest.raises(ConfigError, match=r"cannot listen on no\.such\.host\.invalid port 0"):
        HttpServer("no.such.host.invalid", 0, pages)


def test_it_listens_on_ipv6_too(telemetry: Telemetry) -> None:
    server = HttpServer("::1", 0, service_routes(telemetry.registry, Health(1), dict))
    try:
        with socket.create_connection(("::1", server.port), timeout=5) as connection:
            connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.0 200")
    finally:
        server.close()
