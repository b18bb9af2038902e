"""Frames as Prometheus writes them, taken apart side by side: field by field, not frame by frame.

Each frame holds one series: its labels, then its chunks, of which each has two times of six bytes
(the years 2004 to 2109), the type of float samples and its data. What is written in another way is
left to :mod:`common.source.remote_read.frames`, which reads all that the format allows.
"""

from __future__ import annotations

from operator import eq
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.source.remote_read.fields import CHUNK, LABEL, SERIES

# What a call costs is spread over so many frames, or they are taken apart one by one.
LEAST_FRAMES = 64
# Labels or chunks of one series: a few long ones among many short ones are not read for all.
MOST_ROUNDS = 64

_LONGEST_VARINT_BYTES = 4
# Before a chunk's data, byte by byte: which bits are looked at, and what they are. A varint's bytes
# have their first bit set, but for the last.
_TIME_MASK, _TIME = [0x80] * 6, [0x80] * 5 + [0]
_HEAD_MASK = np.array([0xFF, *_TIME_MASK, 0xFF, *_TIME_MASK, 0xFF, 0xFF, 0xFF], np.uint8)
_HEAD = np.array([0x08, *_TIME, 0x10, *_TIME, 0x18, 0x01, 0x22], np.uint8)
_HEAD_PLACES = np.arange(len(_HEAD))

Ints = NDArray[np.int64]


class Spans(NamedTuple):
    """Of each series its labels as they were sent and how many chunks it has; of each of those
    where its data begins and ends, series by series.
    """

    labels: list[bytes]
    chunks: Ints
    starts: Ints
    ends: Ints


def usual_spans(content: bytes, frames: list[tuple[int, int]]) -> Spans | None:
    """What the messages ``content[begin:end]`` of ``frames`` hold; None where it is written
    otherwise, or too few to be worth it.
    """
    if len(frames) < LEAST_FRAMES:
        return None
    text = np.frombuffer(content, np.uint8)
    at, ends = np.array(frames, np.int64).T
    length, begin = _numbers(text, at + 1)
    if (text[at] != SERIES).any() or (begin + length != ends).any():
        return None
    behind_labels = _behind_labels(text, begin, ends)
    found = None if behind_labels is None else _chunks(text, behind_labels, ends)
    if behind_labels is None or found is None:
        return None
    bounds = zip(begin.tolist(), behind_labels.tolist(), strict=True)
    labels = [content[first:last] for first, last in bounds]
    if any(map(eq, labels, labels[1:])):
        return None  # one series in several frames
    return Spans(labels, *found)


def _behind_labels(text: NDArray[np.uint8], at: Ints, ends: Ints) -> Ints | None:
    """The position behind the last label of each series."""
    for _ in range(MOST_ROUNDS):
        is_label = (_byte(text, at) == LABEL) & (at < ends)
        if not is_label.any():
            return at
        length, begin = _numbers(text, at + 1)
        at = np.where(is_label, begin + length, at)
        if (at > ends).any():
            return None
    return None


def _chunks(text: NDArray[np.uint8], at: Ints, ends: Ints) -> tuple[Ints, Ints, Ints] | None:
    """How many chunks each series has, and where the data of each begins and ends."""
    series = np.arange(len(at))
    rounds: list[tuple[Ints, Ints, Ints]] = []
    for _ in range(MOST_ROUNDS):
        going = at < ends[series]
        if not going.all():
            series, at = series[going], at[going]
        if not len(series):
            break
        length, begin = _numbers(text, at + 1)
        chunk_ends = begin + length
        head = _byte(text, begin[:, None] + _HEAD_PLACES)
        size, data = _numbers(text, begin + len(_HEAD))
        if (
            (_byte(text, at) != CHUNK).any()
            or ((head & _HEAD_MASK) != _HEAD).any()
            or (data + size != chunk_ends).any()
            or (chunk_ends > ends[series]).any()
        ):
            return None
        rounds.append((series, data, chunk_ends))
        at = chunk_ends
    else:
        return None
    if not rounds:
        return np.zeros(len(ends), np.int64), series, series
    of_series, starts, chunk_ends = map(np.concatenate, zip(*rounds, strict=True))
    order = np.argsort(of_series, kind="stable")
    return np.bincount(of_series, minlength=len(ends)), starts[order], chunk_ends[order]


def _byte(text: NDArray[np.uint8], at: Ints) -> NDArray[np.uint8]:
    """The byte at each position; behind the end it is the last one, which is found out later."""
    return text.take(at, mode="clip")


def _numbers(text: NDArray[np.uint8], at: Ints) -> tuple[Ints, Ints]:
    """The number at each position, and the position behind it.

    One of more than four bytes comes out as something that does not fit.
    """
    byte: Ints = _byte(text, at).astype(np.int64)
    number = byte & 0x7F
    behind = at + 1
    for place in range(1, _LONGEST_VARINT_BYTES):
        goes_on = byte >= 0x80
        if not goes_on.any():
            return number, behind
        byte = _byte(text, at + place).astype(np.int64) * goes_on
        number |= (byte & 0x7F) << 7 * place
        behind += goes_on
    number[byte >= 0x80] = len(text)
    return number, behind
