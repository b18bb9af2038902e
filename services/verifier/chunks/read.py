"""Raw samples of a long range by remote read: what the query API would show of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.source.protobuf import LENGTH, Malformed, inside, uvarint
from common.source.remote_read.ask import STALE_BITS, ask
from common.source.remote_read.doubt import Doubt
from common.source.remote_read.frames import SeriesChunks
from common.source.transport import BodyBounds, Transport
from services.verifier.chunks.xor import samples_of

_LABEL_FIELDS = {1 << 3 | LENGTH: 0, 2 << 3 | LENGTH: 1}


_Column = tuple[NDArray[np.int64], NDArray[np.float64]]


class ChunkSeries(NamedTuple):
    """Samples of one series: its labels, times in ms, values."""

    labels: dict[str, str]
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]


def read_chunks(
    transport: Transport,
    selector: str,
    window_ms: tuple[int, int],
    timeout_seconds: float,
    bounds: BodyBounds,
) -> list[ChunkSeries]:
    """The samples of ``selector`` after the first and up to the second of ``window_ms``.

    Raises :class:`Doubt` where they cannot be trusted.
    """
    pieces: dict[bytes, list[_Column]] = {}
    for found in ask(transport, selector, window_ms, timeout_seconds, bounds):
        for labels, column in zip(found.labels, _columns(found, window_ms), strict=True):
            pieces.setdefault(labels, []).append(column)
    series = []
    for labels, columns in pieces.items():
        times_ms, values = columns[0]
        if len(columns) > 1:
            times_ms = np.concatenate([times for times, _ in columns])
            values = np.concatenate([values for _, values in columns])
            _check_order(np.diff(times_ms))
        if len(times_ms):
            series.append(ChunkSeries(_labels(labels), times_ms, values))
    return series


def _columns(found: SeriesChunks, window_ms: tuple[int, int]) -> Iterator[_Column]:
    """What a query shows of each series."""
    counts, times_ms, values = samples_of(found.content, found.starts, found.ends)
    ends = _up_to(counts)[np.cumsum(found.chunks)]
    steps = np.diff(times_ms)
    # From one series to the next; one may have no samples.
    steps[ends[(ends > 0) & (ends < len(times_ms))] - 1] = 1
    _check_order(steps)
    # Whole chunks come from some servers, and the ends of series from all.
    shown = (times_ms > window_ms[0]) & (times_ms <= window_ms[1])
    shown &= values.view(np.uint64) != np.uint64(STALE_BITS)
    ends = _up_to(shown)[ends]
    times_ms, values = times_ms[shown], values[shown]
    begin = 0
    for end in ends.tolist():
        yield times_ms[begin:end], values[begin:end]
        begin = end


def _up_to(counts: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many there are before each, and in all."""
    return np.concatenate([[0], np.cumsum(counts)])


def _check_order(steps: NDArray[np.int64]) -> None:
    if (steps <= 0).any():
        raise Doubt("order", "sent samples of a series that are not in order of time")


def _labels(sent: bytes) -> dict[str, str]:
    """A label set: pairs of a name and a value, each with its length before it."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(sent):
            length, at = uvarint(sent, at + 1)
            end = inside(at + length, len(sent))
            pair = ["", ""]
            while at < end:
                which = _LABEL_FIELDS[sent[at]]
                length, at = uvarint(sent, at + 1)
                pair[which] = sent[at : inside(at + length, end)].decode()
                at += length
            found[pair[0]] = pair[1]
    except (IndexError, KeyError, Malformed, UnicodeDecodeError):
        raise Doubt("labels", f"sent {sent[:100]!r} where labels belong") from None
    return found
