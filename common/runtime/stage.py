"""The loop of a stage: claim what was left behind, read what is new, handle it, settle it.

Shutdown, leases, retries, poison and waiting for dependencies live here and only here; a handler
turns entries into verdicts and knows nothing of Redis.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.exceptions import OutOfMemoryError, RedisError

from common.exit_codes import ExitCode
from common.runtime.backoff import Backoff
from common.runtime.in_hand import InHand
from common.runtime.lasting import Lasting
from common.runtime.leases import LeaseRenewal
from common.runtime.telemetry import Telemetry
from common.runtime.undeliverable import about, decide, without_pushed_letters
from common.state.connection.redis_client import BLOCK_SECONDS
from common.state.stream import Claimed, RedisStream, SettleResult
from common.state.verdict import DeadLetter, Entry, Handler, Pause, Retry, Settle, Verdict


@dataclass(frozen=True, slots=True)
class StageLimits:
    """How a stage behaves; durations in seconds, counts in entries or crashes."""

    read_entries: int = 8
    lease_seconds: float = 30.0
    handle_max_seconds: float = 600.0
    poison_crashes: int = 3
    backoff_base_seconds: float = 0.5
    backoff_max_seconds: float = 15.0
    check_every_seconds: float = 15.0
    claim_every_seconds: float = 0.0
    claim_alone_seconds: float = 15.0
    claim_held_seconds: float = 0.5
    forget_idle_seconds: float = 3600.0
    block_seconds: float = BLOCK_SECONDS
    block_held_seconds: float = 2.0
    detail_max_chars: int = 2000


@dataclass
class Lifecycle:
    """What the loop needs of its service: a stop event, a heartbeat and readiness.

    ``answered`` is called whenever Redis has served the loop.
    """

    stop: threading.Event
    tick: Callable[[], None]
    set_ready: Callable[[str, bool, str], None]
    answered: Callable[[], None] = lambda: None


class Stage:
    """Runs a handler over a stream until its service stops."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        stream: RedisStream,
        handler: Handler,
        telemetry: Telemetry,
        limits: StageLimits,
        *,
        mirror: Callable[[Entry, DeadLetter], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._mirror = mirror
        self._life = lifecycle
        self._stream = stream
        self._handler = handler
        self._telemetry = telemetry
        self._limits = limits
        self._clock = clock
        self._rng = rng or random.Random()
        self._in_hand = InHand(stream, telemetry, handler.stage)
        base_seconds = limits.backoff_base_seconds
        # The first wait is up to twice the base, and none is very short.
        self._backoff = Backoff(2 * base_seconds, limits.backoff_max_seconds, base_seconds / 2)
        self._failures = 0  # attempts in a row to reach Redis that failed
        self._pauses = 0  # checks in a row that the dependency did not pass
        self._pause_reason: str | None = "not checked yet"
        self._was_ready = False
        self._checked_at = float("-inf")
        self._paused = Lasting(clock)
        self._full = Lasting(clock)
        self._claim_at = float("-inf")
        self._from_head = True
        self._claimed = False  # what is in hand
        self._forgot_at = clock()
        self._released_at = float("-inf")

    def run(self) -> ExitCode:
        """Work until the stop event is set, then release what is left and return."""
        try:
            while not self._life.stop.is_set():
                self._life.tick()
                self.step()
        finally:
            self.release_in_hand()
            self._handler.close()
        return ExitCode.OK

    def step(self) -> None:
        """One turn: make sure that the dependency serves us, take entries, work on them."""
        if not self._ready_for_work():
            return
        try:
            entries = self._take()
        except RedisError as error:
            self._redis_failed(error)
            return
        self._redis_answered()
        if entries:
            self._process(entries)

    def release_in_hand(self) -> None:
        """Release the entries in hand to other workers, without counting a crash.

        Called at the end of the loop, and by the service's watchdog when the drain deadline passes.
        """
        self._in_hand.release()

    # -- taking work ------------------------------------------------------------------------

    def _ready_for_work(self) -> bool:
        """Check the dependency while it does not serve us, and now and then when all is well."""
        paused = self._pause_reason is not None
        if not paused and self._clock() - self._checked_at < self._limits.check_every_seconds:
            return True
        if self._pauses and self._wait(self._pauses):
            return False
        reason = self._handler.check()
        self._checked_at = self._clock()
        if reason is not None:
            self._pause(reason)
            return False
        if paused and (self._paused.over() or not self._was_ready):
            self._was_ready = True
            self._telemetry.emit("dependency_ready", stage=self._handler.stage)
        self._pause_reason = None
        self._pauses = 0
        self._life.set_ready("dependency", True, "")
        return True

    def _pause(self, reason: str, held: Sequence[Entry] = ()) -> None:
        self._pause_reason = reason
        self._pauses += 1
        self._from_head = True  # what ends a pause is judged by the oldest entries
        self._life.set_ready("dependency", False, reason)
        stage = self._handler.stage
        if (report := self._paused.again(reason, held)) is not None:
            self._telemetry.emit("stage_paused", stage=stage, **report)
        else:
            self._telemetry.inc("etl_pauses_total", stage=stage)

    def _take(self) -> list[Entry]:
        now = self._clock()
        entries: list[Entry] = []
        if now >= self._claim_at:
            claimed = self._stream.claim(self._limits.read_entries, from_head=self._from_head)
            # The oldest have every second turn, so that they end; the others have theirs, too.
            self._from_head = not self._from_head
            self._report_claimed(claimed)
            entries = list(claimed.entries)
            limits = self._limits
            seconds = limits.claim_alone_seconds if claimed.alone else limits.claim_every_seconds
            # Where there was something there may be more.
            self._claim_at = now if entries else now + seconds
        self._claimed = bool(entries)
        if not entries:
            if now - self._forgot_at > self._limits.forget_idle_seconds / 10:
                self._forgot_at = now
                self._stream.forget_consumers(self._limits.forget_idle_seconds)
            entries = self._stream.read(self._limits.read_entries, self._block_seconds(now))
        return entries

    def _block_seconds(self, now: float) -> float:
        """For how long to wait for new entries; less where some that were released may be due."""
        limits = self._limits
        if now - self._released_at > _MAY_BE_DUE_SECONDS:
            return limits.block_seconds
        return min(limits.block_seconds, limits.block_held_seconds)

    def _report_claimed(self, claimed: Claimed) -> None:
        for entry in claimed.entries:
            self._telemetry.emit(
                "entry_claimed",
                stage=self._handler.stage,
                entry=entry.id,
                query=entry.query,
                crashes=entry.crashes,
            )
        for id_ in claimed.deleted:
            self._telemetry.emit("pending_entry_deleted", stage=self._handler.stage, entry=id_)

    def _redis_failed(self, error: RedisError) -> None:
        """Report that Redis did not respond, and wait."""
        self._failures += 1
        self._redis_unavailable(error)
        self._wait(self._failures)

    def _redis_unavailable(self, error: RedisError) -> None:
        self._life.tick()  # one that hangs takes its whole time-out, for each entry in hand
        self._life.set_ready("stream", False, str(error))
        self._telemetry.emit("redis_unavailable", stage=self._handler.stage, error=str(error))

    def _redis_answered(self) -> None:
        self._failures = 0
        self._life.answered()
        self._life.set_ready("stream", True, "")

    def _wait(self, failures: int) -> bool:
        """Wait after so many failures in a row; True when a shutdown cut it short."""
        deadline = self._clock() + self._backoff.seconds(failures, self._rng)
        while (left := deadline - self._clock()) > 0:
            self._life.tick()
            if self._life.stop.wait(min(left, 1.0)):
                return True
        return self._life.stop.is_set()

    # -- working ----------------------------------------------------------------------------

    def _process(self, entries: Sequence[Entry]) -> None:
        started = self._clock()
        self._in_hand.add(entries)
        try:
            with LeaseRenewal(
                self._in_hand.renew,
                self._limits.lease_seconds,
                max_seconds=self._limits.handle_max_seconds,
                clock=self._clock,
            ):
                verdicts = self._judge(entries)
                settled = [
                    entry.samples
                    for entry, verdict in zip(entries, verdicts, strict=True)
                    if self._carry_out(entry, verdict)
                ]
                if paused := [v for v in verdicts if isinstance(v, Pause)]:
                    held = [e for e, v in zip(entries, verdicts, strict=True) if v in paused]
                    self._pause(paused[0].reason, held)
                if self._claimed and all(
                    isinstance(v, Retry) and v is not _RELEASED for v in verdicts
                ):
                    # Many that wait and come back must not keep away what is new.
                    self._claim_at = self._clock() + self._limits.claim_held_seconds
        finally:
            self._in_hand.remove(entries)
        self._telemetry.observe(
            "etl_batch_duration_seconds", self._clock() - started, stage=self._handler.stage
        )
        if settled:
            self._telemetry.batch_succeeded(sum(settled), self._clock() - started)

    def _judge(self, entries: Sequence[Entry]) -> list[Verdict]:
        """The handler's verdicts; entries that no handler should see are decided before it."""
        verdicts: dict[str, Verdict] = {}
        for entry in entries:
            decided = decide(entry, self._limits.poison_crashes, self._stream.knows_window)
            if decided is not None:
                if entry.payload_missing:
                    self._telemetry.emit("payload_lost", stage=self._handler.stage, **about(entry))
                verdicts[entry.id] = decided
        rest = [entry for entry in entries if entry.id not in verdicts]
        if rest:
            try:
                judged = self._handler.handle(rest)
                verdicts |= {e.id: v for e, v in zip(rest, judged, strict=True)}
            except Exception as error:
                # It counts like a crash, so that an entry which always fails is tried alone and
                # ends in the dead letters instead of coming back for ever.
                self._telemetry.emit(
                    "handler_failed",
                    stage=self._handler.stage,
                    error_type=type(error).__name__,
                    error=str(error)[: self._limits.detail_max_chars],
                    entries=len(rest),
                )
                self._telemetry.batch_failed(type(error).__name__)
                self._release([entry.id for entry in rest], 0.0, crashed=True)
                verdicts |= {entry.id: _RELEASED for entry in rest}
        return [verdicts[entry.id] for entry in entries]

    def _carry_out(self, entry: Entry, verdict: Verdict) -> bool:
        """Whether the entry is settled now, by us."""
        match verdict:
            case Settle():
                return self._settle(entry, without_pushed_letters(entry, verdict))
            case Retry(after_seconds, reason):
                if verdict is not _RELEASED:
                    self._telemetry.emit(
                        "entry_retried", stage=self._handler.stage, reason=reason, entry=entry.id
                    )
                    self._release([entry.id], after_seconds)
            case Pause():
                self._release([entry.id], 0.0)
        return False

    def _settle(self, entry: Entry, verdict: Settle) -> bool:
        failed = False
        while True:
            try:
                result = self._stream.settle(entry, verdict, self._handler.stage)
                break
            except RedisError as error:
                # Whether the script ran is unknown; trying again settles the question, because an
                # entry that is settled refuses. Until then nothing else is taken.
                failed = True
                self._redis_failed(error)
                if isinstance(error, OutOfMemoryError):  # what needs none frees some
                    self._release([entry.id], self._limits.check_every_seconds)
                    return False
                if self._life.stop.is_set():
                    return False
        self._redis_answered()
        stage = self._handler.stage
        if result is SettleResult.OK:
            self._count(entry, verdict)
        elif result is SettleResult.REFUSED:
            self._telemetry.emit(
                "settlement_refused", stage=stage, entry=entry.id, after_unknown=failed
            )
            if failed:
                # Most likely it was carried out and the reply lost: better twice than not at all.
                self._copy_dead_letters(entry, verdict)
            try:
                self._stream.compare_again(entry, verdict)
            except RedisError as error:
                self._redis_unavailable(error)
        elif result is SettleResult.DEAD_FULL:
            self._hold(entry)
        else:
            counts = {"entry_samples": entry.samples, "verdict_samples": verdict.samples}
            self._telemetry.emit(
                "settlement_invalid", stage=stage, entry=entry.id, result=result.value, **counts
            )
            self._release([entry.id], self._limits.backoff_base_seconds, crashed=True)
        return result is SettleResult.OK

    def _hold(self, entry: Entry) -> None:
        """There is no room for its dead letters: it waits, and nothing else does."""
        self._release([entry.id], self._limits.check_every_seconds)
        # What is new goes between those that wait: they come back first, however many they are.
        self._claim_at = self._clock() + self._limits.claim_held_seconds
        stage, reason = self._handler.stage, "replay or purge some, or raise the cap"
        if (report := self._full.again(reason, [entry])) is not None:
            self._telemetry.emit("dead_letters_full", stage=stage, **report)
        else:
            self._telemetry.inc("etl_dead_letters_held_total", stage=stage)

    def _count(self, entry: Entry, verdict: Settle) -> None:
        """Counters rise only here, after the settlement that they speak of succeeded."""
        telemetry, stage = self._telemetry, self._handler.stage
        telemetry.inc("etl_settled_samples_total", entry.samples, stage=stage)
        if verdict.loaded:
            telemetry.inc("etl_loaded_samples_total", verdict.loaded)
        for reason, samples in verdict.drops.items():
            if samples:
                telemetry.inc("etl_dropped_samples_total", samples, reason=reason)
        self._copy_dead_letters(entry, verdict)
        for dead in verdict.dead:
            telemetry.emit(
                "dead_lettered",
                stage=stage,
                reason=dead.reason,
                detail=dead.detail[:200],
                query=entry.query,
                entry=entry.id,
                samples=dead.samples,
            )

    def _copy_dead_letters(self, entry: Entry, verdict: Settle) -> None:
        if self._mirror is not None:
            for dead in verdict.dead:
                self._mirror(entry, dead)

    def _release(self, ids: Sequence[str], after_seconds: float, *, crashed: bool = False) -> None:
        self._released_at = now = self._clock()
        self._claim_at = min(self._claim_at, now + self._limits.claim_every_seconds)
        try:
            self._stream.release(ids, after_seconds, crashed=crashed)
        except RedisError as error:
            # They stay pending with us; our own lease runs out and we claim them again.
            self._redis_unavailable(error)


_RELEASED = Retry(0.0, "released")
# After that what was released has been claimed, most likely.
_MAY_BE_DUE_SECONDS = 60.0
