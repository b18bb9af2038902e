"""Notices a sink that refuses everything, whatever its words.

A refused post is searched for the lines that are to blame. If nothing passes, the search would cost
two posts for every line and end with everything among the dead letters. So refused posts are
counted until one is written; too many in a row pause the loader. A single line then goes now and
then, of another entry each time, until the sink takes one.

If it does, others passed, and the entries that were refused have been refused for what is in them:
they are searched like any other, and no longer count.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.config.load import LoadSettings
from common.state.verdict import Pause
from services.loader.admission import Admission, Proof
from services.loader.responses import Kind, Outcome

REFUSES_ALL = "refuses_all"

# What a sink that understands nothing may say of a point. Where it names age or a limit, it judges.
_OPAQUE = frozenset({Kind.POINTS, Kind.TOO_LARGE, Kind.UNREADABLE})

_MOST_ENTRIES = 10_000  # that are remembered; the oldest give way and count again


@dataclass
class TotalRefusal:
    """Shared by all threads that post."""

    settings: LoadSettings
    admission: Admission
    _in_a_row: int = field(default=0, init=False)
    _passes: int = field(default=0, init=False)
    # Refused entries, each with the passes when it was refused last.
    _refused: OrderedDict[str, int] = field(default_factory=OrderedDict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def paused(self) -> bool:
        """Whether the loader is paused because nothing passes."""
        return self.admission.paused_by == REFUSES_ALL

    def seen(self, outcome: Outcome, ids: Sequence[str]) -> Pause | None:
        """Take in what came of a post with these entries; a pause if nothing passes any more."""
        if outcome.kind is Kind.WRITTEN:
            self.disproved()
            return None
        if outcome.kind not in _OPAQUE:
            return None
        with self._lock:
            if not self.paused and any(self._is_excused(id_) for id_ in ids):
                return None
            self._in_a_row += 1
            for id_ in ids:
                self._refused.pop(id_, None)
                self._refused[id_] = self._passes
            while len(self._refused) > _MOST_ENTRIES:
                self._refused.popitem(last=False)
            if self._in_a_row < self.settings.refused_posts_in_a_row:
                return None
        if self.settings.max_rejected_share >= 1:
            return None  # the operator wants no pause for what is refused
        reason = (
            f"the sink refused {self._in_a_row} posts in a row and took nothing "
            f"(status {outcome.status}); it says: {outcome.message}"
        )
        return self.admission.pause(REFUSES_ALL, reason, Proof.POINTS)

    def disproved(self) -> None:
        """The sink takes points, or says why it does not."""
        with self._lock:
            self._in_a_row = 0
            self._passes += 1

    def is_excused(self, id_: str) -> bool:
        """Whether others passed after this entry was refused: it is to be posted alone."""
        with self._lock:
            return self._is_excused(id_)

    def forget(self, id_: str) -> None:
        """The entry is settled."""
        with self._lock:
            self._refused.pop(id_, None)

    def _is_excused(self, id_: str) -> bool:
        return self._passes > self._refused.get(id_, self._passes)
