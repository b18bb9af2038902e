"""Whether anything may be posted now: the one place that knows what keeps posts away.

:class:`Admission` answers "may I post?" and takes in what came of each post. Three things keep
posts away, each in its own way:

* **A wait** that the sink asked for (``Retry-After``): nobody posts until it is over.
* **A pause**: the sink refuses us (token, bucket, a limit), or rejects too many points. It ends
  when something proves that its cause is over. Until then one post is let through now and then,
  after a wait that doubles up to a maximum.
* **The circuit**: after so many failures in a row nothing is posted for a while. Then one post
  tries, and the others follow if it passes. Where the sink has another URL that did not fail since
  anything was answered, one post tries that at once.

The entries of a post that failed wait as well, by back-off with full jitter.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf

from common.config.load import LoadSettings
from common.runtime.backoff import Backoff
from common.runtime.telemetry import Telemetry
from common.sink.addresses import Addresses
from common.state.verdict import Pause, Retry
from services.loader.buckets.other import OtherBuckets
from services.loader.responses import FAILURES, PAUSES, Kind, Outcome, describe

NotNow = Retry | Pause
"""Nothing more can be posted now: the verdict for whatever is not settled yet."""


class CircuitState(IntEnum):
    """The value is the metric's."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Proof(IntEnum):
    """What ends a pause. Each of them proves what those before it prove."""

    REQUEST = 1  # a request is accepted, even one without points: token and bucket are right
    POINTS = 2  # points are written
    BATCH = 3  # a whole batch is settled, with few of its points rejected


@dataclass(frozen=True, slots=True)
class _Paused:
    cause: str
    reason: str
    ends_by: Proof
    since_seconds: float
    probes: int
    probe_at_seconds: float


