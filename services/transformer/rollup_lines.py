"""Points of rollups as line protocol: ``measurement,tag=value avg=<float>,count=<float> <ms>``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain

import numpy as np
import polars as pl
from numpy.typing import NDArray

from common.samples.line_names import split_field
from common.samples.seal import Digest
from common.samples.seal_columns import digest_of_fields
from common.state.verdict import Output
from services.transformer.line_protocol import (
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_LINES,
    MAX_WHOLE,
    gzip_member,
)
from services.transformer.rollup import RolledUp

# A float64, its field's name, separators; the timestamp.
_FIELD_BYTES, _TIME_BYTES = 40, 24
# Stands between the columns, and is taken out again: no text of ours has it.
_SEPARATOR = "\x01"
_LINE_BREAK = ord("\n")


def encode_rollup(points: RolledUp) -> Iterator[Output]:
    """Gzip members of newline-terminated lines, each within the limits of one entry, digested."""
    for part in _split(points):
        yield Output(gzip_member(_lines(part), part.keys), len(part), digest_of(part))


def digest_of(points: RolledUp) -> Digest:
    """The digest of all fields of the points; each point counts once."""
    return digest_of_fields(points.keys, points.counts, points.timestamps_ms, points.fields)


def _split(points: RolledUp) -> Iterator[RolledUp]:
    """Parts of whole series, each of about so many lines and bytes at most."""
    fields = len(points.fields)
    line_bytes = _TIME_BYTES + _FIELD_BYTES * fields
    starts = np.cumsum(points.counts) - points.counts
    first = lines = size_bytes = 0
    for index, (key, count) in enumerate(zip(points.keys, points.counts.tolist(), strict=True)):
        more_bytes = count * (len(key) + line_bytes + fields * len(split_field(key)[1]))
        if index > first and (
            lines + count > MAX_OUTPUT_LINES or size_bytes + more_bytes > MAX_OUTPUT_BYTES
        ):
            yield _part(points, first, index, int(starts[first]), int(starts[index]))
            first, lines, size_bytes = index, 0, 0
        lines, size_bytes = lines + count, size_bytes + more_bytes
    if points.keys:
        yield _part(points, first, len(points.keys), int(starts[first]), len(points))


def _part(points: RolledUp, first: int, last: int, start: int, end: int) -> RolledUp:
    return RolledUp(
        points.keys[first:last],
        points.counts[first:last],
        points.timestamps_ms[start:end],
        {name: values[start:end] for name, values in points.fields.items()},
    )


def _lines(points: RolledUp) -> Iterator[bytes]:
    """The lines of one series after the other, each line with its break in *front*."""
    names = list(points.fields)
    literals = [f",{name}=" for name in names[1:]] + [" "]
    columns = chain.from_iterable(
        (
            pl.Series(name, _shortest(points.fields[name])),
            pl.Series(f"{name}=", [text]).new_from_index(0, len(points)),
        )
        for name, text in zip(names, literals, strict=True)
    )
    frame = pl.DataFrame([*columns, pl.Series("time", points.timestamps_ms)])
    buffer = io.BytesIO()
    buffer.write(b"\n")
    frame.write_csv(buffer, include_header=False, separator=_SEPARATOR, quote_style="never")
    text = buffer.getvalue().translate(None, _SEPARATOR.encode())
    line_breaks = np.flatnonzero(np.frombuffer(text, np.uint8) == _LINE_BREAK)
    start, opening = 0, f"{names[0]}=".encode()
    for key, end in zip(points.keys, line_breaks[np.cumsum(points.counts)].tolist(), strict=True):
        lines, field = text[start:end], split_field(key)[1]
        if field:
            lines = lines.replace(b",", b",%s_" % field)
        yield lines.replace(b"\n", b"\n" + key + (b"_" if field else b" ") + opening)
        start = end


def _shortest(values: NDArray[np.float64]) -> NDArray[np.float64] | NDArray[np.int64]:
    """Whole numbers are written faster, and shorter, as such. A rollup has no negative zero."""
    whole = (np.rint(values) == values) & (np.abs(values) <= MAX_WHOLE)
    return values.astype(np.int64) if whole.all() else values
