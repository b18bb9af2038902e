"""The log of etl-metrics itself: one JSON object a line, as the other services write it.

structlog, which writes theirs, would bring asyncio along and take a sixth of the memory.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, TextIO

from common.runtime.events_table import EVENTS
from common.runtime.metrics_table import ETL_METRICS

LEVELS = ("debug", "info", "warning", "error", "critical")
_MASK = "********"
# Shorter ones would be found in innocent words.
_MIN_MASKED_CHARS = 4


class EventLog:
    """Writes the events of the table; ``secrets`` are masked wherever they would appear."""

    def __init__(
        self,
        level: str = "INFO",
        secrets: Collection[str] = (),
        stream: TextIO | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._least = LEVELS.index(level.lower())
        self._secrets = tuple(secret for secret in secrets if len(secret) >= _MIN_MASKED_CHARS)
        self._stream = stream or sys.stdout
        self._wall_clock = wall_clock
        self._lock = threading.Lock()

    def emit(self, event: str, /, **fields: Any) -> None:
        """Write a line for ``event``; :class:`KeyError` if the table has no such event."""
        level = EVENTS[event].level
        if LEVELS.index(level) < self._least:
            return
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        first = {
            "timestamp": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": level,
            "service": ETL_METRICS,
            "event": event,
        }
        line = json.dumps(first | {name: self._clean(value) for name, value in fields.items()})
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # A full disk or a closed pipe is no reason to stop exporting.
                return

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        text = str(value)
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text