@dataclass
class Admission:
    """Shared by all threads that post. Instants are seconds of ``clock``.

    ``addresses`` are the sink's, of which a failure in a row too many means the next.
    """

    settings: LoadSettings
    telemetry: Telemetry
    clock: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
    addresses: Addresses = field(default_factory=lambda: Addresses(("",)))
    # What one of these buckets does not take concerns nothing else. A cause that is the whole
    # sink's shows at a tier's bucket as well.
    others: OtherBuckets = field(default_factory=OtherBuckets)

    def __post_init__(self) -> None:
        settings, telemetry = self.settings, self.telemetry
        self._backoff = Backoff(settings.backoff_base_seconds, settings.backoff_max_seconds)
        self._lock = threading.RLock()
        self._wait_until_seconds = -inf
        self._wait_message = ""
        self._paused: _Paused | None = None
        self._circuit = CircuitState.CLOSED
        self._opened_at_seconds = -inf
        self._failures = 0  # in a row
        self._last_failure = ""
        telemetry.set("etl_sink_paused", 0)
        telemetry.set("etl_circuit_state", CircuitState.CLOSED)

    @property
    def in_doubt(self) -> bool:
        """Whether the next post finds out if the sink takes points again, and must go alone."""
        return self._paused is not None or self._circuit is not CircuitState.CLOSED

    @property
    def paused_by(self) -> str:
        """Why the loader is paused, as a short word; empty if it is not."""
        paused = self._paused
        return "" if paused is None else paused.cause

    @property
    def paused_because(self) -> Pause:
        """The verdict of the pause."""
        paused = self._paused
        return Pause("" if paused is None else paused.reason)

    @property
    def probes(self) -> int:
        """How many posts a pause has let through; 0 without one."""
        paused = self._paused
        return 0 if paused is None else paused.probes

    @property
    def seconds_to_probe(self) -> float:
        """How long a pause lets nothing through; 0 without one."""
        paused = self._paused
        return 0.0 if paused is None else max(0.0, paused.probe_at_seconds - self.clock())

    def ask(self, *, with_points: bool = True) -> Pause | None:
        """None if a request may be made now, else the verdict for what must not be posted.

        A wait is a pause for all but the entries that met it: taking more from the stream, only to
        release it again, would move the whole backlog through this process and out again.
        A request without points is let through by a pause that it can end.
        """
        with self._lock:
            now = self.clock()
            paused = self._paused
            if (
                paused is not None
                and now < paused.probe_at_seconds
                and (with_points or paused.ends_by is not Proof.REQUEST)
            ):
                return Pause(paused.reason)
            if (left := self._wait_until_seconds - now) > 0:
                return Pause(_asked_to_wait(left, self._wait_message))
            if self._circuit is CircuitState.OPEN:
                left = self._opened_at_seconds + self.settings.circuit_open_seconds - now
                if left > 0:
                    return Pause(f"circuit open for another {left:.1f} s: {self._last_failure}")
                if with_points:
                    self._set_circuit(CircuitState.HALF_OPEN)
            return None

    def report(self, outcome: Outcome, bucket: str, *, suspect: bool = False) -> NotNow | None:
        """Take in what came of a post: the verdict for its entries, or None if it is about points.

        ``suspect``: the post belongs to a search for what the server fails at in an entry, while it
        takes others. Then a failure is about the points too, and does not count against the sink.
        """
        with self._lock:
            if not suspect or self._circuit is not CircuitState.CLOSED:
                self._count(outcome)
            if outcome.kind in PAUSES and bucket in self.others:
                return self.others.refused(outcome, bucket)
            if outcome.kind in PAUSES:
                ends_by = Proof.POINTS if outcome.kind is Kind.CAPACITY else Proof.REQUEST
                return self.pause(outcome.cause, describe(outcome, bucket), ends_by)
            if outcome.kind in FAILURES:
                self._last_failure = describe(outcome, bucket)
                if suspect and outcome.kind is Kind.FAILED:
                    return None
                return self._wait(outcome) or self.back_off()
            self.others.judges(bucket)
            self.resume(Proof.POINTS if outcome.kind is Kind.WRITTEN else Proof.REQUEST)
            return None

    def back_off(self, failures: int = 0) -> Retry:
        """The verdict for entries that are to wait although the sink may take others.

        ``failures``: how many they have had of their own.
        """
        with self._lock:
            wait_seconds = self._backoff.seconds(max(failures, self._failures), self.rng)
            return Retry(wait_seconds, self._last_failure)

    def pause(self, cause: str, reason: str, ends_by: Proof) -> Pause:
        """Post nothing until ``ends_by`` is given; ``cause`` is a short stable word."""
        with self._lock:
            now = self.clock()
            before = self._paused or _Paused("", "", ends_by, now, 0, now)
            probes, probe_at = before.probes, before.probe_at_seconds
            if now >= probe_at:  # else another thread has just come to the same end
                probes += 1
                probe_at = now + self._backoff.bound_seconds(probes)
            since = before.since_seconds
            self._paused = _Paused(cause, reason, ends_by, since, probes, probe_at)
            if before.cause != cause:
                self.telemetry.emit(
                    "sink_paused", cause=cause, message=reason, probe_after_seconds=probe_at - now
                )
            self.telemetry.set("etl_sink_paused", 1)
        return Pause(reason)

    def resume(self, proof: Proof) -> None:
        """End the pause, if there is one that ``proof`` ends."""
        with self._lock:
            paused = self._paused
            if paused is None or proof < paused.ends_by:
                return
            self._paused = None
            paused_seconds = self.clock() - paused.since_seconds
            self.telemetry.emit("sink_resumed", paused_seconds=paused_seconds)
            self.telemetry.set("etl_sink_paused", 0)

    def check(self, probe: Callable[[str], Outcome]) -> str | None:
        """Whether the sink would take points of every tier now; None if so, else why not.

        ``probe`` makes a request without points for a bucket.
        """
        if (pause := self.ask(with_points=False)) is not None:
            return pause.reason
        for bucket in dict.fromkeys(tier.bucket for tier in self.settings.tiers.values()):
            outcome = probe(bucket)
            if outcome.kind is not Kind.WRITTEN:
                reason = describe(outcome, bucket)
                if outcome.kind in PAUSES:
                    self.pause(outcome.cause, reason, Proof.REQUEST)
                return reason
        self.resume(Proof.REQUEST)
        return None

    # -- by who has the lock ---------------------------------------------------------------

    def _count(self, outcome: Outcome) -> None:
        if not outcome.strains:
            self._failures = 0
            self.addresses.answered(outcome.url)
            if self._circuit is CircuitState.HALF_OPEN:
                self._set_circuit(CircuitState.CLOSED)
            return
        if outcome.url and outcome.url != self.addresses.url:
            return  # it was under way when another URL took over, of which it says nothing
        self._failures += 1
        if self._circuit is CircuitState.HALF_OPEN or (
            self._circuit is CircuitState.CLOSED
            and self._failures >= self.settings.circuit_failures
        ):
            if self.addresses.failed(outcome.url or self.addresses.url):
                self._failures = 0  # nobody waits for the other URL
                self._set_circuit(CircuitState.HALF_OPEN)
                return
            self._opened_at_seconds = self.clock()
            self._set_circuit(CircuitState.OPEN)

    def _set_circuit(self, state: CircuitState) -> None:
        if state is self._circuit:  # one URL after the other is tried
            return
        self._circuit = state
        self.telemetry.set("etl_circuit_state", state)
        self.telemetry.emit("sink_circuit_changed", state=state.name.lower())

    def _wait(self, outcome: Outcome) -> Retry | None:
        if outcome.retry_after_seconds is None:
            return None
        seconds = min(outcome.retry_after_seconds, self.settings.retry_after_max_seconds)
        self._wait_until_seconds = max(self._wait_until_seconds, self.clock() + seconds)
        self._wait_message = outcome.message
        self.telemetry.emit("sink_retry_after", after_seconds=seconds, message=outcome.message)
        return Retry(seconds, _asked_to_wait(seconds, outcome.message))


def _asked_to_wait(seconds: float, message: str) -> str:
    return f"the sink asked to wait {seconds:.1f} s: {message}"
