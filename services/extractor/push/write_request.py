"""``prometheus.WriteRequest`` of remote write 1.0, read by hand
(``prompb/remote.proto``, ``prompb/types.proto`` of Prometheus).

Label sets stay as they were sent: most of them came before, and need not be read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from services.extractor.push.bad_request import BadRequest

MOST_SERIES = 50_000
# An entry of the stream holds them all: it stays below what a post may have.
MOST_SAMPLES = 60_000
MOST_LABEL_SET_BYTES = 64 << 10

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
# Fields with the way in which they are written, as a tag of one byte.
_TIMESERIES = 1 << 3 | _LENGTH
_LABEL, _SAMPLE, _HISTOGRAM = (number << 3 | _LENGTH for number in (1, 2, 4))
_VALUE, _TIMESTAMP = 1 << 3 | _FIXED64, 2 << 3 | _VARINT
_NAME, _TEXT = 1 << 3 | _LENGTH, 2 << 3 | _LENGTH
_ZERO = bytes(8)
# A sample as nearly all are: a value, and the six bytes of a time of these decades.
_USUAL_BYTES = 16


@dataclass(slots=True)
class WriteRequest:
    """Series as columns, in the order in which they came; one may come more than once.

    ``label_sets``: of each series its labels as sent, ``prompb.Label`` after ``prompb.Label``.
    ``counts``: its samples. ``timestamps_ms`` and ``values`` (float64, little-endian): those of all
    samples. ``histograms``: its native histograms, which no point can hold.
    """

    label_sets: list[bytes] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    histograms: list[int] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    values: bytearray = field(default_factory=bytearray)
    # Many samples of a request are of one scrape.
    _times_ms: dict[bytes, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: bytes) -> WriteRequest:
        """Read an unpacked body; raises :class:`BadRequest`."""
        request = cls()
        position, end = 0, len(body)
        try:
            while position < end:
                tag, position = _uvarint(body, position)
                if tag != _TIMESERIES:  # metadata, or a field of a later version
                    position = _skipped(body, position, tag & 7, end)
                    continue
                length, position = _uvarint(body, position)
                last = _inside(position + length, end)
                request._add(body, position, last)
                position = last
        except IndexError:
            raise _malformed("it is cut off") from None
        return request

    def _add(self, body: bytes, position: int, end: int) -> None:
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
                length, position = _uvarint(body, position + 1)
                position = _inside(position + length, end)
                continue
            if in_labels:
                parts.append(body[first_label:position])
                in_labels = False
            if tag == _SAMPLE:
                length, position = _uvarint(body, position + 1)
                last = _inside(position + length, end)
                self._add_sample(body, position, last)
                samples += 1
                position = last
                continue
            tag, position = _uvarint(body, position)
            histograms += tag == _HISTOGRAM
            position = _skipped(body, position, tag & 7, end)
        if in_labels:
            parts.append(body[first_label:position])
        label_set = parts[0] if len(parts) == 1 else b"".join(parts)
        if len(label_set) > MOST_LABEL_SET_BYTES:
            raise BadRequest(
                f"series {len(self.counts)} has {len(label_set)} bytes of labels: "
                f"{MOST_LABEL_SET_BYTES} are taken"
            )
        self.label_sets.append(label_set)
        self.counts.append(samples)
        self.histograms.append(histograms)
        if len(self.counts) > MOST_SERIES or len(self.timestamps_ms) > MOST_SAMPLES:
            raise BadRequest(
                f"a request may have {MOST_SERIES} series and {MOST_SAMPLES} samples: "
                "lower max_samples_per_send of the sender"
            )

    def _add_sample(self, body: bytes, position: int, end: int) -> None:
        usual = end - position == _USUAL_BYTES
        if usual and body[position] == _VALUE and body[position + 9] == _TIMESTAMP:
            written = body[position + 10 : end]
            known_ms = self._times_ms.get(written)
            if known_ms is not None:
                self.values += body[position + 1 : position + 9]
                self.timestamps_ms.append(known_ms)
                return
        value, timestamp_ms = _ZERO, 0
        while position < end:
            tag = body[position]
            if tag == _VALUE:
                value = body[position + 1 : _inside(position + 9, end)]
                position += 9
            elif tag == _TIMESTAMP:
                first = position + 1
                timestamp_ms, position = _uvarint(body, first)
                _inside(position, end)
                if timestamp_ms < 1 << 63:
                    self._times_ms[body[first:position]] = timestamp_ms
            else:
                tag, position = _uvarint(body, position)
                position = _skipped(body, position, tag & 7, end)
        self.values += value
        # An int64: a negative one is written as its two's complement.
        self.timestamps_ms.append(
            timestamp_ms if timestamp_ms < 1 << 63 else timestamp_ms - (1 << 64)
        )


def labels_of(label_set: bytes) -> dict[str, str]:
    """The labels of a series, as sent; without those that are empty, which are none.

    Raises :class:`BadRequest` for what no series may have.
    """
    labels: dict[str, str] = {}
    position = 0
    try:
        while position < len(label_set):
            length, position = _uvarint(label_set, position + 1)
            end = _inside(position + length, len(label_set))
            name = text = ""
            while position < end:
                tag, position = _uvarint(label_set, position)
                if tag not in (_NAME, _TEXT):
                    position = _skipped(label_set, position, tag & 7, end)
                    continue
                length, position = _uvarint(label_set, position)
                last = _inside(position + length, end)
                found = label_set[position:last].decode()
                name, text = (found, text) if tag == _NAME else (name, found)
                position = last
            if not name:
                raise BadRequest("a label has no name")
            if name in labels:
                raise BadRequest(f"a series has the label {name!r:.100} twice")
            labels[name] = text
    except IndexError:
        raise _malformed("it is cut off") from None
    except UnicodeDecodeError:
        raise BadRequest("a label is not UTF-8") from None
    if not labels.get("__name__"):
        raise BadRequest(f"a series has no name (__name__): {labels!r:.200}")
    return {name: text for name, text in labels.items() if text}


def _inside(position: int, end: int) -> int:
    if position > end:
        raise _malformed("a field ends behind what it is in")
    return position


def _uvarint(content: bytes, position: int) -> tuple[int, int]:
    """The number at a position, and the position behind it; IndexError where the text ends."""
    byte = content[position]
    if byte < 0x80:
        return byte, position + 1
    number, shift = byte & 0x7F, 7
    while byte >= 0x80:
        position += 1
        byte = content[position]
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise _malformed("a number has no end")
    return number & (1 << 64) - 1, position + 1


def _skipped(content: bytes, position: int, kind: int, end: int) -> int:
    """The position behind a field that is not read."""
    if kind == _VARINT:
        _, position = _uvarint(content, position)
    elif kind == _LENGTH:
        length, position = _uvarint(content, position)
        position += length
    elif kind in (_FIXED64, _FIXED32):
        position += 8 if kind == _FIXED64 else 4
    else:
        raise _malformed(f"a field of kind {kind}")
    return _inside(position, end)


def _malformed(why: str) -> BadRequest:
    return BadRequest(f"the body is no WriteRequest: {why}")
