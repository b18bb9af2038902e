"""Where a front for queries begins to answer: before that it gives nothing, without a word.

The fronts of Mimir, Cortex and Thanos answer what lies before a limit (``max_query_lookback``, in
Mimir the retention of blocks, too) as if nothing had ever been there, even constants, and cut off
the beginning of what reaches across it (``limits.go`` of each, which is the same code). So what a
constant gives at a time tells whether anything of that time can be read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from common.errors import QueryRejected, QueryTooLarge, SourceRefused, SourceUnavailable
from common.source.query_api import PROBE_BYTES, QueryApi
from common.source.transport import read_all

# A time at which every server that has no such limit answers: 2001-09-09.
LONG_AGO_MS = 1_000_000_000_000
# The limit moves on with the clock. It is found to within so much, and kept for as long; what is
# reported lies so far behind it that it still holds then.
STEP_MS = 10_000
KEPT_SECONDS = 10.0
# How long it is believed that there is none.
NONE_KEPT_SECONDS = 300.0


class CutOff:
    """Looks for the limit of one source through ``api``. ``now_ms`` gives the source's time."""

    def __init__(
        self,
        api: QueryApi,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._now_ms = now_ms
        self._monotonic = monotonic
        # How far it lay behind the source's clock when it was found last.
        self.behind_ms: int | None = None
        self._found_ms: int | None = None
        self._until = float("-inf")

    def from_ms(self) -> int | None:
        """Since when all can be read; None if there is no limit, or it is not to be found out.

        Raises :class:`SourceUnavailable` where it does not answer now: that tells nothing.
        """
        if self._monotonic() >= self._until:
            self._found_ms = self._searched()
            kept = KEPT_SECONDS if self._found_ms is not None else NONE_KEPT_SECONDS
            self._until = self._monotonic() + kept
        return self._found_ms

    def expire(self) -> None:
        """Look for it anew next time: another server may answer."""
        self._until = float("-inf")

    def _searched(self) -> int | None:
        try:
            if self._answers_at(LONG_AGO_MS):
                return None
            now_ms = self._now_ms() // STEP_MS * STEP_MS
            if not self._answers_at(now_ms):
                return None  # a constant tells nothing here
            low_ms, high_ms = LONG_AGO_MS, now_ms
            if self.behind_ms is not None:
                # It is where it was, measured from now, unless its limit was changed.
                about_ms = now_ms - self.behind_ms
                if not self._answers_at(about_ms - 2 * STEP_MS):
                    low_ms = about_ms - 2 * STEP_MS
                if self._answers_at(about_ms + 2 * STEP_MS):
                    high_ms = about_ms + 2 * STEP_MS
            while high_ms - low_ms > STEP_MS:
                middle_ms = (low_ms + high_ms) // 2 // STEP_MS * STEP_MS
                if self._answers_at(middle_ms):
                    high_ms = middle_ms
                else:
                    low_ms = middle_ms
        except (QueryRejected, SourceRefused):
            return None
        except QueryTooLarge as error:
            # Of a constant, at one time: no window was asked for, which could be split.
            raise SourceUnavailable(str(error)) from error
        self.behind_ms = now_ms - high_ms
        return high_ms + 2 * STEP_MS

    def _answers_at(self, time_ms: int) -> bool:
        """Whether a constant has a value then."""
        at = str(time_ms // 1000)
        params = {"query": "vector(1)", "start": at, "end": at, "step": "1"}
        with self._api.stream("query_range", params) as chunks:
            try:
                return bool(json.loads(read_all(chunks, PROBE_BYTES))["data"]["result"])
            except (ValueError, KeyError, TypeError, RecursionError):
                return True
