"""The lines of many samples a series: what is paid once per sample is what counts there.

The columns are written as "value timestamp" lines in one go by polars, and each series' lines get
its key in front by one replacement of the line breaks between them: work per series, none per
sample.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from common.samples.columns import Samples
from common.samples.series import IntegerKey
from services.transformer.line_protocol import are_whole
from services.transformer.short_lines import line_starts

_LINE_BREAK = ord("\n")


def long_lines(kept: Samples) -> Iterator[bytes]:
    """The lines of one series after the other, each line with its break in *front*.

    Series of whole numbers come first: those are written faster by themselves.
    """
    whole_series = np.logical_and.reduceat(are_whole(kept.values), kept.starts)
    if whole_series.all():
        yield from _prefixed(kept, kept.values.astype(np.int64))
    elif not whole_series.any():
        yield from _prefixed(kept, kept.values)
    else:
        part = kept.of_series(whole_series)
        yield from _prefixed(part, part.values.astype(np.int64))
        part = kept.of_series(~whole_series)
        yield from _prefixed(part, part.values)


def _prefixed(kept: Samples, values: NDArray[np.float64] | NDArray[np.int64]) -> Iterator[bytes]:
    buffer = io.BytesIO()
    buffer.write(b"\n")
    frame = pl.DataFrame([pl.Series("value", values), pl.Series("time", kept.timestamps_ms)])
    frame.write_csv(buffer, include_header=False, separator=" ")
    text = buffer.getvalue()
    line_breaks = np.flatnonzero(np.frombuffer(text, np.uint8) == _LINE_BREAK)
    start = 0
    line_ends = line_breaks[kept.ends].tolist()
    for key, line_start, end in zip(kept.keys, line_starts(kept.keys), line_ends, strict=True):
        lines = text[start:end]
        if isinstance(key, IntegerKey):
            lines = lines.replace(b" ", b"i ")
        yield lines.replace(b"\n", b"\n" + line_start)
        start = end
