"""What the services say of themselves: events of their logs, counted over all process lives.

A counter on ``/metrics`` dies with its process; the log does not, and each counter of the project
has its event there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Key = tuple[str, str]
"""Service (``loader``) and event, with a colon and its detail where one is counted apart."""

# Fields that distinguish events of one name.
DETAIL_FIELDS = {
    "sink_circuit_changed": "state",
    "sink_paused": "cause",
    "sink_failed": "cause",
    "query_failed": "error_type",
    "dead_lettered": "reason",
    "sink_refused_points": "response",
}


class Journal:
    """Reads the logs of a run as they grow."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._offsets: dict[Path, int] = {}
        self._counts: Counter[Key] = Counter()
        self._amounts: Counter[Key] = Counter()
        self._reopened: list[tuple[str, tuple[int, int]]] = []

    def counts(self) -> Counter[Key]:
        """Events so far, by service and name; those with a detail are counted under both."""
        for path in sorted(self._log_dir.glob("*.log")):
            service = path.stem.rpartition("-")[0] or path.stem
            for record in self._fresh(path):
                event = record.get("event")
                if not isinstance(event, str):
                    continue
                self._counts[service, event] += 1
                detail = DETAIL_FIELDS.get(event)
                if detail is not None:
                    self._counts[service, f"{event}:{record.get(detail)}"] += 1
                if event == "window_reopened":
                    feed = f"{record.get('query')}@{record.get('tier')}"
                    self._amounts["reopened", feed] += int(record.get("samples_before", 0))
                    span = (int(record.get("start_ms", 0)), int(record.get("end_ms", 0)))
                    self._reopened.append((feed, span))
        return Counter(self._counts)

    def reopened_samples(self) -> dict[str, int]:
        """Samples of windows that services opened again of their own accord, by feed."""
        self.counts()
        return {feed: n for (what, feed), n in self._amounts.items() if what == "reopened"}

    def reopened_spans(self) -> list[tuple[str, tuple[int, int]]]:
        """The feed and ``(start_ms, end_ms]`` of each of them, in order."""
        self.counts()
        return list(self._reopened)

    def total(self, event: str) -> int:
        """Events of a name in all services so far."""
        return sum(n for (_, name), n in self.counts().items() if name == event)

    def _fresh(self, path: Path) -> Iterator[dict[str, Any]]:
        """The whole lines that were added since the last reading, those that are records."""
        with path.open("rb") as log:
            log.seek(self._offsets.get(path, 0))
            text = log.read()
        whole = text.rfind(b"\n") + 1
        self._offsets[path] = self._offsets.get(path, 0) + whole
        for line in text[:whole].splitlines():
            if line.startswith(b"{"):
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # a process was killed while it wrote
                if isinstance(record, dict):
                    yield record
