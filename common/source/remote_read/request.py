"""A request for samples by remote read, written by hand: it is a few bytes of Protocol Buffers.

``ReadRequest`` is in ``prompb/remote.proto`` of Prometheus, ``LabelMatcher`` in ``types.proto``.
"""

from __future__ import annotations

from common.promql.selector import parse_selector
from common.source.protobuf import message, written_uvarint

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Read-Version": "0.1.0",
}
ANSWER_TYPE = "application/x-streamed-protobuf"

_MATCHERS = {"=": 0, "!=": 1, "=~": 2, "!~": 3}
_STREAMED_XOR_CHUNKS = 1
# A literal whose length, less one, stands in the two bytes behind its tag.
_LONG_LITERAL = bytes([61 << 2])
_LONGEST_LITERAL_BYTES = 1 << 16


def read_request(selector: str, start_ms: int, end_ms: int) -> bytes:
    """The body that asks for chunks of what ``selector`` finds, ``start_ms < t <= end_ms``."""
    matchers = b"".join(
        message(3, _number(1, _MATCHERS[one.operator]) + _text(2, one.label) + _text(3, one.value))
        for one in parse_selector(selector).matchers
    )
    # Both of its bounds are inclusive.
    query = _number(1, start_ms + 1) + _number(2, end_ms) + matchers
    return _snappy(message(1, query) + _number(2, _STREAMED_XOR_CHUNKS))


def _number(field: int, number: int) -> bytes:
    return written_uvarint(field << 3) + written_uvarint(number)


def _text(field: int, text: str) -> bytes:
    return message(field, text.encode())


def _snappy(content: bytes) -> bytes:
    """Snappy's block format may be nothing but literals (``format_description.txt`` of snappy)."""
    packed = written_uvarint(len(content))
    for begin in range(0, len(content), _LONGEST_LITERAL_BYTES):
        literal = content[begin : begin + _LONGEST_LITERAL_BYTES]
        packed += _LONG_LITERAL + (len(literal) - 1).to_bytes(2, "little") + literal
    return packed
