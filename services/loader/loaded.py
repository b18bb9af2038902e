"""The digest of what was loaded of an entry, for the seal of its window.

Where the sink took all of it, that is what the transformer wrote into the entry. What the sink
refused is taken away, line by line. Lines of entries without a digest, as replayed ones are, are
digested here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from common.errors import WireError
from common.samples.seal import Digest, digest_of_series
from common.samples.series import FIELD
from common.state.verdict import Entry
from services.loader import payload
from services.loader.lines import Lines, LineStatus

# What follows the series key, as the transformer writes it; nothing else is digested.
_POINT = re.compile(
    rb" %s=(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?) (-?[0-9]{1,19})" % FIELD.encode()
)
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
    series: dict[bytes, list[tuple[int, float]]] = {}
    for line in lines:
        key_bytes = line.rfind(b" ", 0, max(0, line.rfind(b" ")))
        found = _POINT.fullmatch(line, key_bytes) if key_bytes > 0 else None
        if found is None or not _FEWEST_MS <= int(found[2]) <= _MOST_MS:
            raise ValueError(f"no line of ours: {line[:200]!r}")
        series.setdefault(line[:key_bytes], []).append((int(found[2]), float(found[1])))
    return sum((digest_of_series(*of_series) for of_series in series.items()), Digest())
