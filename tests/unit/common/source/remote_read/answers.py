"""Answers of remote read as Prometheus streams them (``storage/remote/chunked.go``)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from tests.support.remote_write import of_bytes, of_int, varint
from tests.unit.common.source.remote_read.xor_encoder import Sample, encode

XOR, HISTOGRAM, UNKNOWN = 1, 2, 4
STREAMED = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"


def crc32c(content: bytes) -> int:
    """Bit by bit."""
    found = 0xFFFFFFFF
    for byte in content:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def frame(content: bytes) -> bytes:
    return varint(len(content)) + struct.pack(">I", crc32c(content)) + content


def chunk(samples: Sequence[Sample], kind: int = XOR) -> bytes:
    times = of_int(1, samples[0][0]) + of_int(2, samples[-1][0])
    return of_bytes(2, times + of_int(3, kind) + of_bytes(4, encode(samples)))


def labels_of(labels: Mapping[str, str]) -> bytes:
    return b"".join(
        of_bytes(1, of_bytes(1, name.encode()) + of_bytes(2, value.encode()))
        for name, value in labels.items()
    )


def series(labels: Mapping[str, str], *chunks: bytes) -> bytes:
    """A message with one series."""
    return of_bytes(1, labels_of(labels) + b"".join(chunks))


def answer(messages: Iterable[bytes]) -> bytes:
    return b"".join(map(frame, messages))
