"""The digest of what was loaded of an entry, for the seal of its window.

Where the sink took all of it, that is what the transformer wrote into the entry. What the sink
refused is taken away, line by line. Lines of entries without a digest, as replayed ones are, are
digested here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from common.errors import WireError
from common.samples.rollup import AGGREGATES, field_key
from common.samples.seal import Digest, digest_of_series
from common.samples.series import FIELD
from common.state.verdict import Entry
from services.loader import payload
from services.loader.lines import Lines, LineStatus

# What follows the series key, as the transformer writes it; nothing else is digested.
_POINT = re.compile(rb" ([^ ]+) (-?[0-9]{1,19})")
_FIELD = re.compile(rb"([a-z]+)=(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
_FEWEST_MS, _MOST_MS = -(2**63), 2**63 - 1


def digest_of_entry(entry: Entry) -> Digest | None:
    """Of all points of an entry; ``None`` if that cannot be told."""
    try:
        if entry.digest:
            return Digest.parse(entry.samples, entry.digest)
        return digest_of_lines(payload.decode(entry.payload, entry.samples))
    except (ValueError, WireError):
        return None


def digest_of_written(entry: Entry, lines: Lines) -> Digest | None:
    """Of those of an entry's lines that were written; ``None`` if that cannot be told."""
    others = [
        text
        for text, status in zip(lines.text, lines.status, strict=True)
        if status != LineStatus.WRITTEN
    ]
    whole = digest_of_entry(entry)
    try:
        return whole and whole - digest_of_lines(others)
    except ValueError:
        return None


def digest_of_lines(lines: Iterable[bytes]) -> Digest:
    """Of lines as the transformer writes them; raises :class:`ValueError` for others."""
    points, series = 0, dict[bytes, list[tuple[int, float]]]()
    for line in lines:
        key_bytes = line.rfind(b" ", 0, max(0, line.rfind(b" ")))
        found = _POINT.fullmatch(line, key_bytes) if key_bytes > 0 else None
        if found is None or not _FEWEST_MS <= int(found[2]) <= _MOST_MS:
            raise ValueError(f"no line of ours: {line[:200]!r}")
        for name, value in _fields_of(found[1]):
            key = line[:key_bytes] if name == FIELD else field_key(line[:key_bytes], name)
            series.setdefault(key, []).append((int(found[2]), value))
        points += 1
    whole = sum((digest_of_series(*of_series) for of_series in series.items()), Digest())
    return Digest(points, whole.sums)


def _fields_of(text: bytes) -> Iterator[tuple[str, float]]:
    """The value alone, or the aggregates of a rollup."""
    parts = text.split(b",")
    for part in parts:
        found = _FIELD.fullmatch(part)
        name = found[1].decode() if found else ""
        if found is None or (name not in AGGREGATES and (name, len(parts)) != (FIELD, 1)):
            raise ValueError(f"no line of ours: it has {text[:200]!r}")
        yield name, float(found[2])
