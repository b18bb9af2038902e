"""``prometheus.WriteRequest`` of remote write 1.0, read by hand
(``prompb/remote.proto``, ``prompb/types.proto`` of Prometheus), and what any request is read into.

Label sets stay as they were sent: most of them came before, and need not be read again.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from common.source.protobuf import (
    FIXED64,
    LENGTH,
    VARINT,
    Malformed,
    check_passed_over,
    inside,
    skipped,
    uvarint,
)
from services.extractor.push.bad_request import BadRequest

MOST_SERIES = 50_000
# An entry of the stream holds them all: it stays below what a post may have.
MOST_SAMPLES = 60_000
MOST_LABEL_SET_BYTES = 64 << 10

# Fields with the way in which they are written, as a tag of one byte.
_TIMESERIES = 1 << 3 | LENGTH
# Fields that 1.0 does not have, and 2.0 does; 2.0 has none of its.
_OF_OTHER = (4 << 3 | LENGTH, 5 << 3 | LENGTH)
_LABEL, _SAMPLE, _HISTOGRAM = (number << 3 | LENGTH for number in (1, 2, 4))
_VALUE, _TIMESTAMP = 1 << 3 | FIXED64, 2 << 3 | VARINT
_NAME, _TEXT = 1 << 3 | LENGTH, 2 << 3 | LENGTH
_ZERO = bytes(8)
# A sample as nearly all are: a value, and the six bytes of a time of these decades.
_USUAL_BYTES = 16
# The same at the end of a series, up to where its value begins.
_LAST_USUAL = bytes([_SAMPLE, _USUAL_BYTES, _VALUE])
_LAST_USUAL_BYTES = 2 + _USUAL_BYTES


@dataclass(slots=True)
class WriteRequest:
    """Series as columns, in the order in which they came; one may come more than once.

    ``label_sets``: of each series its labels as sent, ``prompb.Label`` after ``prompb.Label``.
    ``counts``: its samples. ``timestamps_ms`` and ``values`` (float64, little-endian): those of all
    samples. ``histograms``: how many native histograms it has; those of all series are in
    ``histogram_messages``, as sent.
    """

    label_sets: list[bytes] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    histograms: list[int] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    values: bytearray = field(default_factory=bytearray)
    histogram_messages: list[bytes] = field(default_factory=list)
    # Many samples of a request are of one scrape.
    _times_ms: dict[bytes, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: bytes, known: Container[bytes] = frozenset()) -> WriteRequest:
        """Read an unpacked body; raises :class:`BadRequest`.

        ``known``: label sets of requests before it, which are not read again.
        """
        request = cls()
        position, end = 0, len(body)
        with is_message():
            while position < end:
                tag, position = uvarint(body, position)
                if tag in _OF_OTHER:
                    raise Malformed("it is a Request of 2.0, which its Content-Type must say")
                if tag != _TIMESERIES:  # metadata, or a field of a later version
                    check_passed_over(tag, (1,))
                    position = skipped(body, position, tag & 7, end)
                    continue
                length, position = uvarint(body, position)
                last = inside(position + length, end)
                if not request._is_usual(body, position, last, known):
                    request._read_series(body, position, last)
                position = last
            request.check_series(len(request.counts))
        return request

    def _is_usual(self, body: bytes, position: int, end: int, known: Container[bytes]) -> bool:
        """Whether it is a series as nearly all are, which then is added: with known labels, and
        one sample of a time that came before.
        """
        labels_end = end - _LAST_USUAL_BYTES
        if labels_end <= position or not body.startswith(_LAST_USUAL, labels_end):
            return False
        label_set = body[position:labels_end]
        timestamp_ms = self._times_ms.get(body[end - 6 : end])
        if timestamp_ms is None or body[end - 7] != _TIMESTAMP or label_set not in known:
            return False
        self.label_sets.append(label_set)
        self.counts.append(1)
        self.histograms.append(0)
        self.timestamps_ms.append(timestamp_ms)
        self.values += body[end - 15 : end - 7]
        return True

    def _read_series(self, body: bytes, position: int, end: int) -> None:
        # Labels come first, and nothing in between, from every sender there is; others may as well.
        first_label = position
        parts: list[bytes] = []
        samples = histograms = 0
        in_labels = True
        while position < end:
            tag = body[position]
            if tag == _LABEL:
                if not in_labels:
                    first_label, in_labels = position, True
                length, position = uvarint(body, position + 1)
                position = inside(position + length, end)
                continue
            if in_labels:
                parts.append(body[first_label:position])
                in_labels = False
            if tag == _SAMPLE:
                length, position = uvarint(body, position + 1)
                last = inside(position + length, end)
                self.add_sample(body, position, last)
                samples += 1
                position = last
                continue
            tag, first = uvarint(body, position)
            position = skipped(body, first, tag & 7, end)
            if tag == _HISTOGRAM:
                self.add_histogram(body, first, position)
                histograms += 1
            else:
                check_passed_over(tag, (1, 2, 4))
        if in_labels:
            parts.append(body[first_label:position])
        label_set = parts[0] if len(parts) == 1 else b"".join(parts)
        self.add_series(label_set, samples, histograms)

    def add_series(self, label_set: bytes, samples: int, histograms: int) -> None:
        """A series, whose samples and histograms were added before; raises :class:`BadRequest`."""
        self.check_labels(len(label_set))
        self.label_sets.append(label_set)
        self.counts.append(samples)
        self.histograms.append(histograms)
        self.check_series(len(self.counts))

    def check_series(self, series: int) -> None:
        """Raise :class:`BadRequest` if a request may not have so many, or its samples so far."""
        samples = len(self.timestamps_ms) + len(self.histogram_messages)
        if series > MOST_SERIES or samples > MOST_SAMPLES:
            raise BadRequest(
                f"a request may have {MOST_SERIES} series and {MOST_SAMPLES} samples: "
                "lower max_samples_per_send of the sender"
            )

    def check_labels(self, size_bytes: int) -> None:
        """Raise :class:`BadRequest` if the labels of the next series are larger than any may be."""
        if size_bytes > MOST_LABEL_SET_BYTES:
            raise BadRequest(
                f"series {len(self.counts)} has more than {MOST_LABEL_SET_BYTES} bytes of labels"
            )

    def add_sample(self, body: bytes, position: int, end: int) -> None:
        """A sample: both versions write it alike. Raises ``IndexError`` and ``Malformed``."""
        usual = end - position == _USUAL_BYTES
        if usual and body[position] == _VALUE and body[position + 9] == _TIMESTAMP:
            written = body[position + 10 : end]
            known_ms = self._times_ms.get(written)
            if known_ms is not None:
                self.values += body[position + 1 : position + 9]
                self.timestamps_ms.append(known_ms)
                return
        self.check_series(len(self.counts))
        value, timestamp_ms = _ZERO, 0
        while position < end:
            tag = body[position]
            if tag == _VALUE:
                value = body[position + 1 : inside(position + 9, end)]
                position += 9
            elif tag == _TIMESTAMP:
                first = position + 1
                timestamp_ms, position = uvarint(body, first)
                inside(position, end)
                if timestamp_ms < 1 << 63:
                    self._times_ms[body[first:position]] = timestamp_ms
            else:
                tag, position = uvarint(body, position)
                check_passed_over(tag, (1, 2))
                position = skipped(body, position, tag & 7, end)
        self.values += value
        # An int64: a negative one is written as its two's complement.
        self.timestamps_ms.append(
            timestamp_ms if timestamp_ms < 1 << 63 else timestamp_ms - (1 << 64)
        )

    def add_histogram(self, body: bytes, position: int, end: int) -> None:
        """A native histogram, from its length on; raises ``IndexError`` and ``Malformed``."""
        _, first = uvarint(body, position)
        self.histogram_messages.append(body[first:end])
        self.check_series(len(self.counts))


def labels_of(label_set: bytes) -> dict[str, str]:
    """The labels of a series, as sent; without those that are empty, which are none.

    Raises :class:`BadRequest` for what no series may have.
    """
    labels: dict[str, str] = {}
    position = 0
    with is_message():
        while position < len(label_set):
            length, position = uvarint(label_set, position + 1)
            end = inside(position + length, len(label_set))
            name = text = ""
            while position < end:
                tag, position = uvarint(label_set, position)
                if tag not in (_NAME, _TEXT):
                    check_passed_over(tag, (1, 2))
                    position = skipped(label_set, position, tag & 7, end)
                    continue
                length, position = uvarint(label_set, position)
                last = inside(position + length, end)
                found = _text(label_set[position:last])
                name, text = (found, text) if tag == _NAME else (name, found)
                position = last
            if not name:
                raise BadRequest("a label has no name")
            if name in labels:
                raise BadRequest(f"a series has the label {name!r:.100} twice")
            labels[name] = text
    if not labels.get("__name__"):
        raise BadRequest(f"a series has no name (__name__): {labels!r:.200}")
    return {name: text for name, text in labels.items() if text}


def _text(written: bytes) -> str:
    try:
        return written.decode()
    except UnicodeDecodeError:
        raise BadRequest("a label is not UTF-8") from None


@contextmanager
def is_message(kind: str = "WriteRequest") -> Iterator[None]:
    """What cannot be read inside is a :class:`BadRequest`: no ``kind``."""
    try:
        yield
    except IndexError:
        raise BadRequest(f"the body is no {kind}: it is cut off") from None
    except Malformed as error:
        raise BadRequest(f"the body is no {kind}: {error}") from None
