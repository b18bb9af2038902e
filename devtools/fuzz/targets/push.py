"""Remote write as anybody may send it: a snappy block with a message of Protocol Buffers."""

from __future__ import annotations

import struct
from typing import Any

from common.source.protobuf import message, written_uvarint
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from services.extractor.push.bad_request import BadRequest
from services.extractor.push.native_histogram import Carrying
from services.extractor.push.request_v2 import parse_v2
from services.extractor.push.snappy import MOST_RATIO, uncompress
from services.extractor.push.write_request import WriteRequest, labels_of

_MOST_BYTES = 1 << 16
# Tags and lengths of the message and of the block: literals, and copies of each kind.
_TOKENS = (
    *(b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x09", b"\x10", b"\x80", b"\xff", b"\0"),
    *(b"\x01\x04", b"\x02\x04\0", b"\x03\x04\0\0\0", b"\xf0", b"\xf4", b"\xf8", b"\xfc"),
    *(b"\x2a", b"\x22\0", b"\x0a\x02\x01\x02"),
    *(b"\x0a\x02\x0a\0", b"\xff" * 10, b"\xff\xff\xff\xff\x0f", b"__name__"),
)
_LABELS = (b"__name__", b"job", b"", b"le", b"\xff", "größe".encode(), b"a" * 40)
_TEXTS = (b"up", b"", b"a", b"\xc3", "é漢🙂".encode(), b"x" * 70)


class RemoteWrite(Target):
    """Samples, or :class:`BadRequest`; never more than the limit, and what was written is read."""

    name = "remote write"
    weight = 60

    def make(self, m: Mutator) -> tuple[int, bytes, bytes]:
        """The version of a message, the message, and a block of it or of what became of it."""
        version = m.pick((1, 2))
        body = _request_v2(m) if version == 2 else b"".join(_series(m) for _ in range(m.below(5)))
        sent = body if m.chance(0.5) else m.bytes(body, _TOKENS)
        block = _block(m, sent)
        return version, body, block if m.chance(0.6) else m.bytes(block, _TOKENS)

    def check(self, case: Any) -> bool:
        """All columns fit each other; a message that came whole is read."""
        version, body, block = case
        try:
            found = uncompress(block, _MOST_BYTES)
        except BadRequest as error:
            require(bool(str(error)), "says nothing")
            return False
        require(len(found) <= min(_MOST_BYTES, MOST_RATIO * len(block)), "is larger than it may be")
        try:
            request = parse_v2(found) if version == 2 else WriteRequest.parse(found)
        except BadRequest:
            require(found != body, "what was written is refused")
            return False
        samples = len(request.timestamps_ms)
        require(len(request.values) == 8 * samples == 8 * sum(request.counts), "counts do not fit")
        series = {len(request.label_sets), len(request.counts), len(request.histograms)}
        require(len(series) == 1, "columns differ in length")
        if version == 1:
            known = set(request.label_sets)
            require(WriteRequest.parse(found, known) == request, "known labels make a difference")
        native = request.histogram_messages
        require(len(native) == sum(request.histograms), "histograms do not fit")
        for one in native:
            _check_histogram(one)
        require(all(-(1 << 63) <= ms < 1 << 63 for ms in request.timestamps_ms), "is no int64")
        try:
            labels = [labels_of(label_set) for label_set in request.label_sets]
        except BadRequest:
            return False
        require(all(one["__name__"] and all(one.values()) for one in labels), "an empty label")
        return True


def _check_histogram(sent: bytes) -> None:
    """It is carried, marks the end of its series, is counted as none, or is refused."""
    try:
        found = Carrying().of_series(b'{"__name__":"x"}', [sent])
    except BadRequest as error:
        require(bool(str(error)), "says nothing")
        return
    counted = len(found) - len(found.surplus_ms) + len(found.histograms_ms)
    require(counted == 1, "is not one histogram")


def _series(m: Mutator) -> bytes:
    name = message(1, message(1, b"__name__") + message(2, b"up"))
    labels = [
        message(1, message(1, m.pick(_LABELS)) + message(2, m.pick(_TEXTS)))
        for _ in range(m.below(4))
    ]
    parts = [name, *labels, *_samples(m)] if m.chance(0.8) else [*_samples(m), *labels, name]
    return message(1, b"".join(parts))


def _samples(m: Mutator) -> list[bytes]:
    """Fields as both versions have them: samples, and what one passes over and the other not."""
    return [
        message(m.pick((3, 4)), _histogram(m))
        if m.chance(0.2)
        else message(
            m.pick((2, 2, 2, 3, 4)),
            b"\x09"
            + struct.pack("<d", m.float())
            + b"\x10"
            + written_uvarint(m.integer() % (1 << 64)),
        )
        for _ in range(m.below(4))
    ]


def _histogram(m: Mutator) -> bytes:
    """Fields of one, which now and then fit each other."""
    parts = [
        bytes([number << 3]) + written_uvarint(m.pick((0, 1, 8, 105, 1 << 63)))
        for number in (1, 4, 6, 15)
        if m.chance(0.5)
    ]
    parts += [
        bytes([number << 3 | 1]) + struct.pack("<d", m.float())
        for number in (2, 3, 5, 7)
        if m.chance(0.2)
    ]
    for number in (8, 11):
        for _ in range(m.below(3)):
            span = b"\x08" + written_uvarint(m.below(40)) + b"\x10" + written_uvarint(m.below(3))
            parts.append(message(number, span))
        deltas = b"".join(written_uvarint(m.below(9)) for _ in range(m.below(4)))
        parts.append(message(number + 1, deltas))
    for number in (10, 13, 16):
        if m.chance(0.3):
            floats = [struct.pack("<d", m.float()) for _ in range(m.below(4))]
            head = written_uvarint(number << 3 | 2)
            parts.append(head + written_uvarint(8 * len(floats)) + b"".join(floats))
    return b"".join(parts)


def _request_v2(m: Mutator) -> bytes:
    more = (b"s%d" % number for number in range(m.below(200)))
    symbols = (b"", b"__name__", b"up", *_LABELS, *_TEXTS, *more)
    table = b"".join(message(4, symbol) for symbol in symbols)
    rows = b""
    for _ in range(m.below(5)):
        references = [1, 2, *(m.below(len(symbols)) for _ in range(2 * m.below(4)))]
        packed = message(1, b"".join(map(written_uvarint, references)))
        parts = [packed, *_samples(m)] if m.chance(0.8) else [*_samples(m), packed]
        rows += message(5, b"".join(parts))
    return table + rows if m.chance(0.8) else rows + table


def _block(m: Mutator, content: bytes) -> bytes:
    """Literals, and copies of what was there before where that happens to be."""
    packed, position = bytearray(written_uvarint(len(content))), 0
    while position < len(content):
        size = m.between(4, 11)
        piece = content[position : position + size]
        before = content.rfind(piece, 0, position)
        offset = position - before
        if len(piece) == size and before >= 0 and offset < 2048:
            packed += bytes((1 | size - 4 << 2 | offset >> 8 << 5, offset & 0xFF))
        else:
            packed += bytes([len(piece) - 1 << 2]) + piece
        position += len(piece)
    return bytes(packed)
