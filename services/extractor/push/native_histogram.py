"""Native histograms of remote write (``Histogram`` of ``prompb/types.proto`` of Prometheus; 2.0 has
the same fields), and the classic series that they are carried as: those that the pull makes of what
the query API shows of them.
"""

from __future__ import annotations

import math
import struct
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate, islice

import msgspec
import numpy as np

from common.samples.columns import Samples
from common.source.protobuf import (
    FIXED64,
    LENGTH,
    VARINT,
    Malformed,
    check_passed_over,
    skipped,
    uvarint,
)
from services.extractor.push.bad_request import BadRequest
from services.extractor.push.write_request import is_message
from services.extractor.source.classic_series import Histogram, number_of_points, series_of

MOST_HISTOGRAM_BYTES = 64 << 10
# Of all that a request becomes in all of its feeds: the extractor has 384 MiB for everything. Its
# points are counted, their bytes rather over- than underestimated: a point has labels of its own,
# beside those of the series.
MOST_CARRIED_BYTES = 64 << 20
POINT_BYTES = 600
# What is sent counts too, so many times: a byte may be an empty bucket, which no point is made of
# and which has to be read all the same.
SENT_TIMES = 16

# The value by which Prometheus says that a series has ended; queries do not show it.
STALE_BITS = 0x7FF0000000000002

_COUNT, _COUNT_FLOAT, _SUM, _SCHEMA, _THRESHOLD, _ZEROS, _ZEROS_FLOAT = range(1, 8)
# Spans, deltas of whole counts and counts of float histograms, of the negative and the positive
# buckets.
_NEGATIVE, _POSITIVE = (8, 9, 10), (11, 12, 13)
_TIMESTAMP, _CUSTOM_BOUNDS = 15, 16
_SPANS, _DELTAS, _FLOATS = (8, 11), (9, 12), (10, 13, 16)
_WHOLE = (_COUNT, _SCHEMA, _ZEROS, _TIMESTAMP)
_EIGHTS = (_COUNT_FLOAT, _SUM, _THRESHOLD, _ZEROS_FLOAT)
_KNOWN = frozenset((*_WHOLE, *_EIGHTS, *_SPANS, *_DELTAS, *_FLOATS))
# Those of a span, as tags.
_OFFSET, _LENGTH = 1 << 3 | VARINT, 2 << 3 | VARINT
_ZERO = bytes(8)

_SCHEMAS = range(-4, 9)
_CUSTOM_SCHEMA = -53
# 2^-(1/2), 2^-(3/4), 2^-(7/8), …: how far Prometheus' tables of bounds go in each schema with their
# first step. The others are products of these, rounded as there, which is not to the nearest.
_FIRST_BOUNDS = (
    *(0.7071067811865475, 0.5946035575013605, 0.5452538663326288, 0.5221368912137069),
    *(0.5109485743270583, 0.5054446430258502, 0.5027149505564014, 0.5013556375251013),
)
_LABELS = msgspec.json.Decoder(dict[str, str])


@dataclass(slots=True)
class Carrying:
    """Makes classic series of the histograms of one request, for all feeds, not without end."""

    _bytes: int = 0

    def of_series(
        self, series: bytes, messages: Iterable[bytes], head_ms: float = -math.inf
    ) -> Samples:
        """What those of one series become, whose labels are given as JSON.

        A marker that the series has ended is one sample of the series itself. Those up to
        ``head_ms`` are counted, and not read. Raises :class:`BadRequest`.
        """
        stale_ms: list[int] = []

        def histograms() -> Iterator[tuple[int, Histogram | None]]:
            for message in messages:
                self._count(len(message) * SENT_TIMES)
                time_ms, histogram, is_stale = read(message, head_ms)
                if is_stale:
                    stale_ms.append(time_ms)
                    continue
                if histogram is not None:
                    self._count(number_of_points(histogram) * (len(series) + POINT_BYTES))
                yield time_ms, histogram

        carried = series_of(_LABELS.decode(series), histograms())
        if not stale_ms:
            return carried
        ends = Samples(
            (series,),
            np.array([len(stale_ms)], np.int64),
            np.array(stale_ms, np.int64),
            np.full(len(stale_ms), STALE_BITS, np.uint64).view(np.float64),
        )
        return Samples.join([ends, carried])

    def _count(self, more_bytes: int) -> None:
        self._bytes += more_bytes
        if self._bytes > MOST_CARRIED_BYTES:
            raise BadRequest(
                f"the native histograms of a request become more than {MOST_CARRIED_BYTES} bytes: "
                "lower max_samples_per_send of the sender"
            )


