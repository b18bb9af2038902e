"""Lines of entries, what became of each, and the dead letters made of those that were refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from common.samples.gzip_join import is_joinable
from common.samples.line_names import split_field
from common.state.verdict import DeadLetter, Entry
from services.loader import payload


class LineStatus(IntEnum):
    """What became of a line."""

    OPEN = 0
    WRITTEN = 1
    EXPIRED = 2  # older than the sink keeps
    REJECTED = 3  # refused alone
    TOO_LARGE = 4  # too large alone
    FAILED = 5  # the server fails at it, and at nothing else
    OUTSIDE_WINDOW = 6  # older or newer than may be written
    LIMITED = 7  # a limit of the sink is reached for its measurement or tag


BEYOND_RETENTION = "beyond_retention"
"""Why samples are dropped, or dead letters where nobody said how long the sink keeps points."""
LIMIT = "limit"

REASONS = {
    LineStatus.EXPIRED: BEYOND_RETENTION,
    LineStatus.REJECTED: "rejected",
    LineStatus.TOO_LARGE: "too_large",
    LineStatus.FAILED: "sink_failure",
    LineStatus.OUTSIDE_WINDOW: "outside_write_window",
    LineStatus.LIMITED: LIMIT,
}
"""Reasons of dead letters, by the status of their lines."""

BAD = frozenset({LineStatus.REJECTED, LineStatus.TOO_LARGE, LineStatus.FAILED})
"""What counts as rejected: the others are refused for a cause that the sink names."""
BAD_REASONS = frozenset(REASONS[status] for status in BAD)

CORRUPT = "corrupt"  # a dead letter that is a whole payload, because it is no lines

# Causes of one entry that get dead letters of their own; the others share one.
MAX_CAUSES = 16
MAX_DETAIL_CHARS = 2000
_COMPRESSED_FROM_BYTES = 64 << 10

_LINE = re.compile(r"unable to parse '.*?(?=': )", re.DOTALL)
_COUNTS = re.compile(
    r" dropped=\d+|(?<=dropped )\d+(?= points)| - oldest point .*|\d+ (?=points outside write)",
    re.DOTALL,
)
_MEASUREMENT = re.compile(rb"(?:\\.|[^\\, ])*", re.DOTALL)


@dataclass(slots=True)
class Lines:
    """Lines and what is known of each.

    ``messages`` are the sink's about those it refused. ``parts`` is how far an interrupted search
    had cut what is open; without it, what is open is one part.
    """

    text: list[bytes]
    status: bytearray = field(default_factory=bytearray)
    messages: dict[int, str] = field(default_factory=dict)
    parts: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.status:
            self.status = bytearray(len(self.text))

    @classmethod
    def joined(cls, parts: Iterable[Lines]) -> Lines:
        """All lines of several, one after the other."""
        whole = cls([])
        for part in parts:
            start = len(whole.text)
            whole.text += part.text
            whole.status += part.status
            whole.messages |= {start + index: said for index, said in part.messages.items()}
            whole.parts += [[start + index for index in cut] for cut in part.parts]
        return whole

    def split(self, sizes: Iterable[int]) -> list[Lines]:
        """The reverse of :meth:`joined`: what is known now, for so many lines each."""
        found, start = [], 0
        for size in sizes:
            end = start + size
            messages = {i - start: said for i, said in self.messages.items() if start <= i < end}
            cuts = ([i - start for i in cut if start <= i < end] for cut in self.parts)
            parts = [cut for cut in cuts if cut]
            found.append(Lines(self.text[start:end], self.status[start:end], messages, parts))
            start = end
        return found

    @property
    def open(self) -> list[int]:
        """Indices of the lines of which nothing is known yet."""
        return [index for index, status in enumerate(self.status) if status == LineStatus.OPEN]

    @property
    def bad(self) -> int:
        """How many lines count as rejected."""
        return sum(self.status.count(status) for status in BAD)

    def reopen(self, status: LineStatus) -> None:
        """Nothing is known any more of the lines with this status."""
        for index in [i for i, found in enumerate(self.status) if found == status]:
            self.status[index] = LineStatus.OPEN
            self.messages.pop(index, None)

    def without_message(self, status: LineStatus) -> None:
        """No dead letters are to be made of the lines with this status."""
        self.messages = {i: m for i, m in self.messages.items() if self.status[i] != status}

    def unexplained(self, status: LineStatus) -> int:
        """How many lines have this status and no message: no dead letter is made of them."""
        without = (i not in self.messages for i, found in enumerate(self.status) if found == status)
        return sum(without)

    def expire_before(self, keep_from_ms: int) -> None:
        """Mark the lines that are older."""
        for index, line in enumerate(self.text):
            stamp_ms = payload.timestamp_ms(line)
            if stamp_ms is not None and stamp_ms < keep_from_ms:
                self.status[index] = LineStatus.EXPIRED

    def any_expired_after(self, young_from_ms: int) -> bool:
        """Whether the sink refused a line for its age that is younger."""
        return any(
            self.status[index] == LineStatus.EXPIRED
            and (payload.timestamp_ms(self.text[index]) or 0) > young_from_ms
            for index in self.messages
        )


def dead_letters(lines: Lines) -> tuple[DeadLetter, ...]:
    """The refused lines of one entry, in their order, with the sink's messages.

    One for each cause, not one for each line: lines refused with the same message, but for the line
    quoted and the number dropped, share a dead letter. One of a single line has its message whole.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for index in sorted(lines.messages):
        reason = REASONS[LineStatus(lines.status[index])]
        key = (reason, cause_of(lines.messages[index]))
        if key not in found and sum(1 for known, _ in found if known == reason) >= MAX_CAUSES - 1:
            key = (reason, "various causes")
        found.setdefault(key, []).append(index)
    return tuple(
        DeadLetter(
            reason,
            (lines.messages[indices[0]] if len(indices) == 1 else cause)[:MAX_DETAIL_CHARS],
            _kept([lines.text[index] for index in indices]),
            len(indices),
            _common_measurement(lines.text[index] for index in indices),
        )
        for (reason, cause), indices in found.items()
    )


def _kept(lines: list[bytes]) -> bytes:
    """As text, or compressed where there is much of it: Redis keeps many dead letters."""
    text = payload.text(lines)
    return text if len(text) < _COMPRESSED_FROM_BYTES else payload.encode(lines)


def lines_of_foreign(entry: Entry) -> Lines | None:
    """The lines of an entry that cannot be joined with others; None if it can.

    It is of an older transformer or of an operator, and may be several gzip members, of which some
    sinks read only the first. Raises :class:`common.errors.WireError` where it has others.
    """
    if is_joinable(entry.payload):
        return None
    return Lines(payload.decode(entry.payload, entry.samples))


def measurement_of(line: bytes) -> str:
    """The measurement of a line, as the line spells it."""
    found = _MEASUREMENT.match(line)
    return found[0].decode("utf-8", "replace") if found else ""


def place_of(line: bytes) -> str:
    """The measurement of a line and its first field: what a layout tells metrics apart by."""
    field = split_field(line)[1].partition(b"=")[0].decode("utf-8", "replace")
    return f"{measurement_of(line)} {field}"


def _common_measurement(lines: Iterable[bytes]) -> str:
    names = {measurement_of(line) for line in lines}
    return names.pop() if len(names) == 1 else ""


def cause_of(message: str) -> str:
    """A message without what differs from line to line: the line quoted, the number dropped."""
    return _COUNTS.sub("", _LINE.sub("unable to parse '…", message))
