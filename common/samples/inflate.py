"""Inflating what lies in Redis, never further than it can honestly go.

An entry says how many samples it holds; a payload that inflates to more than those can take is
damaged or hostile, and is refused before it fills the memory. A ratio would be no bound: deflate
folds a megabyte into a kilobyte, and real lines come close.
"""

from __future__ import annotations

import zlib

from common.errors import WireError

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 31  # 15, and 16 for gzip's header
# InfluxDB takes no longer series key; beside it a line has a field, a number, a time and a break.
_LINE_BYTES_MAX = (64 << 10) + 256
# More than twice what the transformer writes into one entry.
_LINES_BYTES_MAX = 64 << 20


def lines_bytes_max(samples: int) -> int:
    """The bytes that lines of so many samples can take in one entry."""
    return min(samples * _LINE_BYTES_MAX, _LINES_BYTES_MAX)


def inflate(payload: bytes, most_bytes: int) -> bytes:
    """The content of one or more gzip members, one after the other.

    Raises :class:`WireError` for anything else, and if it is more than ``most_bytes``.
    """
    pieces: list[bytes] = []
    left_bytes, rest = most_bytes, payload
    try:
        while rest or not pieces:
            inflater = zlib.decompressobj(_GZIP_WBITS)
            piece = inflater.decompress(rest, left_bytes + 1)  # 0 would mean without bound
            left_bytes -= len(piece)
            if left_bytes < 0:
                raise WireError(
                    f"payload cannot be inflated: it holds more than the {most_bytes} bytes "
                    "that its samples can take"
                )
            if not inflater.eof:
                raise WireError("payload cannot be inflated: it ends too early")
            pieces.append(piece)
            rest = inflater.unused_data
    except zlib.error as error:
        raise WireError(f"payload cannot be inflated: {error}") from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
