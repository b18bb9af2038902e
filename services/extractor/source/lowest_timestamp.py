"""Since when a server has data: from its own ``/metrics``, or by when it answers."""

from __future__ import annotations

import math
from collections.abc import Callable

from common.errors import QueryRejected, QueryTooLarge, SourceUnavailable
from common.source.cut_off import CutOff
from services.extractor.history import LOWEST_TIMESTAMP_METRIC, NO_SAMPLES_MS

# How long it is believed of a front that its /metrics do not report a lowest timestamp.
UNREPORTED_SECONDS = 300.0
# A database without samples reports the largest time there is, 9e15 seconds.
LATEST_SECONDS = 1e12


class LowestTimestamp:
    """The lowest timestamp of one source; ``metrics`` gives its ``/metrics``.

    ``cut_off_behind_ms``: how far behind its clock a front begins to answer, if that is what was
    given last; None where the server itself reported it, or nobody did.
    """

    def __init__(
        self, metrics: Callable[[], bytes], cut_off: CutOff, monotonic: Callable[[], float]
    ) -> None:
        self._metrics = metrics
        self._cut_off = cut_off
        self._monotonic = monotonic
        self._unreported_until = float("-inf")
        self.cut_off_behind_ms: int | None = None

    def read_ms(self) -> int | None:
        """The oldest time that it has data of; raises :class:`~common.errors.SourceError`."""
        self.cut_off_behind_ms = None
        failure = None
        prefix = f"{LOWEST_TIMESTAMP_METRIC} ".encode()
        reports = self._monotonic() >= self._unreported_until
        try:
            text = self._metrics() if reports else b""
        except (SourceUnavailable, QueryTooLarge, QueryRejected) as error:
            # A front has none of its own that would matter, whatever they answer.
            text, failure = b"", SourceUnavailable(str(error))
        for line in text.splitlines():
            if line.startswith(prefix):
                return _ms(line.removeprefix(prefix))
        cut_off_ms = self._cut_off.from_ms()
        if cut_off_ms is not None:
            self.cut_off_behind_ms = self._cut_off.behind_ms
            if reports:
                self._unreported_until = self._monotonic() + UNREPORTED_SECONDS
        elif failure is not None:
            raise failure
        return cut_off_ms

    def expire(self) -> None:
        """Look for it anew next time: another server may answer."""
        self._cut_off.expire()
        self._unreported_until = float("-inf")


def _ms(text: bytes) -> int | None:
    """A time in seconds, as ``/metrics`` shows it, in ms; None for what is no time."""
    try:
        seconds = float(text.split()[0])
    except (ValueError, IndexError):
        return None
    if not math.isfinite(seconds):
        return None
    return round(seconds * 1000) if abs(seconds) < LATEST_SECONDS else NO_SAMPLES_MS
