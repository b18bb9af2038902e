"""Points payloads: gzipped line protocol, to lines and back.

The path of an accepted post never inflates anything. What is here runs when the sink refuses
something, or when a tier's retention is known and an entry seems old.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable

from common.errors import WireError
from common.samples.inflate import inflate, lines_bytes_max

# Shortest line that can be: `m v=1 0` and its line break. A payload that inflates to less than this
# for each of its samples has lost some.
MIN_LINE_BYTES = 8

_GZIP_MAGIC = b"\x1f\x8b\x08"
_MIN_MEMBER_BYTES = 18  # header and trailer of RFC 1952
_PEEK_BYTES = 64 * 1024


def check_shape(payload: bytes, samples: int) -> None:
    """Raise :class:`WireError` if the payload cannot be ``samples`` lines, without inflating it.

    A sink takes an empty body (204), so an empty payload must be found before it is posted.
    The last member's length field is modulo 2^32; entries are far below that.
    """
    if len(payload) < _MIN_MEMBER_BYTES or not payload.startswith(_GZIP_MAGIC):
        raise WireError(f"payload of {len(payload)} bytes is not gzip")
    (inflated_bytes,) = struct.unpack("<I", payload[-4:])
    if inflated_bytes < samples * MIN_LINE_BYTES:
        raise WireError(
            f"payload inflates to {inflated_bytes} bytes, too few for its {samples} samples"
        )


def decode(payload: bytes, samples: int) -> list[bytes]:
    """The lines of a payload, without line breaks.

    Raises :class:`WireError` if it cannot be inflated, does not end with a line break, or does not
    hold exactly ``samples`` lines.
    """
    inflated = inflate(payload, lines_bytes_max(samples))
    if not inflated.endswith(b"\n"):
        raise WireError("payload does not end with a line break")
    lines = inflated.split(b"\n")
    lines.pop()
    if len(lines) != samples:
        raise WireError(f"payload holds {len(lines)} lines, its entry says {samples}")
    return lines


def encode(lines: Iterable[bytes]) -> bytes:
    """Lines as one gzip member, each ended by a line break."""
    return gzip.compress(text(lines), compresslevel=1, mtime=0)


def text(lines: Iterable[bytes]) -> bytes:
    """Lines, each ended by a line break."""
    return b"\n".join([*lines, b""])


def timestamp_ms(line: bytes) -> int | None:
    """The timestamp of a line, or None if it has none that is a number."""
    digits = line[line.rfind(b" ") + 1 :]
    if not digits.removeprefix(b"-").isdigit() or len(digits) > 20:
        return None
    return int(digits)


def first_line(payload: bytes) -> bytes | None:
    """The first line, inflating no more than the payload's beginning; None if it is not whole."""
    try:
        inflater = zlib.decompressobj(wbits=31)  # 31: with gzip's header
        line, line_break, _ = inflater.decompress(payload[:_PEEK_BYTES], _PEEK_BYTES).partition(
            b"\n"
        )
    except zlib.error:
        return None
    return line if line_break else None


def first_timestamp_ms(payload: bytes) -> int | None:
    """The first line's timestamp, inflating no more than the payload's beginning."""
    line = first_line(payload)
    return None if line is None else timestamp_ms(line)
