"""``io.prometheus.write.v2.Request`` of remote write 2.0, read by hand
(``prompb/io/prometheus/write/v2/types.proto`` of Prometheus).

Its labels are numbers that refer to a table of texts. Each label set is written as 1.0 does, which
is the same from one request to the next, so that what becomes of a series is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from common.source.protobuf import LENGTH, VARINT, Malformed, inside, message, skipped, uvarint
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


def parse_v2(body: bytes) -> WriteRequest:
    """Read an unpacked body; raises :class:`BadRequest`."""
    symbols: list[bytes] = []
    series: list[tuple[int, int]] = []
    position, end = 0, len(body)
    with is_message("Request of 2.0"):
        while position < end:
            tag, position = uvarint(body, position)
            if tag in _OF_OTHER:
                raise Malformed("it is a WriteRequest of 1.0, which its Content-Type must say")
            if tag not in (_SYMBOL, _TIMESERIES):  # a field of a later version
                position = skipped(body, position, tag & 7, end)
                continue
            length, position = uvarint(body, position)
            last = inside(position + length, end)
            if tag == _TIMESERIES:
                series.append((position, last))
            else:
                symbols.append(body[position:last])
                if len(symbols) > MOST_SYMBOLS:
                    raise BadRequest(f"a request may have {MOST_SYMBOLS} symbols")
            position = last
        if (series or symbols) and symbols[:1] != [b""]:
            raise BadRequest("the first symbol is not empty: 2.0 wants it to be")
        request, labels = WriteRequest(), _Labels(symbols)
        for position, end in series:
            _read_series(request, labels, body, position, end)
    return request


def _read_series(
    request: WriteRequest, labels: _Labels, body: bytes, position: int, end: int
) -> None:
    references: list[int] = []
    samples = histograms = 0
    while position < end:
        tag, position = uvarint(body, position)
        if tag == _REFERENCES:
            length, position = uvarint(body, position)
            last = inside(position + length, end)
            request.check_labels(length)
            packed = body[position:last]
            if packed.isascii():  # each is a byte
                references += packed
                position = last
            while position < last:
                reference, position = uvarint(body, position)
                references.append(reference)
            inside(position, last)
        elif tag == _REFERENCE:  # one by one, as it also may be written
            reference, position = uvarint(body, position)
            references.append(reference)
        elif tag == _SAMPLE:
            length, position = uvarint(body, position)
            last = inside(position + length, end)
            request.add_sample(body, position, last)
            samples += 1
            position = last
        else:  # exemplars, metadata, the time of creation, or a field of a later version
            histograms += tag == _HISTOGRAM
            position = skipped(body, position, tag & 7, end)
    request.add_series(labels.label_set(request, references), samples, histograms)


@dataclass(slots=True)
class _Labels:
    """Label sets out of a request's table; ``_known``: those labels that it refers to."""

    symbols: list[bytes]
    _known: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _bytes: int = 0

    def label_set(self, request: WriteRequest, references: list[int]) -> bytes:
        """That of the next series of ``request``, as 1.0 writes it."""
        row = len(request.counts)
        if len(references) % 2:
            raise BadRequest(
                f"series {row} refers to {len(references)} symbols, which are no pairs"
            )
        found: list[bytes] = []
        found_bytes = 0
        for pair in zip(references[::2], references[1::2], strict=True):
            label = self._known.get(pair)
            if label is None:
                name, text = (self._symbol(row, reference) for reference in pair)
                label = message(1, message(1, name) + message(2, text))
                self._known[pair] = label
            found.append(label)
            found_bytes += len(label)
            request.check_labels(found_bytes)
        self._bytes += found_bytes
        if self._bytes > MOST_LABELS_BYTES:
            raise BadRequest(f"the labels of all series are above {MOST_LABELS_BYTES} bytes")
        return b"".join(found)

    def _symbol(self, row: int, reference: int) -> bytes:
        if reference >= len(self.symbols):
            raise BadRequest(
                f"series {row} refers to symbol {reference}: there are {len(self.symbols)}"
            )
        return self.symbols[reference]
