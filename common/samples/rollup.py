"""What a tier keeps of raw samples: their aggregates over buckets of time.

A bucket ``(t - resolution_ms, t]`` ends at a multiple of the resolution. Its samples become one
point at ``t``, with a field for each aggregate, in the order of :data:`AGGREGATES`. A bucket
without samples has no point. What comes out does not depend on how time was cut into windows:

``sum`` adds in the order of time, beginning with 0, in float64. ``avg`` is that divided by the
count. ``stddev`` is of the population: the root of (the sum of the squared distances from ``avg``,
in the order of time, divided by the count). ``increase`` adds, in the order of time, how much each
sample is more than the one before it, or the sample itself where it is less (a counter that began
again); before the first one of a bucket stands the last one of the :data:`LEAD_IN_MS` before the
bucket, and where there is none, it adds nothing. Nothing is extrapolated. A zero has no sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from common.samples.line_names import FIELD, LONG_KEY_BYTES, split_field, with_field

AGGREGATES = ("avg", "min", "max", "sum", "count", "first", "last", "stddev", "increase")

# How far before a bucket the sample may be that its increase begins with: Prometheus' look-back.
LEAD_IN_MS = 300_000

_KEY_PREFIX = b"label_"
_RESERVED_TAG = re.compile(b"(?:" + _KEY_PREFIX + b")*(?:" + "|".join(AGGREGATES).encode() + b")")


@dataclass(frozen=True, slots=True)
class Rollup:
    """``aggregates`` over every ``resolution_ms``."""

    resolution_ms: int
    aggregates: tuple[str, ...]

    @classmethod
    def of(cls, resolution_ms: int, aggregates: Iterable[str]) -> Rollup:
        """With the aggregates in order, each once."""
        wanted = frozenset(aggregates)
        return cls(resolution_ms, tuple(name for name in AGGREGATES if name in wanted))

    @property
    def lead_in_ms(self) -> int:
        """How far before its start a window is read."""
        return LEAD_IN_MS if "increase" in self.aggregates else 0


def rollup_key(key: bytes) -> bytes:
    """The series key of a rollup, given that of the samples; both with the field, if it has one.

    A tag named as an aggregate gets a prefix, because a point cannot have a tag and a field of one
    name. Names that look like mapped ones are mapped too, so that the two stay apart.
    """
    return _remembered(key) if len(key) <= LONG_KEY_BYTES else _rollup_key(key)


def _rollup_key(key: bytes) -> bytes:
    if not any(b",%s=" % name in key or b"_%s=" % name in key for name in _NAMES):
        return key
    series, field = split_field(key)
    measurement, *tags = _split_unescaped(series)
    pairs = (tag.partition(b"=") for tag in tags)  # a tag key with an escaped = is no aggregate
    mapped = sorted(
        (_KEY_PREFIX + name if _RESERVED_TAG.fullmatch(name) else name, value)
        for name, _, value in pairs
    )
    series = b",".join((measurement, *(b"=".join(pair) for pair in mapped)))
    return with_field(series, field) if field else series


_remembered = lru_cache(maxsize=100_000)(_rollup_key)


_NAMES = tuple(name.encode() for name in AGGREGATES)
_PART = re.compile(rb"(?:\\.|[^,\\])*", re.DOTALL)


def _split_unescaped(key: bytes) -> list[bytes]:
    """The parts of a series key between its commas, as they are escaped."""
    parts, start = [], 0
    while start <= len(key):
        found = _PART.match(key, start)
        assert found is not None
        parts.append(found[0])
        start = found.end() + 1
    return parts


def field_key(key: bytes, aggregate: str) -> bytes:
    """What stands for the series key in the digest of one field of a rollup: key and field.

    A series key has no blank that is not escaped, so it is no other series' key.
    """
    name = aggregate.encode()
    return key + b"_" + name if split_field(key)[1] else with_field(key, name)


def aggregate_field(field: str, aggregate: str) -> str:
    """The field of an aggregate, given that of the samples; no aggregate has a ``_``."""
    return aggregate if field == FIELD else f"{field}_{aggregate}"


def sample_field(field: str) -> str | None:
    """The reverse: the field of the samples; None for what is no aggregate's."""
    if field in AGGREGATES:
        return FIELD
    of_samples, _, aggregate = field.rpartition("_")
    return of_samples if of_samples and aggregate in AGGREGATES else None
