"""The share of samples that the sink rejects, over the latest of them.

A bad deploy must stop the loader, not empty the stream into the dead letters. The loader then
pauses, with cause ``rejected_share``, and lets a probe through now and then: the entries at the
head of the stream, judged alone. If the sink takes enough of them, the count begins anew.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from common.config.load import LoadSettings
from common.runtime.telemetry import Telemetry
from common.state.verdict import Pause, Settle
from services.loader.admission import Admission, Proof
from services.loader.batch import Batch
from services.loader.lines import BAD_REASONS
from services.loader.total_refusal import REFUSES_ALL

REJECTED_SHARE = "rejected_share"


@dataclass
class RejectedShare:
    """A sliding count: the fewest latest settlements that make up enough samples to judge by."""

    settings: LoadSettings
    admission: Admission
    telemetry: Telemetry
    _latest: deque[tuple[int, int]] = field(default_factory=deque, init=False)
    _samples: int = field(default=0, init=False)
    _rejected: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def pause_for(self, batch: Batch) -> Pause | None:
        """Pause if the bad lines of a batch are too many; the verdict for its refused entries.

        Not before enough samples have been judged, those of the batch included. A probe is judged
        by itself, however few they are.
        """
        if not batch.bad or self.admission.paused_by == REFUSES_ALL:
            return None
        samples, rejected = batch.samples, batch.bad
        if batch.interrupted:
            settled = _settled(batch)
            samples = sum(verdict.samples for verdict in settled)
            rejected = sum(rejected_samples(verdict) for verdict in settled)
        if not batch.probing:
            with self._lock:
                samples, rejected = samples + self._samples, rejected + self._rejected
        if rejected <= self.settings.max_rejected_share * samples:
            return None
        if samples < self.settings.rejected_share_min_samples and not batch.probing:
            return None
        reason = (
            f"the sink rejects more than {self.settings.max_rejected_share:.0%} of the samples: "
            "paused, nothing becomes a dead letter"
        )
        return self.admission.pause(REJECTED_SHARE, reason, Proof.BATCH)

    def add(self, batch: Batch) -> None:
        """Count what is being settled; a probe of which enough was taken ends the pause."""
        settled = _settled(batch)
        if not settled:
            return
        paused = any(isinstance(verdict, Pause) for verdict in batch.verdicts.values())
        with self._lock:
            judged = batch.probing and not (paused or batch.interrupted)
            if judged and any(verdict.loaded for verdict in settled):
                self._latest.clear()
                self._samples = self._rejected = 0
                self.admission.resume(Proof.BATCH)
            samples = sum(verdict.samples for verdict in settled)
            rejected = sum(rejected_samples(verdict) for verdict in settled)
            self._latest.append((samples, rejected))
            self._samples += samples
            self._rejected += rejected
            least_samples = self.settings.rejected_share_min_samples
            while self._samples - self._latest[0][0] >= least_samples:
                old_samples, old_rejected = self._latest.popleft()
                self._samples -= old_samples
                self._rejected -= old_rejected
            share = self._rejected / self._samples if self._samples else 0.0
        self.telemetry.set("etl_sink_rejected_share", share)


def _settled(batch: Batch) -> list[Settle]:
    return [
        verdict
        for id_, verdict in batch.verdicts.copy().items()  # other threads add theirs
        if isinstance(verdict, Settle) and id_ not in batch.repeated
    ]


def rejected_samples(verdict: Settle) -> int:
    """Samples that the sink rejected; not what is corrupt, too old or over a limit."""
    return sum(dead.samples for dead in verdict.dead if dead.reason in BAD_REASONS)
