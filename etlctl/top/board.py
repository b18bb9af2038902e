"""What ``etlctl top`` shows: the figures of the last minutes, then what ``etlctl status`` shows."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from common.state.status.figures import COLUMNS, Figures, Values
from common.state.status.reading import PipelineStatus
from etlctl.status.alerts import Alerts
from etlctl.status.present import screen
from etlctl.top.sparkline import sparkline

# Of the rates: so long a mean shows windows that come every 15 s as a flow.
_MEAN_SECONDS = 15.0
_KEPT = 600
# At the top: what has no room below is cut off.
_KEYS = "q or Ctrl-C ends."


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read last, or ``trouble``: why that is not possible."""

    status: PipelineStatus | None
    alerts: Alerts
    trouble: str = ""


# Name, its unit, and the digits that it is shown with.
_SHOWN = {
    "extracted_per_second": ("extracted", "samples/s", 0),
    "loaded_per_second": ("loaded", "samples/s", 0),
    "lag_seconds": ("lag", "s", 0),
    "sink_seconds": ("post to the sink", "s", 3),
    "in_flight_samples": ("in flight", "samples", 0),
}


class Board:
    """Keeps the figures of the last readings; safe for several threads.

    ``clock`` gives seconds and never runs backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._figures = Figures(_MEAN_SECONDS)
        self._rows: deque[Values] = deque(maxlen=_KEPT)
        self._reading: Reading | None = None
        self._known: tuple[float, Reading] | None = None

    def add(self, reading: Reading) -> None:
        """Show this from now on; where it is a trouble, beside what was read before."""
        now, status = self._clock(), reading.status
        with self._lock:
            self._reading = reading
            if status is None:
                self._rows.append(self._figures.of(None, {}, [], now))
                return
            self._known = now, reading
            self._rows.append(self._figures.of(status.audit, status.feeds, status.workers, now))

    def render(self, width: int) -> RenderableType:
        """All of it, for a terminal of so many columns."""
        with self._lock:
            reading, known, rows = self._reading, self._known, list(self._rows)
            age_seconds = self._clock() - known[0] if known else 0.0
        if reading is None:
            return Text(f"Redis is being read. {_KEYS}")
        keys = Text(_KEYS, "dim")
        shown: list[RenderableType] = []
        if reading.trouble:
            shown.append(Text(f"Whether all is well cannot be told: {reading.trouble}", "bold red"))
            if known is None:
                return Group(*shown, keys)
            shown.append(Text(f"What follows was read {age_seconds:,.0f} s ago.", "dim"))
        assert known is not None
        _, last = known
        assert last.status is not None
        first, *rest = (
            Text.from_markup(one) if isinstance(one, str) else one
            for one in screen(last.status, last.alerts)
        )
        if not reading.trouble:
            shown.append(first)
        return Group(*shown, keys, Text(), _sparklines(rows, width), *rest)


def _sparklines(rows: list[Values], width: int) -> RenderableType:
    made = RichTable.grid(padding=(0, 2, 0, 0))
    made.add_column()
    made.add_column(justify="right")
    made.add_column()
    taken = max(len(name) for name, _, _ in _SHOWN.values()) + 2 + 20 + 2
    for column, (name, unit, digits) in _SHOWN.items():
        values = [row[COLUMNS.index(column)] for row in rows]
        latest = values[-1] if values else None
        number = "–" if latest is None else f"{latest:,.{digits}f} {unit}"
        made.add_row(name, number, sparkline(values, max(0, width - taken)))
    return made
