"""One window by remote read: over real connections, whatever the server does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import requests

from common.source.remote_read.doubt import Doubt
from common.source.transport import BodyBounds, Transport
from services.extractor.remote_read.read import RemoteReader
from tests.support.answering_server import AnsweringServer, Handler
from tests.unit.common.source.remote_read.answers import STREAMED, answer, chunk, series
from tests.unit.common.source.remote_read.xor_encoder import STALE_BITS, Sample, bits_of

START_MS = 1_700_000_000_000
END_MS = START_MS + 3_600_000
SAMPLES = [(START_MS + 15_000 * (n + 1), bits_of(n / 3)) for n in range(240)]
LABELS = {"__name__": "x", "é": '"\\\n<🙂'}
GOOD = answer([series(LABELS, chunk(SAMPLES[:120]), chunk(SAMPLES[120:]))])

Found = dict[str, list[Sample]]


def sends(
    body: bytes, status: int = 200, kind: str = STREAMED, end: str = "whole"
) -> Callable[[Handler], None]:
    def handle(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for begin in range(0, len(body), 500):
            piece = body[begin : begin + 500]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if end == "whole":
            handler.wfile.write(b"0\r\n\r\n")
        elif end == "reset":
            handler.reset()
        elif end == "closed":
            handler.hang_up()
        else:
            handler.server.closing.wait()

    return handle


def read(handle: Callable[[Handler], None], timeout_seconds: float = 20.0) -> Found:
    found: Found = {}
    with AnsweringServer(handle) as server:
        session = requests.Session()
        transport = Transport(server.url, session)
        bounds = BodyBounds(timeout_seconds, 3 * timeout_seconds, 1 << 24)
        reader = RemoteReader(transport, timeout_seconds, bounds)
        try:
            for block in reader.read("x", START_MS, END_MS):
                ends = block.ends.tolist()
                for labels, count, last in zip(
                    block.series, block.counts.tolist(), ends, strict=True
                ):
                    rows = slice(last - count, last)
                    times_ms = block.timestamps_ms[rows].tolist()
                    values = block.values[rows].view(np.uint64).tolist()
                    found.setdefault(labels.decode(), []).extend(zip(times_ms, values, strict=True))
        finally:
            transport.close()
    return found


def reason_of(handle: Callable[[Handler], None], timeout_seconds: float = 20.0) -> str:
    with pytest.raises(Doubt) as raised:
        read(handle, timeout_seconds)
    assert "\n" not in str(raised.value)
    return raised.value.reason


def samples_of(body: bytes) -> list[Sample]:
    ((_, samples),) = read(sends(body)).items()
    return samples


def test_samples_and_labels_are_those_that_were_sent() -> None:
    ((labels, samples),) = read(sends(GOOD)).items()
    assert json.loads(labels) == LABELS
    assert samples == SAMPLES


def test_a_window_without_samples() -> None:
    assert read(sends(b"")) == {}


def test_stale_markers_are_no_samples_and_every_nan_is_the_same() -> None:
    values = [STALE_BITS, 0x7FF8_0000_0000_0001, bits_of(-math.inf), bits_of(-0.0), STALE_BITS]
    times = [START_MS + 1000 * (n + 1) for n in range(len(values))]
    marked = list(zip(times, values, strict=True))
    only_stale = series({"n": "stale"}, chunk([(START_MS + 5, STALE_BITS)]))
    body = answer([series({"n": "0"}, chunk(marked)), only_stale])
    assert samples_of(body) == [(times[1], bits_of(math.nan)), *marked[2:4]]


def test_what_lies_beside_the_window_is_cut_off() -> None:
    inside = [(START_MS + 1, 1), (END_MS, 2)]
    body = answer([series({"n": "0"}, chunk([(START_MS, 0), *inside, (END_MS + 1, 3)]))])
    assert samples_of(body) == inside


def test_a_series_in_two_frames_is_read_on() -> None:
    parts = (SAMPLES[:120], SAMPLES[120:])
    assert samples_of(answer([series({"n": "0"}, chunk(part)) for part in parts])) == SAMPLES


@pytest.mark.parametrize(
    "parts",
    [
        (SAMPLES[120:], SAMPLES[:120]),
        (SAMPLES[:120], SAMPLES[119:]),
        ([SAMPLES[0], SAMPLES[0]], SAMPLES[1:]),
    ],
)
def test_times_that_do_not_ascend(parts: tuple[list[Sample], list[Sample]]) -> None:
    assert reason_of(sends(answer([series({"n": "0"}, *map(chunk, parts))]))) == "order"


def test_times_that_do_not_ascend_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.extractor.remote_read.xor.MOST_CHUNKS", 1)
    body = answer([series({"n": "0"}, chunk(SAMPLES[120:]), chunk(SAMPLES[:120]))])
    assert reason_of(sends(body)) == "order"


def test_labels_that_are_no_text() -> None:
    broken = series({"n": "é"}, chunk(SAMPLES)).replace("é".encode(), b"\xff\xfe")
    assert reason_of(sends(answer([broken]))) == "labels"


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (405, "Method Not Allowed", "refused"),
        (404, "404 page not found", "refused"),
        (403, "forbidden", "refused"),
        (302, "", "refused"),
        (400, "snappy: corrupt input", "no_answer"),
        (500, "error parsing regexp: missing closing ]", "no_answer"),
        (503, "", "no_answer"),
        (429, "", "no_answer"),
    ],
)
def test_every_other_status(status: int, text: str, reason: str) -> None:
    assert reason_of(sends(text.encode(), status, "text/plain")) == reason


@pytest.mark.parametrize("kind", ["application/x-protobuf", "text/html", ""])
def test_an_answer_of_another_kind(kind: str) -> None:
    assert reason_of(sends(GOOD, kind=kind)) == "not_streamed"


@pytest.mark.parametrize("end", ["reset", "closed"])
def test_a_server_that_breaks_off(end: str) -> None:
    assert reason_of(sends(GOOD, end=end)) == "broken_off"


def test_text_after_good_frames() -> None:
    assert reason_of(sends(GOOD + b"storage: read failed\n")) == "frame"


def test_a_server_that_does_not_go_on() -> None:
    assert reason_of(sends(GOOD[:300], end="hangs"), timeout_seconds=0.5) == "broken_off"


def test_a_server_that_is_not_there() -> None:
    transport = Transport("http://127.0.0.1:9", requests.Session())
    reader = RemoteReader(transport, 1.0, BodyBounds(1.0, 3.0, 1 << 20))
    with pytest.raises(Doubt) as raised:
        next(reader.read("x", START_MS, END_MS))
    assert raised.value.reason == "no_answer"
