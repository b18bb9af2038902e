"""Tells a sink that refuses everything from one that refuses a line, whatever its words.

A refusal that names no cause may be the fault of a line, or of a sink that takes nothing at the
moment. Only what the sink takes tells them apart: a line is to blame if the sink took something
shortly before and after it refused that line. A search for refused lines therefore posts a control
now and then: a point of our own, to a bucket that took points lately. It is none of those, as
another loader may have written a newer value in the place of one by then.

A sink that refuses the control too pauses the loader. So do too many refused posts in a row where
nothing was taken lately. A single line then goes now and then, of another entry each time, until
the sink takes one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from common.config.load import LoadSettings
from common.state.verdict import Pause
from services.loader import payload
from services.loader.admission import Admission, Proof
from services.loader.responses import Kind, Outcome

REFUSES_ALL = "refuses_all"

CONTROL_SECONDS = 300.0
"""How long a bucket that took points is one that takes the control."""

# A sink that names age or a limit judges points; one that understands nothing may say the others.
JUDGES = frozenset({Kind.WRITTEN, Kind.RETENTION, Kind.OUTSIDE_WINDOW, Kind.LIMIT})
REFUSALS = frozenset({Kind.POINTS, Kind.TOO_LARGE, Kind.UNREADABLE})


@dataclass
class TotalRefusal:
    """Shared by all threads that post. Instants are seconds of the admission's clock.

    ``own_line`` gives the point of our own: the same one at any time changes nothing in the sink.
    ``judged_at_seconds`` is when the last post began of which the sink judged the points.
    """

    settings: LoadSettings
    admission: Admission
    own_line: Callable[[], bytes]
    judged_at_seconds: float = field(default=-inf, init=False)
    _taken_by: str = field(default="", init=False)  # the bucket
    _taken_at_seconds: float = field(default=-inf, init=False)
    _in_a_row: int = field(default=0, init=False)
    _last: Outcome | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def paused(self) -> bool:
        """Whether the loader is paused because nothing passes."""
        return self.admission.paused_by == REFUSES_ALL

    @property
    def may_pause(self) -> bool:
        """Whether the operator wants a pause for what is refused."""
        return self.settings.max_rejected_share < 1

    @property
    def is_suspected(self) -> bool:
        """Whether so many posts in a row were refused that the sink is in doubt."""
        return self._in_a_row >= self.settings.refused_posts_in_a_row

    @property
    def now_seconds(self) -> float:
        """The present instant."""
        return self.admission.clock()

    def seen(
        self, outcome: Outcome, bucket: str, began_seconds: float, *, is_control: bool = False
    ) -> Pause | None:
        """Take in what came of a post; a pause if nothing passes any more."""
        with self._lock:
            if outcome.kind in JUDGES:
                self._in_a_row = 0
                self.judged_at_seconds = max(self.judged_at_seconds, began_seconds)
                if outcome.kind is Kind.WRITTEN and not is_control:
                    self._taken_by, self._taken_at_seconds = bucket, began_seconds
                return None
            if outcome.kind not in REFUSALS:
                return None
            self._in_a_row += 1
            self._last = outcome
        in_doubt = self.paused or (self.is_suspected and self.control() is None)
        return self.pause() if in_doubt and self.may_pause else None

    def pause(self) -> Pause:
        """The sink refuses everything: post nothing until it takes a line."""
        status, said = (self._last.status, self._last.message) if self._last else (None, "")
        reason = (
            f"the sink refused {self._in_a_row} posts in a row and took nothing "
            f"(status {status}); it says: {said}"
        )
        return self.admission.pause(REFUSES_ALL, reason, Proof.POINTS)

    def control(self) -> tuple[str, bytes] | None:
        """A bucket and a body that it takes unless the sink refuses everything, if one is known."""
        with self._lock:
            if self.now_seconds - self._taken_at_seconds > CONTROL_SECONDS:
                return None
            bucket = self._taken_by
            if bucket in self.admission.others:  # whether it takes our own point is not known
                bucket = self.settings.tiers["hot"].bucket
            return bucket, payload.encode([self.own_line()])
