"""The client and the handler over HTTP when things go wrong on the way."""

from __future__ import annotations

import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

import pytest
import trustme

from common.state.verdict import Pause, Retry, Settle
from devtools.servers.waiting import wait_until
from services.loader.influx import InfluxSink
from services.loader.responses import Kind, Outcome
from tests.doubles.influx_engine import ORG, TOKEN, Engine
from tests.doubles.influxdb2 import Fault, InfluxDB2
from tests.doubles.loading import BUCKET, entry, lines, load_settings, payload
from tests.integration.loader.worlds import Loading, Place

BODY = payload(lines(100))


@pytest.fixture
def server() -> Iterator[InfluxDB2]:
    with InfluxDB2(Engine(BUCKET)) as running:
        yield running


@pytest.fixture
def sink(server: InfluxDB2) -> Iterator[InfluxSink]:
    client = client_of(server.url)
    yield client
    client.close()


def client_of(url: str, connections: int = 2, **settings: Any) -> InfluxSink:
    loading = load_settings(url, **settings)
    return InfluxSink(loading.influxdb, connections=connections, wall_clock=time.time)


def html(status: int, **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(response=(status, {"Content-Type": "text/html"} | named, b"<h1>Hello</h1>"))


# -- the client ---------------------------------------------------------------------------------


def test_bytes_are_posted_as_they_are_with_everything_a_write_needs(
    server: InfluxDB2, sink: InfluxSink
) -> None:
    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    (request,) = server.requests
    assert request.body == BODY
    assert request.query == {"org": ORG, "bucket": BUCKET, "precision": "ms"}
    assert request.headers["Authorization"] == f"Token {TOKEN}"
    assert request.headers["Content-Encoding"] == "gzip"
    assert len(server.engine.buckets[BUCKET].points) == 100


def test_connections_are_kept_and_there_are_as_many_as_threads(server: InfluxDB2) -> None:
    client = client_of(server.url, connections=3)
    together = threading.Barrier(3)

    def post() -> None:
        together.wait(10)
        for _ in range(10):
            assert client.write(BUCKET, BODY).kind is Kind.WRITTEN

    threads = [threading.Thread(target=post) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.probe(BUCKET).kind is Kind.WRITTEN
    client.close()
    client.close()
    assert len(server.requests) == 30
    assert 1 <= len({request.connection for request in server.requests}) <= 3


FAULTS: list[tuple[str, Fault, Kind, str]] = [
    ("reset in mid-body", Fault(reset_after_bytes=100), Kind.FAILED, "reset"),
    ("reset before the body", Fault(reset_after_bytes=0), Kind.FAILED, "reset"),
    ("204 lost", Fault(lose_response=True), Kind.FAILED, "reset"),
    (
        "response breaks off",
        Fault(response=(400, {}, b'{"code":'), cut_response=True),
        Kind.FAILED,
        "reset",
    ),
    ("captive portal", html(200), Kind.UNEXPECTED, "unexpected"),
    ("redirect", html(302, Location="/login"), Kind.UNEXPECTED, "unexpected"),
    ("permanent redirect", html(308, Location="/login"), Kind.UNEXPECTED, "unexpected"),
    ("not UTF-8", Fault(response=(502, {}, b"\xff\xfe\x00")), Kind.FAILED, "server_error"),
    ("empty 500", Fault(response=(500, {}, b"")), Kind.FAILED, "server_error"),
    ("HTML 503", html(503), Kind.BUSY, "busy"),
    (
        "message too long for a header",
        Fault(response=(400, {"X-Influxdb-Error": "x" * 70_000}, b"{}")),
        Kind.POINTS,
        "response_too_long",
    ),
    ("no HTTP", Fault(response=(999999, {}, b"")), Kind.FAILED, "reset"),
]


@pytest.mark.parametrize(
    ("fault", "kind", "cause"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_every_fault_on_the_way_is_an_outcome(
    server: InfluxDB2, sink: InfluxSink, fault: Fault, kind: Kind, cause: str
) -> None:
    server.faults.append(fault)
    outcome = sink.write(BUCKET, BODY)
    assert (outcome.kind, outcome.cause) == (kind, cause)
    assert outcome.message
    assert len(server.requests) == 1, "the client retries and follows nothing by itself"
    assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN


def test_a_sink_that_does_not_respond_is_a_time_out(server: InfluxDB2) -> None:
    client = client_of(server.url, timeout_seconds=0.2)
    server.faults.append(Fault(hang=True))
    outcome = client.write(BUCKET, BODY)
    assert (outcome.kind, outcome.cause, outcome.status) == (Kind.FAILED, "timeout", None)
    client.close()


def test_a_sink_that_is_not_there_is_no_connection() -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        client = client_of(f"http://127.0.0.1:{taken.getsockname()[1]}")
        outcome = client.write(BUCKET, BODY)
        assert (outcome.kind, outcome.cause) == (Kind.FAILED, "no_connection")
        assert client.probe(BUCKET).kind is Kind.FAILED
        client.close()


def test_a_connection_that_the_sink_closed_meanwhile_is_not_used(
    server: InfluxDB2, sink: InfluxSink
) -> None:
    server.engine.say = lambda message: message
    for _ in range(5):
        server.faults.append(Fault(response=(204, {"Connection": "close"}, b"")))
        assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
    assert len({request.connection for request in server.requests}) == 5


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (lambda: "7", 7.0, 7.0),
        (lambda: formatdate(time.time() + 3600, usegmt=True), 3590.0, 3610.0),
    ],
    ids=["seconds", "date"],
)
def test_retry_after_comes_over_the_wire_in_both_forms(
    server: InfluxDB2, sink: InfluxSink, value: Callable[[], str], low: float, high: float
) -> None:
    server.faults.append(html(429, Retry_After=value()))
    outcome = sink.write(BUCKET, BODY)
    assert outcome.retry_after_seconds is not None
    assert low <= outcome.retry_after_seconds <= high


def test_an_empty_token_is_not_sent(server: InfluxDB2) -> None:
    client = client_of(server.url, token="")
    assert client.write(BUCKET, BODY).kind is Kind.REFUSED
    assert "Authorization" not in server.requests[0].headers
    client.close()


def test_a_probe_is_understood_of_old_versions_too(server: InfluxDB2, sink: InfluxSink) -> None:
    said = b'{"code":"invalid","message":"writing requires points"}'
    server.engine.write = lambda *_: (400, {}, said)  # type: ignore[method-assign]
    assert sink.probe(BUCKET).kind is Kind.WRITTEN


# -- secrets and quiet --------------------------------------------------------------------------


def test_the_token_is_in_no_log_no_warning_and_no_outcome(
    server: InfluxDB2, caplog: pytest.LogCaptureFixture
) -> None:
    token = "s3cret-t0ken"
    server.engine.token = token
    root_level = logging.getLogger().level
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        client = client_of(server.url, token=token)
        outcomes = [client.write(BUCKET, BODY), client.probe(BUCKET), client.write("no", BODY)]
        for fault in (html(500), html(302, Location="/"), Fault(reset_after_bytes=9)):
            server.faults.append(fault)
            outcomes.append(client.write(BUCKET, BODY))
        client.close()
    assert {outcome.kind for outcome in outcomes} == {
        Kind.WRITTEN, Kind.MISSING, Kind.FAILED, Kind.UNEXPECTED,
    }  # fmt: skip
    assert not any(token in outcome.message for outcome in outcomes)
    assert token not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("urllib3")]
    assert warned == []
    assert logging.getLogger().level == root_level


# -- TLS ----------------------------------------------------------------------------------------


@pytest.fixture
def tls(server: InfluxDB2, tmp_path: Path) -> tuple[str, Path]:
    """The server behind TLS: its URL, and the file of the authority that vouches for it."""
    authority = trustme.CA()
    context = SSLContext(PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.speak_tls(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    return server.url.replace("http:", "https:"), ca_file


def test_an_own_authority_vouches_for_the_sink(tls: tuple[str, Path]) -> None:
    url, ca_file = tls
    client = client_of(url, ca_file=str(ca_file))
    assert client.write(BUCKET, BODY).kind is Kind.WRITTEN
    client.close()


def test_a_certificate_that_nobody_vouches_for_is_a_refusal(tls: tuple[str, Path]) -> None:
    client = client_of(tls[0])
    outcome = client.write(BUCKET, BODY)
    assert (outcome.kind, outcome.cause) == (Kind.REFUSED, "certificate")
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.message
    client.close()


def test_a_sink_that_speaks_no_tls_has_failed(server: InfluxDB2) -> None:
    client = client_of(server.url.replace("http:", "https:"))
    outcome = client.write(BUCKET, BODY)
    assert (outcome.kind, outcome.cause) == (Kind.FAILED, "tls")
    assert outcome.message
    client.close()


# -- the handler over it ------------------------------------------------------------------------


class Wire(Place):
    """The fake, where the contract tests' loading writes."""

    def __init__(self, server: InfluxDB2) -> None:
        self.url = server.url
        self.bucket = BUCKET


@pytest.fixture
def load(server: InfluxDB2) -> Iterator[Callable[..., Loading]]:
    made: list[Loading] = []

    def make(**settings: Any) -> Loading:
        made.append(Loading(Wire(server), **settings))
        return made[-1]

    yield make
    for loading in made:
        loading.handler.close()


Load = Callable[..., Loading]


def test_a_204_lost_on_the_way_back_is_written_again_and_counted_once(
    server: InfluxDB2, load: Load
) -> None:
    loading = load()
    server.faults.append(Fault(lose_response=True))
    one = entry("1", lines(100))
    (verdict,) = loading.handle(one)
    assert isinstance(verdict, Retry)
    assert len(server.engine.buckets[BUCKET].points) == 100, "it was written"
    assert loading.handle(one) == [Settle(loaded=100)]
    assert len(server.engine.buckets[BUCKET].points) == 100


def test_a_connection_reset_in_mid_body_writes_nothing_and_is_tried_again(
    server: InfluxDB2, load: Load
) -> None:
    loading = load()
    server.faults.append(Fault(reset_after_bytes=50))
    one = entry("1", lines(100))
    assert isinstance(loading.handle(one)[0], Retry)
    assert server.engine.buckets[BUCKET].points == {}
    assert loading.handle(one) == [Settle(loaded=100)]


def test_a_sink_that_goes_away_in_a_search_settles_nothing_and_comes_back(
    server: InfluxDB2, load: Load
) -> None:
    loading = load(circuit_failures=50)
    server.engine.say = lambda _: "points of bad taste"
    text = lines(256)
    text[77] = b"junk"
    one = entry("1", text)
    verdicts = []
    for _ in range(30):
        # Every fourth post ends badly, each time in another way.
        for number, fault in enumerate(
            (Fault(lose_response=True), Fault(reset_after_bytes=10), html(500), html(502))
        ):
            server.faults.extend([Fault(response=None)] * (2 + number % 2))
            server.faults.append(fault)
        (verdict,) = loading.handle(one)
        server.faults.clear()
        verdicts.append(verdict)
        if isinstance(verdict, Settle):
            break
    assert len(verdicts) > 2
    assert all(isinstance(verdict, Retry) for verdict in verdicts[:-1])
    settled = verdicts[-1]
    assert isinstance(settled, Settle)
    assert (settled.loaded, [one.payload for one in settled.dead]) == (255, [b"junk\n"])
    assert len(server.engine.buckets[BUCKET].points) == 255


def test_a_response_too_long_to_read_is_searched_by_halves(server: InfluxDB2, load: Load) -> None:
    def too_long_a_message(body: bytes) -> Fault | None:
        if body.count(b"junk") < 3:
            return None
        return Fault(response=(400, {"X-Influxdb-Error": "x" * 70_000}, b"{}"))

    server.fault_for = too_long_a_message
    text = lines(128)
    for place in range(20, 30):
        text[place] = b"junk %d" % place
    (verdict,) = load().handle(entry("1", text))
    assert isinstance(verdict, Settle)
    assert (verdict.loaded, sum(one.samples for one in verdict.dead)) == (118, 10)


def test_a_slow_sink_is_waited_for(server: InfluxDB2, load: Load) -> None:
    loading = load()
    server.faults.append(Fault(hang=True))
    verdicts: list[Any] = []
    thread = threading.Thread(target=lambda: verdicts.extend(loading.handle(entry("1", lines(5)))))
    thread.start()
    wait_until(lambda: server.requests, deadline_seconds=10, what="the post to arrive")
    assert verdicts == []
    server.release()
    thread.join(10)
    assert isinstance(verdicts[0], Retry)


def test_a_captive_portal_settles_nothing(server: InfluxDB2, load: Load) -> None:
    server.faults.append(html(200))
    (verdict,) = load().handle(entry("1", lines(5)))
    assert isinstance(verdict, Pause)
    assert "status 200" in verdict.reason
    assert "<h1>Hello</h1>" in verdict.reason


def test_outcomes_without_a_status_say_why(sink: InfluxSink) -> None:
    assert sink.write(BUCKET, BODY) == Outcome(Kind.WRITTEN, "No Content", "written", 204)
