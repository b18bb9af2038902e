"""What the demo shows while it runs: steps of the set-up, then the numbers as they move."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.status import Status

from common.state.ledger import Audit
from common.state.windows import FeedStatus
from etlctl.output import counts, thousands
from etlctl.tables import Table
from services.verifier.wiring import HOT

PLAIN_EVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The pipeline at one instant.

    ``lag_seconds`` is how old the newest time is that is fully loaded in the hot tier: rollups are
    late by nature.
    """

    elapsed_seconds: float
    extracted: int
    transformed: int
    loaded: int
    in_flight: int
    dropped: Mapping[str, int]
    dead_lettered: int
    imbalance: int
    lag_seconds: float | None


def snapshot(audit: Audit, feeds: Mapping[str, FeedStatus], elapsed_seconds: float) -> Snapshot:
    """Reduce one read of the ledger to what is shown.

    Transformed is what has left the raw stream: everything extracted that is not waiting there.
    """
    total = audit.total
    raw = audit.streams["raw"].samples if "raw" in audit.streams else 0
    lags = [
        audit.now_ms - feed.loaded_watermark_ms
        for feed in feeds.values()
        if feed.head_ms and feed.tier == HOT
    ]
    return Snapshot(
        elapsed_seconds=elapsed_seconds,
        extracted=total.extracted,
        transformed=total.extracted - raw,
        loaded=total.loaded,
        in_flight=total.in_flight,
        dropped=total.dropped,
        dead_lettered=total.dead_lettered,
        imbalance=audit.imbalance_samples,
        lag_seconds=max(lags) / 1_000 if lags else None,
    )


class View:
    """Draws on a terminal, writes a plain line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._live: Live | None = None
        self._running: dict[str, None] = {}
        self._lock = threading.Lock()
        self._last_line_seconds = -PLAIN_EVERY_SECONDS

    def say(self, text: str) -> None:
        """One line of plain text."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def steps(self, heading: str) -> Iterator[Callable[[str, float | None], None]]:
        """Yields a progress callback; several threads may call it."""
        self.say(heading)
        if not self._console.is_terminal:
            yield self._step
            return
        with self._console.status("…") as self._status:
            yield self._step
        self._status = None

    def _step(self, name: str, seconds: float | None) -> None:
        with self._lock:
            if seconds is None:
                self._running[name] = None
            else:
                self._running.pop(name, None)
                self._console.print(f"  {name:<40} {seconds:6.1f} s", markup=False)
            if self._status is not None:
                self._status.update(", ".join(self._running) or "…")

    @contextmanager
    def numbers(self, heading: str) -> Iterator[Callable[[Snapshot], None]]:
        """Yields a callback that shows the newest snapshot."""
        self.say(heading)
        self._last_line_seconds = -PLAIN_EVERY_SECONDS
        if not self._console.is_terminal:
            yield self._line
            return
        with Live(console=self._console, auto_refresh=False) as live:
            yield lambda now: live.update(numbers_table(now), refresh=True)

    def _line(self, now: Snapshot) -> None:
        if now.elapsed_seconds - self._last_line_seconds < PLAIN_EVERY_SECONDS:
            return
        self._last_line_seconds = now.elapsed_seconds
        self.say(plain_line(now))


def numbers_table(now: Snapshot) -> Table:
    """The live table."""
    table = Table(
        "",
        "time",
        *("extracted", "transformed", "loaded", "in flight", "dropped", "dead letters", "lag"),
        spare=("transformed", "dropped", "dead letters"),
    )
    table.add_row(
        f"{now.elapsed_seconds:.0f} s",
        thousands(now.extracted),
        thousands(now.transformed),
        thousands(now.loaded),
        thousands(now.in_flight),
        counts(now.dropped),
        thousands(now.dead_lettered),
        _lag(now),
    )
    return table


def plain_line(now: Snapshot) -> str:
    """The same for a log."""
    return (
        f"  {now.elapsed_seconds:4.0f} s  extracted {thousands(now.extracted)}"
        f"  transformed {thousands(now.transformed)}  loaded {thousands(now.loaded)}"
        f"  in flight {thousands(now.in_flight)}  dropped {counts(now.dropped)}"
        f"  lag {_lag(now)}"
    )


def _lag(now: Snapshot) -> str:
    return "–" if now.lag_seconds is None else f"{now.lag_seconds:.1f} s"