def read(message: bytes, head_ms: float = -math.inf) -> tuple[int, Histogram | None, bool]:
    """The time in ms of a histogram, the histogram, and whether it says that its series has ended.

    None for one up to ``head_ms``, and for one that Prometheus would refuse. Raises
    :class:`BadRequest`.
    """
    if len(message) > MOST_HISTOGRAM_BYTES:
        raise BadRequest(f"a native histogram has more than {MOST_HISTOGRAM_BYTES} bytes")
    with is_message("message of native histograms"):
        time_ms = _time_ms(message)
        if time_ms <= head_ms:
            return time_ms, None, False
        found = _Fields.of(message)
    is_stale = found.eights.get(_SUM) == STALE_BITS.to_bytes(8, "little")
    return time_ms, None if is_stale else found.histogram(), is_stale


@dataclass(slots=True)
class _Fields:
    """What a message has, by the numbers of its fields; ``eights``: floats, as they stand there."""

    whole: dict[int, int] = field(default_factory=dict)
    eights: dict[int, bytes] = field(default_factory=dict)
    spans: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    deltas: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    floats: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, message: bytes) -> _Fields:
        """Raises ``IndexError`` and :class:`Malformed`."""
        found = cls()
        for number, kind, first, end in _places(message):
            found._add(number, kind, message[first:end])
        return found

    def _add(self, number: int, kind: int, content: bytes) -> None:
        if number in _SPANS and kind == LENGTH:
            self.spans[number].append(_span(content))
        elif number in _DELTAS and kind in (LENGTH, VARINT):  # packed, or one by one
            self.deltas[number] += map(_signed, _numbers(content))
        elif number in _FLOATS and kind in (LENGTH, FIXED64):
            if len(content) % 8:
                raise Malformed("a list of floats is cut off")
            self.floats[number] += struct.unpack(f"<{len(content) // 8}d", content)
        elif number in _WHOLE and kind == VARINT:
            self.whole[number], _ = uvarint(content, 0)
        elif number in _EIGHTS and kind == FIXED64:
            self.eights[number] = content
        else:  # the hint of a reset, or a field of a later version
            check_passed_over(number << 3, _KNOWN)

    def histogram(self) -> Histogram | None:
        """None for one that Prometheus would refuse."""
        is_float = _COUNT_FLOAT in self.eights
        if is_float:
            count, zeros = self._float(_COUNT_FLOAT), self._float(_ZEROS_FLOAT)
        else:
            count, zeros = (float(self.whole.get(number, 0)) for number in (_COUNT, _ZEROS))
        schema, threshold = _signed(self.whole.get(_SCHEMA, 0)), self._float(_THRESHOLD)
        if schema != _CUSTOM_SCHEMA and schema not in _SCHEMAS:
            return None
        bounds = _Bounds(schema, self.floats[_CUSTOM_BOUNDS])
        negative, positive = (
            self._placed(numbers, is_float, bounds) for numbers in (_NEGATIVE, _POSITIVE)
        )
        if negative is None or positive is None:
            return None
        buckets: list[tuple[float, float, float]] = []
        for index, number in reversed(negative):
            lower, upper = -bounds.at(index), -bounds.at(index - 1)
            buckets.append((lower, -threshold if -threshold < upper < 0 else upper, number))
        if zeros > 0:
            buckets.append((-threshold, threshold, zeros))
        for index, number in positive:
            lower, upper = bounds.at(index - 1), bounds.at(index)
            buckets.append((threshold if 0 < lower < threshold else lower, upper, number))
        filled = [(_text(lower), _text(upper), number) for lower, upper, number in buckets]
        return Histogram(count, self._float(_SUM), filled)

    def _float(self, number: int) -> float:
        (found,) = struct.unpack("<d", self.eights.get(number, _ZERO))
        return float(found)

    def _placed(
        self, numbers: tuple[int, int, int], is_float: bool, bounds: _Bounds
    ) -> list[tuple[int, float]] | None:
        """The buckets of one sign that are not empty: index and count of each.

        None where spans and counts differ, or where a bucket, empty or not, has no bounds.
        """
        of_spans, of_deltas, of_floats = numbers
        spans = self.spans[of_spans]
        counts: Sequence[float] = self.floats[of_floats]
        if not is_float:
            counts = [float(count) for count in accumulate(self.deltas[of_deltas])]
        if sum(length for _, length in spans) != len(counts) or any(
            offset < 0 for offset, _ in spans[1:]
        ):
            return None
        placed: list[tuple[int, float]] = []
        left, index = iter(counts), 0
        for offset, length in spans:
            index += offset
            if length and not bounds.hold(index, index + length - 1, numbers == _NEGATIVE):
                return None
            placed += ((at, count) for at, count in enumerate(islice(left, length), index) if count)
            index += length
        return placed


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The upper bounds of the positive buckets, by index."""

    schema: int
    custom: Sequence[float]

    def hold(self, first: int, last: int, is_negative: bool) -> bool:
        """Whether all of the buckets from one index to another have bounds."""
        if self.schema != _CUSTOM_SCHEMA:
            return True
        return not is_negative and first >= 0 and last <= len(self.custom)

    def at(self, index: int) -> float:
        """As ``getBound`` of Prometheus' model/histogram/generic.go."""
        if self.schema == _CUSTOM_SCHEMA:
            if 0 <= index < len(self.custom):
                return self.custom[index]
            return -math.inf if index < 0 else math.inf
        if self.schema < 0:
            fraction, exponent = 0.5, (index << -self.schema) + 1
        else:
            place = index & (1 << self.schema) - 1
            fraction, exponent = _fractions(self.schema)[place], (index >> self.schema) + 1
        if exponent <= 1024:
            return math.ldexp(fraction, exponent)
        # The largest number has a bucket that ends with it, so that only infinity is in the next.
        return sys.float_info.max if (fraction, exponent) == (0.5, 1025) else math.inf


