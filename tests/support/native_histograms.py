"""Native histograms, as remote write sends them and as the query API shows them."""

from __future__ import annotations

import json
import math
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.samples.columns import Samples
from tests.support.remote_write import of_bytes, of_double, of_int, varint, zigzag

CUSTOM_SCHEMA = -53
Points = dict[tuple[tuple[str, str], ...], list[tuple[int, bytes]]]


def points(samples: Samples) -> Points:
    """Times and bits by labels."""
    return {
        tuple(sorted(json.loads(labels).items())): [
            (ms, struct.pack("<d", value))
            for ms, value in zip(
                samples.timestamps_ms[start:end].tolist(),
                samples.values[start:end].tolist(),
                strict=True,
            )
        ]
        for labels, start, end in zip(samples.series, samples.starts, samples.ends, strict=True)
    }


def go_text(number: float) -> str:
    """As Prometheus writes a float into JSON."""
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    if number and not 1e-6 <= abs(number) < 1e21:
        return str(np.format_float_scientific(number, trim="-", exp_digits=2))
    return str(np.format_float_positional(number, trim="-"))


@dataclass(frozen=True)
class Native:
    """A histogram; buckets by index. Spans go on over up to ``most_empty`` empty buckets."""

    count: float = 0
    total: float = 0.0
    schema: int = 0
    threshold: float = 0.0
    zeros: float = 0
    negative: Mapping[int, float] = field(default_factory=dict)
    positive: Mapping[int, float] = field(default_factory=dict)
    custom: Sequence[float] = ()
    is_float: bool = False
    most_empty: int = 0
    is_packed: bool = True

    def message(self, ms: int) -> bytes:
        """The fields of ``prompb.Histogram``."""
        if self.is_float:
            counts = of_double(2, self.count) + of_double(7, self.zeros)
        else:
            counts = of_int(1, int(self.count)) + of_int(6, int(self.zeros))
        content = counts + of_double(3, self.total) + varint(4 << 3) + zigzag(self.schema)
        content += of_double(5, self.threshold)
        content += self._side(8, self.negative) + self._side(11, self.positive)
        return content + of_int(15, ms) + self._floats(16, self.custom)

    def sent(self, ms: int, number: int = 4) -> bytes:
        """As a field of a series; in 2.0 its number is 3."""
        return of_bytes(number, self.message(ms))

    def _side(self, number: int, buckets: Mapping[int, float]) -> bytes:
        spans: list[list[int]] = []
        counts: list[float] = []
        end: int | None = None
        for index in sorted(buckets):
            gap = index - (end or 0)
            if end is None or gap > self.most_empty:
                spans.append([gap, 0])
                gap = 0
            counts += [0] * gap + [buckets[index]]
            spans[-1][1] += gap + 1
            end = index + 1
        content = b"".join(
            of_bytes(number, varint(1 << 3) + zigzag(offset) + of_int(2, length))
            for offset, length in spans
        )
        if self.is_float:
            return content + self._floats(number + 2, counts)
        whole = [int(count) for count in counts]
        deltas = [after - before for before, after in zip([0, *whole], whole, strict=False)]
        if self.is_packed:
            return content + of_bytes(number + 1, b"".join(map(zigzag, deltas)))
        return content + b"".join(varint(number + 1 << 3) + zigzag(delta) for delta in deltas)

    def _floats(self, number: int, floats: Sequence[float]) -> bytes:
        if self.is_packed:
            return of_bytes(number, struct.pack(f"<{len(floats)}d", *floats)) if floats else b""
        return b"".join(of_double(number, each) for each in floats)

    def shown(self) -> dict[str, Any]:
        """What the query API shows of it; only of schemas whose bounds are powers of two."""
        buckets: list[list[Any]] = []
        for index in sorted(self.negative, reverse=True):
            lower, upper = -self._bound(index), -self._bound(index - 1)
            upper = -self.threshold if -self.threshold < upper < 0 else upper
            buckets.append([1, lower, upper, self.negative[index]])
        if self.zeros > 0:
            buckets.append([3, -self.threshold, self.threshold, self.zeros])
        for index in sorted(self.positive):
            lower, upper = self._bound(index - 1), self._bound(index)
            lower = self.threshold if 0 < lower < self.threshold else lower
            buckets.append([0, lower, upper, self.positive[index]])
        texts = [[rule, *map(go_text, map(float, rest))] for rule, *rest in buckets if rest[-1]]
        shown = {"count": go_text(float(self.count)), "sum": go_text(self.total)}
        return {**shown, "buckets": texts} if texts else shown

    def _bound(self, index: int) -> float:
        if self.schema == CUSTOM_SCHEMA:
            return (-math.inf, *self.custom, math.inf)[index + 1]
        assert self.schema <= 0
        exponent = index << -self.schema
        if exponent == 1024:
            return sys.float_info.max
        return math.inf if exponent > 1024 else math.ldexp(1.0, exponent)
