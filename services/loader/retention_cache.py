"""How long each database keeps points, asked of the sink now and then, and who hears if unsaid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from common.config.load import Tier
from common.runtime.telemetry import Telemetry

ASK_SECONDS = 60.0
# Points that are too old vanish while nothing is known, so an answer that failed is soon asked for.
ASK_AGAIN_SECONDS = 1.0

CHECK = "sink_retention"


class RetentionCache:
    """``ask`` gives the seconds of every database, or why the sink does not say.

    What it said last holds until it says something else. Safe to use from several threads.
    """

    def __init__(
        self,
        ask: Callable[[], Mapping[str, float] | str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._known: Mapping[str, float] | None = None
        self._why_unknown: str | None = None
        self._ask_at = -inf
        self._lock = threading.Lock()

    def seconds(self, database: str) -> float:
        """How long a database keeps points; infinity for ever, or where nothing is known of it."""
        with self._lock:
            if (began := self._clock()) >= self._ask_at:
                answer = self._ask()
                if isinstance(answer, str):
                    self._why_unknown = answer
                else:
                    self._known = answer
                failed = isinstance(answer, str)
                ended = self._clock()
                # Else one that hangs would be asked for each entry, and nothing be loaded.
                again_seconds = max(ASK_AGAIN_SECONDS, ended - began)
                self._ask_at = ended + (again_seconds if failed else ASK_SECONDS)
            return inf if self._known is None else self._known.get(database, inf)

    @property
    def unknown(self) -> str | None:
        """Why the sink has never said how long; None if it has, or was not asked yet."""
        with self._lock:
            return self._why_unknown if self._known is None else None


@dataclass
class UnknownRetention:
    """Once when it begins and once when it ends; ``set_ready`` gets a remark, never a "not ready".

    Where the configuration gives a retention, only that counts. Where it gives none, points that
    are too old vanish in the sink and count as loaded.
    """

    tiers: Mapping[str, Tier]
    telemetry: Telemetry
    set_ready: Callable[[str, bool, str], None]
    _reported: bool = field(default=False, init=False)

    def report(self, why: str | None) -> None:
        """``why`` the sink does not say how long it keeps points; None: it does, or need not."""
        if (why is not None) == self._reported:
            return
        self._reported = why is not None
        configured = {name: tier.retention_seconds for name, tier in self.tiers.items()}
        for name, seconds in configured.items():
            self.telemetry.set(
                "etl_sink_retention_unknown",
                float(self._reported),
                tier=name,
                configured="false" if seconds is None else "true",
            )
        if why is None:
            self.set_ready(CHECK, True, "")
            return
        without = [name for name, seconds in configured.items() if seconds is None]
        self.telemetry.emit(
            "sink_retention_unknown",
            error=why,
            configured_seconds={name: s for name, s in configured.items() if s is not None},
            not_configured=without,
        )
        detail = f"InfluxDB does not say how long it keeps points: {why}"
        if without:
            detail += f"; nor does load.tiers for {', '.join(without)}: what is too old vanishes"
        self.set_ready(CHECK, True, detail)
