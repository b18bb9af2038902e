"""``io.prometheus.write.v2.Request`` of remote write 2.0, read by hand
(``prompb/io/prometheus/write/v2/types.proto`` of Prometheus).

Its labels are numbers that refer to a table of texts. Each label set is written as 1.0 does, which
is the same from one request to the next, so that what becomes of a series is remembered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from common.source.protobuf import (
    LENGTH,
    VARINT,
    Malformed,
    check_passed_over,
    inside,
    message,
    skipped,
    uvarint,
)
from services.extractor.push.bad_request import BadRequest
from services.extractor.push.write_request import WriteRequest, is_message

MOST_SYMBOLS = 500_000
# A text may be referred to any number of times.
MOST_LABELS_BYTES = 32 << 20

_SYMBOL, _TIMESERIES = (number << 3 | LENGTH for number in (4, 5))
# Fields of 1.0, which 2.0 has reserved to tell them apart.
_OF_OTHER = (1 << 3 | LENGTH, 2 << 3 | LENGTH, 3 << 3 | LENGTH)
_REFERENCES, _SAMPLE, _HISTOGRAM = (number << 3 | LENGTH for number in (1, 2, 3))
_REFERENCE = 1 << 3 | VARINT
# Two numbers, of which none is longer than 64 bits take: else what has no end would be gone through
# again from each of its bytes.
_PAIR = re.compile(b"(?:[\x80-\xff]{0,9}[\\0-\x7f]){2}", re.DOTALL)
_ENDLESS = re.compile(b"[\x80-\xff]{10}", re.DOTALL)


def parse_v2(body: bytes) -> WriteRequest:
    """Read an unpacked body; raises :class:`BadRequest`."""
    symbols: list[bytes] = []
    series: list[tuple[int, int]] = []
    request = WriteRequest()
    position, end = 0, len(body)
    with is_message("Request of 2.0"):
        while position < end:
            tag, position = uvarint(body, position)
            if tag in _OF_OTHER:
                raise Malformed("it is a WriteRequest of 1.0, which its Content-Type must say")
            if tag not in (_SYMBOL, _TIMESERIES):  # a field of a later version
                check_passed_over(tag, (4, 5))
                position = skipped(body, position, tag & 7, end)
                continue
            length, position = uvarint(body, position)
            last = inside(position + length, end)
            if tag == _TIMESERIES:
                series.append((position, last))
                request.check_series(len(series))
            else:
                symbols.append(body[position:last])
                if len(symbols) > MOST_SYMBOLS:
                    raise BadRequest(f"a request may have {MOST_SYMBOLS} symbols")
            position = last
        if (series or symbols) and symbols[:1] != [b""]:
            raise BadRequest("the first symbol is not empty: 2.0 wants it to be")
        labels = _Labels(symbols)
        for position, end in series:
            _read_series(request, labels, body, position, end)
    return request


def _read_series(
    request: WriteRequest, labels: _Labels, body: bytes, position: int, end: int
) -> None:
    references = bytearray()
    samples = histograms = 0
    while position < end:
        tag, position = uvarint(body, position)
        if tag == _REFERENCES:
            length, position = uvarint(body, position)
            last = inside(position + length, end)
            references += body[position:last]
            position = last
        elif tag == _REFERENCE:  # one by one, as it also may be written
            first = position
            _, position = uvarint(body, first)
            references += body[first:position]
        elif tag == _SAMPLE:
            length, position = uvarint(body, position)
            last = inside(position + length, end)
            request.add_sample(body, position, last)
            samples += 1
            position = last
        else:  # exemplars, metadata, the time of creation, or a field of a later version
            first = position
            position = skipped(body, first, tag & 7, end)
            if tag == _HISTOGRAM:
                request.add_histogram(body, first, position)
                histograms += 1
            else:
                check_passed_over(tag, (1, 2, 3))
        request.check_labels(len(references))
    request.add_series(labels.label_set(request, bytes(references)), samples, histograms)


@dataclass(slots=True)
class _Labels:
    """Label sets out of a request's table; ``_known``: labels by the two references, as sent."""

    symbols: list[bytes]
    _known: dict[bytes, bytes] = field(default_factory=dict)
    _known_bytes: int = 0
    _bytes: int = 0

    def label_set(self, request: WriteRequest, references: bytes) -> bytes:
        """That of the next series of ``request``, as 1.0 writes it."""
        pairs = _PAIR.findall(references)
        if sum(map(len, pairs)) != len(references):
            if _ENDLESS.search(references):
                raise Malformed("a number has no end")
            raise BadRequest(f"series {len(request.counts)} has references that are no pairs")
        found = [self._known.get(pair) or self._label(request, pair) for pair in pairs]
        found_bytes = sum(map(len, found))
        request.check_labels(found_bytes)
        self._bytes += found_bytes
        _check_all(self._bytes)
        return b"".join(found)

    def _label(self, request: WriteRequest, pair: bytes) -> bytes:
        first, position = uvarint(pair, 0)
        second, _ = uvarint(pair, position)
        for reference in (first, second):
            if reference >= len(self.symbols):
                raise BadRequest(
                    f"series {len(request.counts)} refers to symbol {reference}: "
                    f"there are {len(self.symbols)}"
                )
        name, text = self.symbols[first], self.symbols[second]
        request.check_labels(len(name) + len(text))
        label = message(1, message(1, name) + message(2, text))
        self._known[pair] = label
        self._known_bytes += len(label)
        _check_all(self._known_bytes)
        return label


def _check_all(labels_bytes: int) -> None:
    if labels_bytes > MOST_LABELS_BYTES:
        raise BadRequest(f"the labels of all series are above {MOST_LABELS_BYTES} bytes")
