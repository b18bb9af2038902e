"""Samples as line protocol, gzipped: ``measurement,tag=value value=<float> <milliseconds>``.

Floats are the shortest decimals that read back to the same bits; what is a whole number is written
without a point, which is still a float in line protocol. Lines of many samples a series are written
by :mod:`services.transformer.long_lines`, others by :mod:`services.transformer.short_lines`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from common.samples.columns import Samples
from common.samples.gzip_join import joinable_member, marked
from common.samples.line_names import FIELD
from common.samples.seal_columns import digest
from common.state.verdict import Output
from services.transformer.short_lines import short_lines

MAX_OUTPUT_LINES = 100_000
# Below the smallest default limit of a request body known (25,000,000 in InfluxDB 1.x).
MAX_OUTPUT_BYTES = 24_000_000
# Up to so many samples a series, on average, an entry's lines are written without polars.
SHORT_SERIES_SAMPLES = 12

# The longest line beside its key: separators, field name, float, timestamp, line break.
_LINE_OVERHEAD_BYTES = len(f" {FIELD}=-2.2250738585072014e-308 {2**63}\n")
# Every whole number up to here has a double of its own.
MAX_WHOLE = 2.0**53
_NEGATIVE_ZERO_BITS = np.int64(-(2**63))
# How much text is compressed at a time: small enough to stay in the processor's cache.
_CHUNK_BYTES = 1 << 18
_COMPRESSION_LEVEL = 1
# Windows in bits: deflate has 9 to 15, zlib adds 16 for gzip.
_NARROWEST, _WIDEST_NARROW, _FULL, _GZIP = 9, 11, 15, 16


def encode(kept: Samples, mark: int = 0) -> Iterator[Output]:
    """Gzip members of newline-terminated lines, each within the limits of one entry, digested.

    ``mark`` says which bucket they are for, where that is not the tier's.
    """
    for part in _split(kept):
        of_part = digest(part.keys, part.counts, part.timestamps_ms, part.values)
        member = gzip_member(lines_of(part), part.keys)
        yield Output(marked(member, mark) if mark else member, len(part), of_part)


def _split(kept: Samples) -> Iterator[Samples]:
    """Parts of at most :data:`MAX_OUTPUT_LINES` lines and :data:`MAX_OUTPUT_BYTES` bytes."""
    samples = len(kept)
    key_bytes = np.fromiter(map(len, kept.keys), np.int64, len(kept.keys))
    if (
        samples <= MAX_OUTPUT_LINES
        and int((key_bytes + _LINE_OVERHEAD_BYTES) @ kept.counts) <= MAX_OUTPUT_BYTES
    ):
        if samples:
            yield kept
        return
    ends_bytes = np.cumsum(np.repeat(key_bytes + _LINE_OVERHEAD_BYTES, kept.counts))
    start, start_bytes = 0, 0
    while start < samples:
        end = int(np.searchsorted(ends_bytes, start_bytes + MAX_OUTPUT_BYTES, side="right"))
        end = max(start + 1, min(end, start + MAX_OUTPUT_LINES))
        wanted = np.zeros(samples, np.bool_)
        wanted[start:end] = True
        yield kept.where(wanted)
        start, start_bytes = end, int(ends_bytes[end - 1])


def lines_of(kept: Samples) -> Iterator[bytes]:
    """The lines of one series after the other, each line with its break in *front*.

    Which of the two ways is cheaper is seen from the samples a series; a deployment that only reads
    live windows never loads what the other one needs.
    """
    if len(kept) <= SHORT_SERIES_SAMPLES * len(kept.keys):
        return short_lines(kept)
    from services.transformer.long_lines import long_lines

    return long_lines(kept)


def are_whole(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values are whole numbers that an integer says exactly; it has no negative zero."""
    whole: NDArray[np.bool_] = (
        (np.rint(values) == values)
        & (np.abs(values) <= MAX_WHOLE)
        & (values.view(np.int64) != _NEGATIVE_ZERO_BITS)
    )
    return whole


def gzip_member(lines: Iterator[bytes], keys: Sequence[bytes]) -> bytes:
    """One gzip member, to be joined with others, of lines that have their breaks in front.

    A window just wide enough to reach the line before compresses faster than a wider one and no
    worse, because what repeats is the line's key. Long lines are found again only in the full one.
    """
    line_bits = (max(map(len, keys)) + _LINE_OVERHEAD_BYTES).bit_length()
    window_bits = max(line_bits, _NARROWEST) if line_bits <= _WIDEST_NARROW else _FULL
    compressor = isal_zlib.compressobj(_COMPRESSION_LEVEL, isal_zlib.DEFLATED, _GZIP + window_bits)
    compressed: list[bytes] = []
    chunk: list[bytes] = [next(lines)[1:]]  # the first line's break goes to the end of the last
    chunk_bytes = len(chunk[0])
    for text in lines:
        chunk.append(text)
        chunk_bytes += len(text)
        if chunk_bytes >= _CHUNK_BYTES:
            compressed.append(compressor.compress(b"".join(chunk)))
            chunk.clear()
            chunk_bytes = 0
    chunk.append(b"\n")
    compressed.append(compressor.compress(b"".join(chunk)))
    # The loader joins members into one body, without inflating them.
    compressed.append(compressor.flush(isal_zlib.Z_SYNC_FLUSH))
    compressed.append(compressor.flush())
    return joinable_member(b"".join(compressed))
