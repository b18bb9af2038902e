"""Label sets as remote read sends them, made into what the query API sends: JSON objects."""

from __future__ import annotations

import msgspec

from common.source.protobuf import LENGTH, Malformed, inside, uvarint
from common.source.remote_read.doubt import Doubt

# Label sets that are remembered from one window to the next, as they were sent.
REMEMBERED_BYTES = 8 << 20

_NAME, _VALUE = 1 << 3 | LENGTH, 2 << 3 | LENGTH


class LabelSets:
    """Makes each label set once, as long as it comes again."""

    def __init__(self, remembered_bytes: int = REMEMBERED_BYTES) -> None:
        self._remembered_bytes = remembered_bytes
        self._known: dict[bytes, bytes] = {}
        self._known_bytes = 0

    def json(self, sent: bytes) -> bytes:
        """One label set, ``prompb.Label`` after ``prompb.Label``, as a JSON object.

        Raises :class:`Doubt` for what is no label set.
        """
        found = self._known.get(sent)
        if found is None:
            try:
                found = msgspec.json.encode(_labels(sent))
            except (IndexError, Malformed, UnicodeDecodeError):
                raise Doubt("labels", f"sent {sent[:100]!r} where labels belong") from None
            self._known_bytes += len(sent)
            if self._known_bytes > self._remembered_bytes:
                self._known, self._known_bytes = {}, len(sent)
            self._known[sent] = found
        return found


def _labels(sent: bytes) -> dict[str, str]:
    labels: dict[str, str] = {}
    position = 0
    while position < len(sent):
        length, position = uvarint(sent, position + 1)
        end = inside(position + length, len(sent))
        name = value = ""
        while position < end:
            tag = sent[position]
            length, position = uvarint(sent, position + 1)
            text = sent[position : inside(position + length, end)].decode()
            position += length
            if tag == _NAME:
                name = text
            elif tag == _VALUE:
                value = text
            else:
                raise Doubt("labels", f"sent a label with an unknown field ({tag})")
        labels[name] = value
    return labels
