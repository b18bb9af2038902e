"""Which configuration of a query was in force at a time.

The extractor takes a change over at one instant, and says with the samples what is to be rolled up
of them. The transformer is restarted by itself, so where the names of series changed, points of
some minutes around that may have been written under either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.config import InForce
from common.state.feeds import Range
from common.state.history import Change

if TYPE_CHECKING:
    from services.verifier.run import Subject

# Each change with what it brought into force, oldest first.
History = Sequence[tuple[Change, InForce]]

# How long after the extractor, or before, a transformer may be restarted.
RESTART_MS = 600_000


@dataclass(frozen=True, slots=True)
class Phases:
    """The ``changes`` of a query, at least one.

    ``subject_of`` gives the query as it was under a configuration; it is asked once for each.
    """

    changes: History
    subject_of: Callable[[InForce], Subject]
    _known: dict[str, Subject] = field(default_factory=dict, init=False)

    def bounds_ms(self) -> set[int]:
        """Where what was in force may have changed."""
        bounds: set[int] = set()
        for change, _ in self.changes[1:]:
            around = (change.head_ms - RESTART_MS, change.head_ms, change.head_ms + RESTART_MS)
            bounds.update(around)
            for range_ in (*change.to_do, *change.unsettled):
                bounds.update(range_)
        return bounds

    def subjects_at(self, time_ms: int) -> list[Subject]:
        """The query as it was at a time: see :meth:`at`."""
        return self._subjects(self.at(time_ms))

    def subjects(self) -> list[Subject]:
        """The query as it ever was."""
        return self._subjects(in_force for _, in_force in self.changes)

    def _subjects(self, wanted: Iterable[InForce]) -> list[Subject]:
        texts = {in_force.to_json(): in_force for in_force in wanted}
        for text in texts.keys() - self._known.keys():
            self._known[text] = self.subject_of(texts[text])
        return [self._known[text] for text in texts]

    def at(self, time_ms: int) -> list[InForce]:
        """What was in force at a time: the last of them, or else one before it."""
        _, first = self.changes[0]
        found, before = [first], first
        for change, after in self.changes[1:]:
            renames = not after.names_like(before)
            margin_ms = RESTART_MS if renames else 0
            to_do = _inside(time_ms, change.to_do)
            if time_ms > change.head_ms + margin_ms or (to_do and not renames):
                found = [after]
            elif (
                to_do or time_ms > change.head_ms - margin_ms or _inside(time_ms, change.unsettled)
            ):
                found = [*(one for one in found if one != after), after]
            before = after
        return found


def _inside(time_ms: int, ranges: Sequence[Range]) -> bool:
    return any(start_ms < time_ms <= end_ms for start_ms, end_ms in ranges)
