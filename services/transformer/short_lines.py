"""The lines of a few samples a series: what is paid once per series is what counts there.

Numbers are written by msgspec, whole arrays at a time, and joined with the keys of their series:
nothing is done for a series by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.samples.columns import Samples
from common.samples.line_names import FIELD, split_field
from common.samples.series import IntegerKey

# Written at a time: their texts stay in the processor's cache, and are no second copy of a window.
_PART_LINES = 2048
_FIELD_START = f" {FIELD}=".encode()
_encode = msgspec.json.Encoder().encode


def short_lines(kept: Samples) -> Iterator[bytes]:
    """The lines of all series in order, in parts of so many, each line with its break in *front*.

    No series is without samples.
    """
    keys, field_start = list[bytes](kept.keys), _FIELD_START
    if not _are_plain(keys):
        keys, field_start = line_starts(keys), b""
    if len(keys) < len(kept):
        keys = np.repeat(np.array(keys, object), kept.counts).tolist()
    integers = _integers(kept)
    for start in range(0, len(kept), _PART_LINES):
        part = slice(start, start + _PART_LINES)
        values = _texts_of_values(kept.values[part], field_start)
        for index in np.flatnonzero(integers[part]).tolist():
            values[index] += b"i"
        times = _encode(kept.timestamps_ms[part].tolist())[1:-1].replace(b",", b"\n, ")
        texts = [b"\n"] * (3 * len(values) + 1)
        texts[1::3] = keys[part]
        texts[2::3] = values
        texts[3::3] = (b" " + times).split(b",")
        yield b"".join(texts)


def _texts_of_values(values: NDArray[np.float64], field_start: bytes) -> list[bytes]:
    """``field_start`` and a value each; whole numbers without a point, as long lines have them."""
    text = (_encode(values.tolist())[1:-1] + b",").replace(b".0,", b",")
    if b"-0," in text:
        text = text.replace(b"-0,", b"-0.0,")
    found = (field_start + text.replace(b",", b"," + field_start)).split(b",")
    found.pop()
    return found


def _integers(kept: Samples) -> NDArray[np.bool_]:
    """Which samples are written as integers; nothing if none is."""
    if IntegerKey not in set(map(type, kept.keys)):
        return np.empty(0, np.bool_)
    return np.repeat([isinstance(key, IntegerKey) for key in kept.keys], kept.counts)


def line_starts(keys: Sequence[bytes]) -> list[bytes]:
    """What stands before each series' values: a key has its field, unless that is ``value``."""
    if _are_plain(keys):
        return [key + _FIELD_START for key in keys]
    return [key + b"=" if split_field(key)[1] else key + _FIELD_START for key in keys]


def _are_plain(keys: Sequence[bytes]) -> bool:
    """Whether no key names a field of its own: seldom one does, or has an escaped blank."""
    return b" " not in b"".join(keys)
