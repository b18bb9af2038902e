"""The digest of what was loaded of an entry, for the seal of its window.

Where the sink took all of it, that is what the transformer wrote into the entry. What the sink
refused is taken away, line by line. Lines of entries without a digest, as replayed ones are, are
digested here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from common.errors import WireError
from common.samples.line_names import FIELD, split_field, with_field
from common.samples.rollup import sample_field
from common.samples.seal import Digest, digest_of_series
from common.state.verdict import Entry
from services.loader import payload
from services.loader.lines import Lines, LineStatus

# A field as the transformer writes it; nothing else is digested.
_FIELD = re.compile(
    rb"((?:\\.|[^,=\\])+)=(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)(i?)(?:,|\Z)", re.DOTALL
)
_TIME = re.compile(rb"-?[0-9]{1,19}")
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
        head, _, time = line.rpartition(b" ")
        key, text = split_field(head)
        if not key or not _TIME.fullmatch(time) or not _FEWEST_MS <= int(time) <= _MOST_MS:
            raise ValueError(f"no line of ours: {line[:200]!r}")
        for name, value in _fields_of(text):
            of_field = key if name == FIELD.encode() else with_field(key, name)
            series.setdefault(of_field, []).append((int(time), value))
        points += 1
    whole = sum((digest_of_series(*of_series) for of_series in series.items()), Digest())
    return Digest(points, whole.sums)


def _fields_of(text: bytes) -> list[tuple[bytes, float]]:
    """The one of a sample, or the aggregates of a rollup."""
    found, end = [], 0
    while match := _FIELD.match(text, end):
        found.append((match[1], float(match[2])))
        end = match.end()
    of_samples = {sample_field(name.decode("utf-8", "replace")) for name, _ in found}
    if not found or end < len(text) or text.endswith(b","):
        raise ValueError(f"no line of ours: it has {text[:200]!r}")
    if len(found) > 1 and (None in of_samples or len(of_samples) > 1):
        raise ValueError(f"no line of ours: it has {text[:200]!r}")
    return found
