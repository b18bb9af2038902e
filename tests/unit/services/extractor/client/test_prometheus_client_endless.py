"""A good response, valid as far as it goes, that never ends: it is cut, and costs little memory."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from common.errors import QueryTooLarge, SourceUnavailable
from common.source import query_api
from common.source.transport import BodyTooLong
from services.extractor import prometheus
from services.extractor.prometheus import PrometheusClient
from services.extractor.source import body_text
from tests.support.answering_server import AnsweringServer, Handler, reply
from tests.unit.services.extractor.client.client_world import (
    EXPR,
    NOW,
    client_of,
    client_settings,
    failure,
)

MIB = 1 << 20
BEGUN = b'{"status":"success","data":{"resultType":"matrix","result":['
LABELS = b'{"metric":{"i":"%d"},'


def series(samples: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        yield BEGUN + b'{"metric":{},"values":[[0,"1"]]}'
        for i in itertools.count():
            yield b"," + LABELS % i + samples + b"}"

    return pieces


def repeated(begun: bytes, piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain([begun], itertools.repeat(piece))


def _members() -> Iterator[bytes]:
    yield b'{"status":"success"'
    for i in itertools.count():
        yield b',"%d":{}' % i


ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "series": series(b'"values":[' + b",".join([b'[1700000000.5,"1.25"]'] * 20) + b"]"),
    "one series": repeated(
        BEGUN + LABELS % 1 + b'"values":[[0,"1"]', b',[1700000000.5,"1.25"]' * 10
    ),
    "series in another layout": series(b' "values": [[1700000000.5, "1.25"]]'),
    "series without samples": series(b'"values":[]'),
    "one series in another layout": repeated(
        BEGUN + b'{"metric": {}, "values": [[0,"1"]', b', [1700000000.5, "1.25"]' * 10
    ),
    "a label": repeated(BEGUN + b'{"metric":{"a":"', b"x" * 1000),
    "histograms": series(b'"histograms":[[1,{"count":"1"}],[2,{"count":"1"}]]'),
    "one series of histograms": repeated(
        BEGUN + LABELS % 1 + b'"histograms":[[0,{"count":"1"}]', b',[1,{"count":"1","sum":"1"}]'
    ),
    "a number": repeated(BEGUN + LABELS % 1 + b'"values":[[1', b"0" * 1000),
    "white space": repeated(BEGUN, b" \n" * 500),
    "white space at its end": repeated(BEGUN + b']},"status":"success"}', b" \n" * 500),
    "members": _members,
    "warnings": repeated(b'{"status":"success","warnings":["a"', b',"more"'),
}


def streaming(pieces: Callable[[], Iterator[bytes]]) -> Callable[[Handler], None]:
    """Answers ``time()`` well, and every other query by what never ends, as fast as it is taken."""

    def answer(handler: Handler) -> None:
        if handler.request_seen.params.get("query") == "time()":
            reply(NOW)(handler)
            return
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        written = pieces()
        while not handler.server.closing.is_set():
            chunk = b"".join(itertools.islice(written, 200))
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    return answer


@pytest.fixture(autouse=True)
def patient_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers `time()`, however busy this machine is."""
    monkeypatch.setattr(query_api, "PROBE_SECONDS", 30.0)


def cut(client: PrometheusClient) -> QueryTooLarge:
    found = failure(client)
    assert type(found) is QueryTooLarge, found
    assert "window (0, 15000] ms" in str(found)
    assert "/api/v1/query_range " in str(found)
    return found


@pytest.mark.parametrize("what", ENDLESS)
def test_it_ends_within_bounds_whatever_does_not_end(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(prometheus, "WINDOW_BYTES", (4 if "one series" in what else 1) * MIB)
    monkeypatch.setattr(body_text, "MAX_VALUE_BYTES", MIB // 2)
    monkeypatch.setattr(body_text, "MAX_REST_BYTES", MIB // 8)
    server.answer = streaming(ENDLESS[what])
    client = client_of(server.url)
    tracemalloc.start()
    try:
        cut(client)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 40 * MIB
    # The connection is not taken up again in the middle of that.
    assert client.now_ms() == 1_700_000_000_123


@pytest.mark.parametrize("what", ["series", "one series", "histograms"])
def test_it_ends_at_the_samples_that_a_window_may_have(server: AnsweringServer, what: str) -> None:
    server.answer = streaming(ENDLESS[what])
    client = client_of(server.url, max_window_samples=50_000)
    message = str(cut(client))
    assert "with more than 50000 samples (extract.max_window_samples)" in message
    sent_bytes = int(message.partition(" sent ")[2].split()[0])
    assert 50_000 <= sent_bytes < 32 * MIB


def test_samples_of_which_a_window_may_have_as_many_are_taken(server: AnsweringServer) -> None:
    one = b'{"metric":{},"values":[[1,"1"],[2,"2"]]}'
    server.answer = reply(BEGUN + one + b"]}}")
    assert sum(map(len, client_of(server.url, max_window_samples=2).read(EXPR, 0, 15_000))) == 2
    with pytest.raises(QueryTooLarge, match="more than 1 samples"):
        list(client_of(server.url, max_window_samples=1).read(EXPR, 0, 15_000))


def _dripping(handler: Handler, piece: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    written = ENDLESS["series"]()
    while not handler.server.closing.wait(0.01):
        chunk = next(written) + piece
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.flush()


@pytest.mark.parametrize("pace_bytes", [0, 100_000])
def test_it_is_waited_for_no_longer_than_the_time_out(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch, pace_bytes: int
) -> None:
    """However steadily it comes. Whether its server answers anything else is the difference."""
    all_drip = False

    def answer(handler: Handler) -> None:
        if handler.request_seen.params["query"] == "time()" and not all_drip:
            reply(NOW)(handler)
        else:
            _dripping(handler, b" " * pace_bytes)

    server.answer = answer
    client = client_of(server.url, timeout=0.5)
    assert "within 0.5 s of waiting" in str(cut(client))
    all_drip = True
    monkeypatch.setattr(query_api, "PROBE_SECONDS", 0.3)
    found = failure(client)
    assert type(found) is BodyTooLong
    assert isinstance(found, SourceUnavailable)


def test_what_is_done_with_it_is_not_waited_for(server: AnsweringServer) -> None:
    body = BEGUN + b",".join([LABELS % i + b'"values":[[1,"1"]]}' for i in range(50_000)]) + b"]}}"
    server.answer = reply(body)
    seconds = 0.0
    client = PrometheusClient(client_settings(server.url), monotonic=lambda: seconds)
    samples = 0
    for block in client.read(EXPR, 0, 15_000):
        samples += len(block)
        seconds += 100.0
    assert samples == 50_000
    assert seconds > 300


def test_one_that_is_decoded_for_too_long_is_too_large(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never waited for, since it comes faster than it is read."""
    monkeypatch.setattr(prometheus, "WINDOW_TIMEOUTS", 0.01)
    server.answer = streaming(ENDLESS["series"])
    assert "or 0.3 s in all" in str(cut(client_of(server.url, timeout=30)))


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_whose_text_drips_is_no_large_query(server: AnsweringServer, status: int) -> None:
    def answer(handler: Handler) -> None:
        if handler.request_seen.params["query"] == "time()":
            reply(NOW)(handler)
            return
        handler.send_response(status)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while not handler.server.closing.wait(0.01):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    server.answer = answer
    found = failure(client_of(server.url, timeout=0.3))
    assert type(found) is SourceUnavailable
    assert f"answered {status}, and sent " in str(found)
