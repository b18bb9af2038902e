"""Notices that the sink was started anew, and has what was proven of late compared again.

InfluxDB 1.x and 2.x may lose what they have accepted, at the second start after a crash: the first
one appends behind a torn record of the write-ahead log, and the next one ends there
(influxdata/influxdb#9657). So a proof from before a start may hold no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.config import Settings
from common.runtime.telemetry import Telemetry
from common.state.feeds import Range
from common.state.proven import ProofRecord, Proven
from common.state.ranges import length_ms, without
from services.verifier.sink.read import Sink

# Starts that are remembered: of a few nodes, behind one URL or several, each has its own.
_SEEN_MAX = 16


@dataclass
class SinkRestarts:
    """Compares when the sink was started with what is kept in Redis of that.

    As words: its clock and ours need not agree. ``now_ms`` is by the clock that proofs are noted
    by.
    """

    record: ProofRecord
    settings: Settings
    telemetry: Telemetry
    now_ms: Callable[[], int]

    def noted(self, proven: Proven, compared: Range) -> Proven:
        """With the range, which was compared now, as one of late."""
        return proven.noted(*compared, self.now_ms(), self._kept_ms)

    @property
    def _kept_ms(self) -> int:
        return int(self.settings.verify.sink_restart_seconds * 1000)

    def look(self, sink: Sink, tick: Callable[[], None]) -> None:
        """Ask the sink; the first time that it says anything is only remembered.

        ``tick`` is called after each of its URLs, and must keep what we write by.

        Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
        """
        if not self._kept_ms:
            return
        seen, new = self.record.sink_starts(), list[str]()
        for start in sink.starts():
            tick()  # one URL that hangs takes its whole time-out
            if start and start not in seen:
                new.append(start)
        if not new:
            return
        doubted, again_ms = {}, 0
        for name, proof in self.record.read().items() if seen else ():
            proven = proof.proven.doubted(self.now_ms() - self._kept_ms)
            again_ms += length_ms(without(proof.proven.compared, proven.compared))
            doubted[name] = proof._replace(proven=proven)
        remembered = [*seen, *new][-_SEEN_MAX:]
        saved = self.record.save(doubted, begins=False, sink_starts=remembered)
        if saved and seen:
            self.telemetry.emit("sink_restarted", started=new[-1], again_seconds=again_ms / 1000)
