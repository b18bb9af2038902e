"""Remote write by hand: samples that no text can express, as Prometheus takes them.

Native histograms also need ``--enable-feature=native-histograms``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import requests

from devtools.servers.prometheus_server import PrometheusServer


# The little of Protocol Buffers that remote write needs
# (https://prometheus.io/docs/specs/prw/remote_write_spec/, prompb/types.proto).
def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def zigzag(number: int) -> bytes:
    return varint(number << 1 ^ number >> 63)


def of_bytes(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def of_int(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def of_double(field: int, number: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", number)


def sample(ms: int, value: float) -> bytes:
    return of_bytes(2, of_double(1, value) + of_int(2, ms))


def histogram(ms: int, count: int, field: int = 4) -> bytes:
    """Native, with two buckets; in 2.0 it is field 3."""
    spans = of_bytes(11, varint(1 << 3) + zigzag(0) + of_int(2, 2))
    deltas = of_bytes(12, zigzag(count - 1) + zigzag(2 - count))
    content = of_int(1, count) + of_double(3, 1.5) + spans + deltas + of_int(15, ms)
    return of_bytes(field, content)


def float_histogram(
    ms: int,
    *,
    count: float,
    total: float,
    zeros: float = 0.0,
    negative: Mapping[int, float] | None = None,
    positive: Mapping[int, float] | None = None,
) -> bytes:
    """Native, of schema 0: bucket ``n`` ends at 2^n; zeros are what is within ±0.25."""
    content = of_double(2, count) + of_double(3, total)
    content += of_double(5, 0.25) + of_double(7, zeros)
    for spans, counts, buckets in ((8, 10, negative or {}), (11, 13, positive or {})):
        before = -1
        for index in sorted(buckets):
            gap = index if before < 0 else index - before - 1
            content += of_bytes(spans, varint(1 << 3) + zigzag(gap) + of_int(2, 1))
            before = index
        numbers = [buckets[index] for index in sorted(buckets)]
        content += of_bytes(counts, struct.pack(f"<{len(numbers)}d", *numbers))
    return of_bytes(4, content + of_int(15, ms))


def series(labels: dict[str, str], samples: Iterable[bytes]) -> bytes:
    pairs = sorted(labels.items())
    named = [
        of_bytes(1, of_bytes(1, name.encode()) + of_bytes(2, value.encode()))
        for name, value in pairs
    ]
    return of_bytes(1, b"".join([*named, *samples]))


def request_v2(*all_series: tuple[dict[str, str], Iterable[bytes]]) -> bytes:
    """A whole ``io.prometheus.write.v2.Request``: of each series its labels, and what it holds."""
    symbols = {"": 0}
    rows = []
    for labels, parts in all_series:
        texts = [text for pair in sorted(labels.items()) for text in pair]
        references = [symbols.setdefault(text, len(symbols)) for text in texts]
        packed = of_bytes(1, b"".join(map(varint, references)))
        rows.append(of_bytes(5, b"".join([packed, *parts])))
    return b"".join([*(of_bytes(4, symbol.encode()) for symbol in symbols), *rows])


def snappy(body: bytes) -> bytes:
    """A block that refers back to what was there, as compressors write it."""
    packed, seen = bytearray(varint(len(body))), dict[bytes, int]()
    literal = position = 0

    def flush(end: int) -> None:
        for begin in range(literal, end, 256):
            run = body[begin : min(begin + 256, end)]
            size = len(run) - 1
            packed.extend(bytes([size << 2]) if size < 60 else bytes([60 << 2, size]))
            packed.extend(run)

    while position + 4 <= len(body):
        begin = seen.get(body[position : position + 4])
        seen[body[position : position + 4]] = position
        if begin is None or position - begin > 0xFFFF:
            position += 1
            continue
        flush(position)
        size, offset = 4, position - begin
        while (
            size < 64
            and body[begin + size : begin + size + 1]
            == body[position + size : position + size + 1]
            != b""
        ):
            size += 1
        if size < 12 and offset < 2048:
            packed.extend((1 | size - 4 << 2 | offset >> 8 << 5, offset & 0xFF))
        else:
            packed.extend((2 | size - 1 << 2, offset & 0xFF, offset >> 8))
        position += size
        literal = position
    flush(len(body))
    return bytes(packed)


HEADERS = {"Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
HEADERS_V2 = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}


def push(server: PrometheusServer, *all_series: bytes) -> None:
    """Write them; the server needs ``--web.enable-remote-write-receiver``."""
    answer = requests.post(
        f"{server.url}/api/v1/write",
        data=snappy(b"".join(all_series)),
        headers=HEADERS,
        auth=server.basic_auth,
        timeout=10,
    )
    assert answer.status_code == 204, answer.text
