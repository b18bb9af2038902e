"""One post: whether it may be made now, what is to be counted, and who waits afterwards."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.config.load import LoadSettings
from common.runtime.telemetry import Telemetry
from common.state.verdict import Pause, Retry
from services.loader.breaker import Circuit, CircuitState
from services.loader.gate import Gate
from services.loader.influx import Sink
from services.loader.isolate import Interrupted
from services.loader.rejected_share import REJECTED_SHARE
from services.loader.responses import FAILURES, HOLDS, Kind, Outcome
from services.loader.suspects import Suspects

# Failures of an entry, while others pass, after which the trouble is looked for inside it, and
# after which it is a dead letter as a whole if nothing of it is ever taken.
SUSPECT_FAILURES = 3
HOPELESS_FAILURES = 10


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """What posts are made for: a bucket, entries, the instant after which no more are made.

    ``suspect``: the search for what the server fails at; its failures are answers, not outages.
    """

    bucket: str
    ids: Sequence[str]
    deadline_seconds: float
    suspect: bool = False


class Poster:
    """Posts to the sink from several threads. For the parameters see :class:`LoadHandler`."""

    def __init__(
        self,
        settings: LoadSettings,
        sink: Sink,
        telemetry: Telemetry,
        *,
        stopping: Callable[[], bool],
        tick: Callable[[], None],
        still_ours: Callable[[Sequence[str]], bool],
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._telemetry = telemetry
        self._stopping = stopping
        self._tick = tick
        self._still_ours = still_ours
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._failures = 0
        self._last_failure = ""
        self.suspects = Suspects(failures=SUSPECT_FAILURES)
        self.gate = Gate(
            telemetry,
            base_seconds=settings.backoff_base_seconds,
            max_seconds=settings.backoff_max_seconds,
            wait_max_seconds=settings.retry_after_max_seconds,
            clock=clock,
        )
        self._circuit = Circuit(
            failures=settings.circuit_failures,
            open_seconds=settings.circuit_open_seconds,
            changed=self._circuit_changed,
            clock=clock,
        )
        telemetry.set("etl_circuit_state", CircuitState.CLOSED)

    @property
    def probing(self) -> bool:
        """Whether the next post finds out if the sink is back; others should wait for it."""
        return self.gate.probing or self._circuit.state is not CircuitState.CLOSED

    def check(self) -> str | None:
        """Whether the sink would take points of every tier now; None if so, else why not."""
        if not self.gate.by_request and (blocked := self.gate.blocked()) is not None:
            return blocked.reason
        if self._circuit.seconds_left:
            return self._open_circuit().reason
        for bucket in dict.fromkeys(tier.bucket for tier in self._settings.tiers.values()):
            outcome = self._sink.probe(bucket)
            if outcome.kind is not Kind.WRITTEN:
                reason = described(outcome, bucket)
                if outcome.kind in HOLDS:
                    self.gate.hold(outcome.cause, reason, by_request=True)
                return reason
        self.gate.passed(with_points=False)
        return None

    def post(self, request: WriteRequest, body: bytes) -> Outcome:
        """Post; the outcome is about points. All else is raised as :class:`Interrupted`.

        For a suspect :attr:`Kind.FAILED` is returned too.
        """
        if self._stopping():
            raise Interrupted(Retry(0.0, "stopping"))
        if self._clock() > request.deadline_seconds:
            raise Interrupted(Retry(0.0, "the search goes on with the next delivery"))
        if (blocked := self.gate.blocked()) is not None:
            raise Interrupted(blocked)
        if not self._still_ours(request.ids):
            raise Interrupted(Retry(0.0, "the lease was lost"))
        outcome = self._send(request, body)
        if outcome.kind in HOLDS:
            by_request = outcome.kind is not Kind.CAPACITY
            reason = described(outcome, request.bucket)
            raise Interrupted(self.gate.hold(outcome.cause, reason, by_request=by_request))
        if outcome.kind is Kind.FAILED:
            self.suspects.failed(request.ids)
            if request.suspect:
                return outcome
        if outcome.kind in FAILURES:
            raise self.back_off(outcome)
        with self._lock:
            self._failures = 0
        if outcome.kind is Kind.WRITTEN:
            self.suspects.passed()
        if self.gate.cause != REJECTED_SHARE:  # that hold is for the batch as a whole to disprove
            self.gate.passed(with_points=outcome.kind is Kind.WRITTEN)
        return outcome

    def give_up(self, request: WriteRequest, outcome: Outcome) -> Interrupted | None:
        """The end of a search for what the server fails at, if nothing at all was taken.

        None if it failed so often, others passing after each time, that it is to blame itself.
        """
        if all(self.suspects.failures(id_) >= HOPELESS_FAILURES for id_ in request.ids):
            return None
        return self.back_off(outcome)

    def back_off(self, outcome: Outcome) -> Interrupted:
        """The wait after a failure: what the sink asked for, else full jitter."""
        if outcome.retry_after_seconds is not None:
            return Interrupted(self.gate.wait(outcome.retry_after_seconds, outcome.words))
        with self._lock:
            self._failures += 1
            failures = self._failures
        return Interrupted(Retry(self._jitter(failures), self._last_failure))

    def _send(self, request: WriteRequest, body: bytes) -> Outcome:
        def write() -> Outcome:
            return self._sink.write(request.bucket, body)

        started = self._clock()
        outcome: Outcome | None
        if request.suspect and self._circuit.state is CircuitState.CLOSED:
            outcome = write()  # others pass: the failures to come are the entry's, not the sink's
        else:
            outcome = self._circuit.call(write)
        self._tick()
        if outcome is None:
            raise Interrupted(self._open_circuit())
        telemetry = self._telemetry
        telemetry.observe("etl_sink_post_duration_seconds", self._clock() - started)
        telemetry.inc("etl_sink_posts_total", response=outcome.kind.value)
        telemetry.inc("etl_sink_posted_bytes_total", len(body))
        if outcome.kind in FAILURES:
            self._last_failure = described(outcome, request.bucket)
            telemetry.emit(
                "sink_failed", cause=outcome.cause, bucket=request.bucket, words=outcome.words
            )
        return outcome

    def _open_circuit(self) -> Pause:
        left = self._circuit.seconds_left
        return Pause(f"circuit open for another {left:.1f} s: {self._last_failure}")

    def _jitter(self, attempt: int) -> float:
        """Anything between nothing and a bound that doubles with every failure in a row."""
        settings = self._settings
        bound = min(
            settings.backoff_max_seconds, settings.backoff_base_seconds * 2 ** min(attempt - 1, 32)
        )
        with self._lock:
            return self._rng.uniform(0.0, bound)

    def _circuit_changed(self, state: CircuitState) -> None:
        self._telemetry.set("etl_circuit_state", state)
        self._telemetry.emit("sink_circuit_changed", state=state.name.lower())


def described(outcome: Outcome, bucket: str) -> str:
    """One sentence on an answer that is not about points."""
    if outcome.status is None:
        return f"InfluxDB gave no answer ({outcome.cause}): {outcome.words}"
    what = {
        Kind.CAPACITY: "is at one of its limits",
        Kind.REFUSED: "refuses our token",
        Kind.MISSING: "does not know the bucket or organisation",
        Kind.UNEXPECTED: "answered what no InfluxDB answers to a write",
    }.get(outcome.kind, "failed")
    return f"InfluxDB {what} (bucket {bucket}, status {outcome.status}): {outcome.words}"
