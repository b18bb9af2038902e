"""Whether the source still held what was read of a window: an empty read does not tell, nor a full.

A Prometheus that lost its volume has samples again since its next scrape. The lowest timestamp is
checked after the read: what was deleted in between shows too.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import EtlError, SourceUnavailable
from common.source.cut_off import STEP_MS as CUT_OFF_STEP_MS
from common.state.windows import Window
from services.extractor.history import NO_SAMPLES_MS, SourceHistory
from services.extractor.window_reader import Read
from services.extractor.windows import Plan

# A window that only some of the servers at the source's address hold is read so often in vain
# before it is taken for empty.
MIXED_ATTEMPTS = 6


class HeldByAnother(EtlError):
    """Another server at the source's address than the one that was read holds the window."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """Judges what was read by what the source reports of its history."""

    history: SourceHistory

    def until_ms(
        self, plan: Plan, window: Window, origin_ms: int, read: Read, took_seconds: float
    ) -> int | None:
        """Up to where the source has deleted the window, or does not answer any more.

        ``took_seconds``: how long the window took so far.

        Raises :class:`HeldByAnother` where another server has what was read from this one, and
        :class:`common.errors.SourceUnavailable` where what it reports cannot be so.
        """
        lowest_ms = self.history.lowest_ms(plan.reach(window).earliest_ms(window.start_ms))
        if read.samples and lowest_ms is not None and lowest_ms >= NO_SAMPLES_MS:
            # It returned some a moment ago: it was started anew and has not read its own log yet.
            raise SourceUnavailable(
                f"reports that it holds nothing; it gave {read.samples} samples"
            )
        until_ms = plan.expired_until_ms(window, origin_ms, lowest_ms)
        if until_ms is None or lowest_ms is None:
            self._check_held_by_all(window, read)
            return None
        is_cut_off = self.history.is_cut_off()
        first_ms = read.first_ms if plan.query.kind == "select" else None
        # A limit is reported later than it is, so samples before that are no other server's.
        if not is_cut_off and first_ms is not None and first_ms < lowest_ms:
            # Whoever gave them holds that time: another server at the same address.
            return None
        if self.history.reaches_back(plan.query, window.start_ms, lowest_ms):
            return None
        agreed_ms = self.history.agreed_lowest_ms(lowest_ms)
        if plan.expired_until_ms(window, origin_ms, agreed_ms) == until_ms:
            if is_cut_off:
                # It moves on while the rest is read; else that would never be whole.
                lowest_ms += CUT_OFF_STEP_MS + round(2_000 * took_seconds)
            return plan.expired_until_ms(window, origin_ms, lowest_ms)
        if window.attempts < MIXED_ATTEMPTS:
            raise HeldByAnother("was read from a server that does not hold it; another one does")
        return None

    def _check_held_by_all(self, window: Window, read: Read) -> None:
        """Raise where several servers answer in turn and the read may be of one that lacks it."""
        from_ms = self.history.all_hold_from_ms()
        if from_ms is None or from_ms <= window.start_ms or window.attempts >= MIXED_ATTEMPTS:
            return
        if read.first_ms is None or read.first_ms >= from_ms:
            raise HeldByAnother("may have been read from a server that does not hold all of it")
