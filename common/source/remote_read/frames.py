"""The frames of a streamed answer: cut, checked, and taken apart by hand.

Each is its length (uvarint), a CRC-32C (4 bytes, big endian) and a ``ChunkedReadResponse``
(``storage/remote/chunked.go`` and ``prompb/remote.proto`` of Prometheus): series, with their labels
and chunks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from common.source.errors import snippet
from common.source.remote_read.doubt import Doubt
from common.source.remote_read.fields import CHUNK, LABEL, LENGTH, SERIES, VARINT, inside, uvarint
from common.source.remote_read.side_by_side import usual_spans

# Of frames that are checked and decoded at once.
BLOCK_BYTES = 3 << 19
# A series with one label is longer. Prometheus' own client takes none above the other bound.
SHORTEST_FRAME_BYTES = 4
LONGEST_FRAME_BYTES = 50_000_000

_CRC_BYTES = 4
_XOR_CHUNK = 1
# Tags of fields.
_QUERY_INDEX = 2 << 3 | VARINT
_CHUNK_TYPE = 3 << 3 | VARINT
_CHUNK_DATA = 4 << 3 | LENGTH
_CHUNK_TIMES = (1 << 3 | VARINT, 2 << 3 | VARINT)

# Both times, as varints, the type of float samples, and the tag of the data.
_CHUNK_HEAD = re.compile(
    b"\x08[\x80-\xff]*[\0-\x7f]\x10[\x80-\xff]*[\0-\x7f]\x18\x01\x22", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class SeriesChunks:
    """Series of some frames: their chunks are ``content[starts[i]:ends[i]]``, series by series.

    ``labels``: the label sets as they were sent, ``prompb.Label`` after ``prompb.Label``.
    ``chunks``: how many chunks each has.
    """

    content: bytes
    labels: list[bytes]
    chunks: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def read_frames(pieces: Iterable[bytes], block_bytes: int = BLOCK_BYTES) -> Iterator[SeriesChunks]:
    """The series in an answer that arrives in ``pieces``, those of about ``block_bytes`` at a time.

    Raises :class:`Doubt` for what is no whole, undamaged frame, or has other chunks than those of
    float samples.
    """
    kept: list[bytes] = []
    kept_bytes = 0
    wanted_bytes = block_bytes
    for piece in pieces:
        kept.append(piece)
        kept_bytes += len(piece)
        if kept_bytes < wanted_bytes:
            continue
        content = b"".join(kept)
        frames, end = _whole_frames(content)
        if frames:
            yield _series_of(content, frames)
        kept = [content[end:]]
        kept_bytes = len(kept[0])
        # A frame that is longer than all this comes whole.
        wanted_bytes = max(block_bytes, 2 * kept_bytes)
    content = b"".join(kept)
    frames, end = _whole_frames(content)
    if end != len(content):
        raise Doubt("frame", f"ended within a frame that begins with {snippet(content[end:])}")
    if frames:
        yield _series_of(content, frames)


def _whole_frames(content: bytes) -> tuple[list[tuple[int, int]], int]:
    """Where the messages of whole frames begin and end; up to where all are whole."""
    frames: list[tuple[int, int]] = []
    position = 0
    while True:
        try:
            length, begin = uvarint(content, position)
        except IndexError:
            return frames, position
        if not SHORTEST_FRAME_BYTES <= length <= LONGEST_FRAME_BYTES:
            raise Doubt("frame", f"sent a frame of {length} bytes: {snippet(content[position:])}")
        end = begin + _CRC_BYTES + length
        if end > len(content):
            return frames, position
        frames.append((begin + _CRC_BYTES, end))
        position = end


def _series_of(content: bytes, frames: list[tuple[int, int]]) -> SeriesChunks:
    checksum = google_crc32c.value
    sent = b"".join([content[begin - _CRC_BYTES : begin] for begin, _ in frames])
    sums = [checksum(content[begin:end]) for begin, end in frames]
    if (np.array(sums, np.uint32) != np.frombuffer(sent, ">u4")).any():
        raise Doubt("checksum", "sent a frame that does not have its checksum")
    if (spans := usual_spans(content, frames)) is not None:
        return SeriesChunks(content, *spans)
    found = _Found(content)
    try:
        for begin, end in frames:
            _add_message(found, begin, end)
    except IndexError:
        raise Doubt("frame", "sent a frame that ends within a field") from None
    numbers = (np.array(part, np.int64) for part in (found.chunks, found.starts, found.ends))
    return SeriesChunks(content, found.labels, *numbers)


@dataclass(slots=True)
class _Found:
    """What becomes :class:`SeriesChunks`, while it grows."""

    content: bytes
    labels: list[bytes] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


def _add_message(found: _Found, position: int, end: int) -> None:
    content = found.content
    while position < end:
        tag = content[position]
        length, position = uvarint(content, position + 1)
        if tag == SERIES:
            _add_series(found, position, inside(position + length, end))
            position += length
        elif tag != _QUERY_INDEX:
            raise Doubt("frame", f"sent a message with an unknown field ({tag})")


def _add_series(found: _Found, position: int, end: int) -> None:
    content, first = found.content, len(found.starts)
    labels_begin = position
    while position < end and content[position] == LABEL:
        length = content[position + 1]
        if length < 0x80:
            position += 2 + length
        else:
            length, position = uvarint(content, position + 1)
            position += length
    labels = content[labels_begin : inside(position, end)]
    while position < end:
        if content[position] != CHUNK:
            raise Doubt("frame", f"sent a series with an unknown field ({content[position]})")
        length, position = uvarint(content, position + 1)
        chunk_end = inside(position + length, end)
        # As Prometheus writes it, which takes a third of the time.
        if head := _CHUNK_HEAD.match(content, position, chunk_end):
            size, begin = uvarint(content, head.end())
        if head and begin + size == chunk_end:
            found.starts.append(begin)
            found.ends.append(chunk_end)
        else:
            _add_chunk(found, position, chunk_end)
        position = chunk_end
    chunks = len(found.starts) - first
    if found.labels and found.labels[-1] == labels:
        found.chunks[-1] += chunks
    else:
        found.labels.append(labels)
        found.chunks.append(chunks)


def _add_chunk(found: _Found, position: int, end: int) -> None:
    content = found.content
    kind = begin = data_end = 0
    while position < end:
        tag = content[position]
        number, position = uvarint(content, position + 1)
        if tag == _CHUNK_TYPE:
            kind = number
        elif tag == _CHUNK_DATA:
            begin, position = position, position + number
            data_end = position
        elif tag not in _CHUNK_TIMES:
            raise Doubt("frame", f"sent a chunk with an unknown field ({tag})")
    inside(position, end)
    if kind != _XOR_CHUNK:
        raise Doubt(
            "chunk_type", f"sent a chunk of type {kind}, not of float samples ({_XOR_CHUNK})"
        )
    found.starts.append(begin)
    found.ends.append(data_end)
