"""Tells a sink that refuses everything from one that refuses a line, whatever its words.

A refusal that names no cause may be the fault of a line, or of a sink that takes nothing at the
moment. Only what the sink takes tells them apart: a line is to blame if the sink took something
shortly before and after it refused that line. A search for refused lines therefore posts a control
now and then: a line that the sink took lately, which changes nothing there.

A sink that refuses the control too pauses the loader. So do too many refused posts in a row where
nothing was taken lately. A single line then goes now and then, of another entry each time, until
the sink takes one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from math import inf

from common.config.load import LoadSettings
from common.state.verdict import Pause
from services.loader import payload
from services.loader.admission import Admission, Proof
from services.loader.responses import Kind, Outcome

REFUSES_ALL = "refuses_all"

CONTROL_SECONDS = 300.0
"""How long a line serves as a control: nobody has written another value in its place so soon."""

# A sink that names age or a limit judges points; one that understands nothing may say the others.
JUDGES = frozenset({Kind.WRITTEN, Kind.RETENTION, Kind.OUTSIDE_WINDOW, Kind.LIMIT})
REFUSALS = frozenset({Kind.POINTS, Kind.TOO_LARGE, Kind.UNREADABLE})


@dataclass
class TotalRefusal:
    """Shared by all threads that post. Instants are seconds of the admission's clock.

    ``judged_at_seconds`` is when the last post began of which the sink judged the points.
    """

    settings: LoadSettings
    admission: Admission
    judged_at_seconds: float = field(default=-inf, init=False)
    _taken: tuple[str, bytes] = field(default=("", b""), init=False)  # bucket and body
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
        self, outcome: Outcome, bucket: str, body: bytes, began_seconds: float
    ) -> Pause | None:
        """Take in what came of a post; a pause if nothing passes any more."""
        with self._lock:
            if outcome.kind in JUDGES:
                self._in_a_row = 0
                self.judged_at_seconds = max(self.judged_at_seconds, began_seconds)
                # The control itself, taken once more, gets no younger.
                if outcome.kind is Kind.WRITTEN and (bucket, body) != self._taken:
                    self._taken, self._taken_at_seconds = (bucket, body), began_seconds
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
            bucket, body = self._taken
            if self.now_seconds - self._taken_at_seconds > CONTROL_SECONDS:
                return None
            line = payload.first_line(body)
            if line is None:
                return None
            self._taken = bucket, payload.encode([line])
            return self._taken