def _places(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The number and the kind of each field, and from where to where its content is."""
    position, end = 0, len(message)
    while position < end:
        tag, first = uvarint(message, position)
        number, kind = tag >> 3, tag & 7
        position = skipped(message, first, kind, end)
        if kind == LENGTH:
            _, first = uvarint(message, first)
        yield number, kind, first, position


def _time_ms(message: bytes) -> int:
    """Alone, because most of the work is the other fields; raises as :meth:`_Fields.of`."""
    time_ms = 0
    for number, kind, first, _ in _places(message):
        if number == _TIMESTAMP and kind == VARINT:
            time_ms, _ = uvarint(message, first)
    return time_ms - (time_ms >> 63 << 64)


@lru_cache(maxsize=len(_SCHEMAS))
def _fractions(schema: int) -> list[float]:
    """Its bounds from 0.5 to 1, without the 1."""
    bounds = [0.5]
    for first in _FIRST_BOUNDS[:schema]:
        bounds = [each for bound in bounds for each in (bound, bound * (2 * first))]
    return bounds


def _text(bound: float) -> str:
    """As Prometheus writes it: Go's shortest digits, with an exponent below 1e-6 and from 1e21."""
    if math.isinf(bound):
        return "+Inf" if bound > 0 else "-Inf"
    text = repr(bound)
    if "e" in text and 1e-6 <= abs(bound) < 1e21:
        text = f"{Decimal(text):f}"
    return text.removesuffix(".0")


def _span(content: bytes) -> tuple[int, int]:
    """How far a span begins behind the one before it, and how many buckets it has."""
    found = {_OFFSET: 0, _LENGTH: 0}
    position, end = 0, len(content)
    while position < end:
        tag, first = uvarint(content, position)
        position = skipped(content, first, tag & 7, end)
        if tag in found:
            found[tag], _ = uvarint(content, first)
        else:
            check_passed_over(tag, (1, 2))
    return _signed(found[_OFFSET]), found[_LENGTH]


def _numbers(content: bytes) -> Iterator[int]:
    position = 0
    while position < len(content):
        number, position = uvarint(content, position)
        yield number


def _signed(number: int) -> int:
    """That of a ``sint``, which alternates between signs."""
    return number >> 1 ^ -(number & 1)
