"""HTTP of the simulator: who may do what, and that bad requests do no harm."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from prometheus_client import CollectorRegistry, Counter

from common.runtime.basic_auth import BasicAuth
from common.runtime.http_server import MAX_BODY_BYTES, HttpServer, tls_context
from services.simulator.pages import Pages
from services.simulator.process import InForce
from services.simulator.scenario_request import ScenarioRequest
from tests.support.captured_log import CapturedLog

AUTH = ("prometheus", "open sesame")
BAD_AUTHS = [None, ("prometheus", "wrong"), ("wrong", "open sesame"), ("", "")]


@dataclass
class Behind:
    """What the pages are made of here."""

    unhealthy: str | None = None
    in_force: InForce = field(default_factory=lambda: InForce("normal", 0.0, None, None))
    asked: list[ScenarioRequest] = field(default_factory=list)
    log: CapturedLog = field(default_factory=CapturedLog)

    def pages(self) -> Pages:
        registry = CollectorRegistry()
        counter = Counter("asked", "Times refreshed", registry=registry)

        def switch(request: ScenarioRequest) -> InForce:
            self.asked.append(request)
            return InForce(request.scenario, 0.0, None, None)

        return Pages(
            registry,
            counter.inc,
            lambda: self.unhealthy,
            lambda: self.in_force,
            switch,
            self.log,
        )


Make = Callable[..., HttpServer]


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def make(behind: Behind) -> Iterator[Make]:
    made: list[HttpServer] = []

    def serve(tls: ssl.SSLContext | None = None) -> HttpServer:
        server = HttpServer(
            "127.0.0.1",
            0,
            behind.pages().routes(BasicAuth(*AUTH)),
            tls=tls,
            on_refused=lambda client: behind.log.emit("request_refused", client=client),
        )
        made.append(server)
        return server

    yield serve
    for server in made:
        server.close()


@pytest.fixture
def url(make: Make) -> str:
    return f"http://127.0.0.1:{make().port}"


def ask(method: str, url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=10, **options)


@pytest.mark.parametrize("auth", BAD_AUTHS)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/metrics"), ("GET", "/scenario"), ("POST", "/scenario")]
)
def test_nothing_without_the_right_password(
    url: str, behind: Behind, method: str, path: str, auth: tuple[str, str] | None
) -> None:
    body = {"data": {"scenario": "outage"}} if method == "POST" else {}
    answer = ask(method, url + path, auth=auth, **body)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert answer.json() == {"error": "user name and password required"}
    assert behind.asked == []
    assert "request_refused" in behind.log.events


def test_health_is_open_and_can_fail(url: str, behind: Behind) -> None:
    well = ask("GET", f"{url}/health")
    assert (well.status_code, well.json()) == (200, {"status": "ok"})
    behind.unhealthy = "the simulated outage is on"
    sick = ask("GET", f"{url}/health")
    assert sick.status_code == 503
    assert sick.json() == {"status": "unhealthy", "reason": "the simulated outage is on"}
    head = ask("HEAD", f"{url}/health")
    assert (head.status_code, head.content) == (503, b"")


def test_metrics_are_refreshed_before_they_are_shown(url: str) -> None:
    for times in (1, 2):
        answer = ask("GET", f"{url}/metrics", auth=AUTH)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert f"asked_total {times}.0" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"scenario": "slow", "for": "10m"}},
        {"data": {"scenario": "slow", "for": "10m"}},
    ],
    ids=["json", "form"],
)
def test_a_scenario_is_switched(url: str, behind: Behind, body: dict[str, dict[str, str]]) -> None:
    answer = ask("POST", f"{url}/scenario", auth=AUTH, **body)
    assert answer.status_code == 200
    assert answer.json()["scenario"] == "slow"
    assert behind.asked == [ScenarioRequest("slow", 600)]
    assert "scenario_requested" in behind.log.events


def test_the_scenario_in_force_is_told(url: str, behind: Behind) -> None:
    behind.in_force = InForce("stall", 0.0, 60.0, 30.0)
    assert ask("GET", f"{url}/scenario", auth=AUTH).json() == {
        "scenario": "stall",
        "since": "1970-01-01T00:00:00.000Z",
        "until": "1970-01-01T00:01:00.000Z",
        "remaining_seconds": 30.0,
    }
    assert ask("HEAD", f"{url}/scenario", auth=AUTH).content == b""


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"data": "scenario=flood", "type": "application/x-www-form-urlencoded"}, 400, "none of"),
        ({"data": "{", "type": "application/json"}, 400, "not JSON"),
        ({"data": "slow", "type": "text/plain"}, 415, "not 'text/plain'"),
        ({"data": "slow"}, 415, "not 'nothing'"),
        ({"data": b"x" * (MAX_BODY_BYTES + 1), "type": "application/json"}, 413, "above 4096"),
        ({"data": b"x" * 3_000_000, "type": "application/json"}, 413, "above 4096"),
        ({"data": iter([b"x" * 3000, b"x" * 3000]), "type": "application/json"}, 413, "above 4096"),
    ],
    ids=["scenario", "json", "type", "no-type", "large", "huge", "chunked"],
)
def test_a_bad_request_is_told_in_a_sentence(
    url: str, behind: Behind, body: dict[str, Any], status: int, why: str
) -> None:
    headers = {"Content-Type": body["type"]} if "type" in body else {}
    answer = ask("POST", f"{url}/scenario", auth=AUTH, data=body["data"], headers=headers)
    assert answer.status_code == status
    assert why in answer.json()["error"]
    assert behind.asked == []


def test_the_connection_is_closed_after_each_response(make: Make) -> None:
    with socket.create_connection(("127.0.0.1", make().port), timeout=10) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"Connection: close" in answer
    assert answer.endswith(b'{"status": "ok"}\n')


@pytest.mark.parametrize("length", ["", "-1", "1e3", "٣", "9" * 5000, "1_0"])
def test_a_length_that_is_none_is_refused(make: Make, behind: Behind, length: str) -> None:
    with socket.create_connection(("127.0.0.1", make().port), timeout=10) as client:
        client.sendall(
            b"POST /scenario HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Basic cHJvbWV0aGV1czpvcGVuIHNlc2FtZQ==\r\n"
            + f"Content-Length: {length}\r\n\r\nscenario=slow".encode()
        )
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.split(b" ")[1] == (b"411" if len(length) < 10 else b"413")
    assert b"Connection: close" in answer
    assert behind.asked == []


def test_a_body_that_was_cut_is_refused(make: Make, behind: Behind) -> None:
    with socket.create_connection(("127.0.0.1", make().port), timeout=10) as client:
        client.sendall(
            b"POST /scenario HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Basic cHJvbWV0aGV1czpvcGVuIHNlc2FtZQ==\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 20\r\n\r\nscenario=slow"
        )
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b"cut off" in answer
    assert behind.asked == []


def test_there_is_nothing_else(url: str) -> None:
    for path in ("/", "/metrics/", "/metricsx", "/health/x", "/scenario/", "/../etc/passwd"):
        assert ask("GET", url + path, auth=AUTH).status_code == 404
        assert ask("POST", url + path, auth=AUTH).status_code == 404
    for path in ("/metrics", "/health"):
        answer = ask("POST", url + path, auth=AUTH, data="x")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    for method in ("PUT", "DELETE"):
        answer = ask(method, f"{url}/scenario", auth=AUTH)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, POST")


def test_a_client_that_hangs_up_or_talks_rubbish_does_no_harm(make: Make) -> None:
    server = make()
    post = b"POST /scenario HTTP/1.1\r\nContent-Length: 100\r\n\r\nscen"
    for sent in (b"", b"GET /met", b"\x00\xff\r\n\r\n", b"GET /metrics HTTP/1.1\r\n", post):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(sent)
    assert ask("GET", f"http://127.0.0.1:{server.port}/metrics", auth=AUTH).ok


class TestTls:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def files(self, authority: trustme.CA, tmp_path: Path) -> tuple[Path, Path]:
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        key.touch(mode=0o600)
        certificate.private_key_pem.write_to_path(str(key))
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(cert), append=True)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        return cert, key

    def test_serves_who_trusts_it(
        self, make: Make, files: tuple[Path, Path], tmp_path: Path, behind: Behind
    ) -> None:
        server = make(tls_context(*files))
        url = f"https://127.0.0.1:{server.port}"
        ca = str(tmp_path / "ca.pem")
        assert ask("GET", f"{url}/metrics", auth=AUTH, verify=ca).status_code == 200
        form = {"scenario": "slow"}
        assert ask("POST", f"{url}/scenario", auth=AUTH, data=form, verify=ca).ok
        assert behind.asked == [ScenarioRequest("slow")]
        with pytest.raises(requests.exceptions.SSLError):
            ask("GET", f"{url}/health")

    def test_a_client_that_never_shakes_hands_keeps_nobody_out(
        self, make: Make, files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        server = make(tls_context(*files))
        address = ("127.0.0.1", server.port)
        with (
            socket.create_connection(address, timeout=10),
            socket.create_connection(address, timeout=10) as plain,
        ):
            plain.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            url = f"https://127.0.0.1:{server.port}/health"
            assert ask("GET", url, verify=str(tmp_path / "ca.pem")).ok

    def test_unusable_files_are_named(self, files: tuple[Path, Path], tmp_path: Path) -> None:
        cert, key = files
        none = tmp_path / "none"
        with pytest.raises(ValueError, match=r"names .*none, which cannot be read"):
            tls_context(cert, none)
        with pytest.raises(ValueError, match="No such file") as caught:
            tls_context(none, key)
        assert str(none) in str(caught.value)
        with pytest.raises(ValueError, match="TLS with"):
            tls_context(key, key)
        key.chmod(0o644)
        with pytest.raises(ValueError, match=r"every user can read \(mode 0644\)"):
            tls_context(cert, key)
