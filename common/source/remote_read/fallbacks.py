"""Ranges that were read by JSON for a doubt: counted, and said once for each cause."""

from __future__ import annotations

from collections.abc import Callable

from common.runtime.telemetry import Telemetry
from common.source.remote_read.doubt import Doubt


def counted(telemetry: Telemetry) -> Callable[[str, Doubt], None]:
    """What counts the doubts about a query, and says each reason once."""
    told: set[tuple[str, str]] = set()

    def on_doubt(query: str, doubt: Doubt) -> None:
        reason = doubt.reason
        telemetry.inc("etl_remote_read_fallbacks_total", reason=reason)
        if (query, reason) not in told:
            told.add((query, reason))
            telemetry.emit("remote_read_fallback", query=query, reason=reason, error=str(doubt))

    return on_doubt
