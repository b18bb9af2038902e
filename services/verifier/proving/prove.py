"""Proves each range once, after its last recount, and what differs again and again.

Every few seconds Redis, source and sink are asked whether they serve us, and Redis what became due.
Every ``verify.every_seconds`` a turn compares that, query by query in pieces of some memory, at a
rate that the CPU budget allows. What the source has deleted by then is compared with its seals.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache, partial

from redis.exceptions import RedisError

from common.config import Settings, TierName
from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SinkError,
    SinkSlow,
    SourceError,
    SourceRefused,
)
from common.runtime.readiness.identity_guard import IdentityGuard
from common.runtime.stage import Lifecycle
from common.runtime.telemetry import Telemetry
from common.source.remote_read.fallbacks import counted
from common.state.feeds import Range
from common.state.keys import feed_of
from common.state.proven import Differing, FeedProof, ProofRecord, Proven
from common.state.ranges import clipped, without
from services.verifier.explain import EXPIRED, GONE
from services.verifier.proving.budget import CpuBudget
from services.verifier.proving.excused import Excused
from services.verifier.proving.forgotten import Forgotten
from services.verifier.proving.judgement import judge
from services.verifier.proving.pieces import FIRST_PIECE_MS, SHORTEST_BY_TIME_MS, PieceLengths
from services.verifier.proving.repair import Repair
from services.verifier.proving.report import report_compared, report_proven, report_sealed
from services.verifier.proving.restarts import SinkRestarts
from services.verifier.run import Subject, Verifier
from services.verifier.sealed.check import Checker
from services.verifier.sealed.wiring import checker_of
from services.verifier.source import ChunkReading
from services.verifier.wiring import choose_tiers, connected, feeds_of, verifier

# A verifier that went silent for so long is none any more.
LEASE_SECONDS = 120.0
# After so long a turn makes its connections anew, and with them what it knows of clocks and names.
TURN_SECONDS = 600.0
# So long it stays with one tier of one source while something of another is due.
SHARE_SECONDS = 60.0
_TICK_SECONDS = 1.0


class _Ended(Exception):
    """The turn cannot go on: the service stops, or another verifier works."""


@dataclass
class Prover:
    """The loop.

    ``clock`` gives seconds and never runs backwards, ``wall_clock`` those since the epoch.
    """

    settings: Settings
    life: Lifecycle
    telemetry: Telemetry
    record: ProofRecord
    guard: IdentityGuard
    _: KW_ONLY
    budget: CpuBudget
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    repair: Repair = field(init=False)
    restarts: SinkRestarts = field(init=False)
    _begin_at: float = field(default=float("-inf"), init=False)
    _looked_at: float = field(default=float("-inf"), init=False)
    _rested_seconds: float = field(default=0.0, init=False)
    # Of which feeds something was due when we looked last.
    _due: frozenset[str] = field(default=frozenset(), init=False)
    # What is being compared, and what was opened again of it meanwhile.
    _at: str = field(default="", init=False)
    _reopened: list[Range] = field(default_factory=list, init=False)
    _pieces: PieceLengths = field(init=False)
    _excused: Excused = field(default_factory=Excused, init=False)
    # Feeds that a turn had no time for, and ranges that the sink was too slow for in this one.
    _left: set[str] = field(default_factory=set, init=False)
    _put_off: set[tuple[str, int, int]] = field(default_factory=set, init=False)
    _chunks: dict[str, ChunkReading] = field(init=False)  # of each source

    def __post_init__(self) -> None:
        self._chunks = defaultdict(partial(ChunkReading, counted(self.telemetry)))
        self._pieces = PieceLengths(self.settings.load.influxdb.timeout_seconds)
        record, settings = self.record, self.settings
        self.repair = Repair(record.windows, settings, self.telemetry, self.clock, record.lease)
        self.restarts = SinkRestarts(record, settings, self.telemetry, self._now_ms)

    def run(self) -> None:
        """One turn after the other, until the service stops."""
        while not self.life.stop.is_set():
            self.life.tick()
            self.turn()
            self._wait(self.settings.pipeline.interval_seconds)
        with suppress(RedisError):  # it expires by itself
            self.record.release()

    def turn(self) -> None:
        """Look at all that we depend on, and compare what is due."""
        ready = self.life.set_ready
        self.budget.begin()
        try:
            idle = self._look(begins=True)
            ready("redis", True, idle)
            begins = not idle and self.clock() >= self._begin_at
            if begins:
                self._begin_at = self.clock() + self.settings.verify.every_seconds
            for one_source in self.settings.each_source:
                self.life.tick()  # one that hangs takes its whole time-out
                self._turn_of(one_source, begins=begins)
        except _Ended:
            pass
        except RedisError as error:
            ready("redis", False, str(error))
        except SinkError as error:
            self._failed("sink", error)

    def _turn_of(self, settings: Settings, *, begins: bool) -> None:
        """The same for one source; one that is away is no reason not to compare the others."""
        name, ready = settings.extract.source, self.life.set_ready
        check = f"source@{name}" if name else "source"
        tick = self._keep_budget if begins else self.life.tick
        try:
            for tier in choose_tiers(settings, ()):
                with connected(settings, (), None, tier, self._chunks[name], tick) as parts:
                    ready(check, True, "")
                    ready("sink", True, "")
                    if begins:
                        self.restarts.look(parts.sink, tick)
                        self._compare_all(verifier(parts), tier)
        except SourceError as error:
            self._failed(check, error)

    def _failed(self, dependency: str, error: Exception) -> None:
        self.telemetry.batch_failed(type(error).__name__)
        self.life.set_ready(dependency, False, str(error))
        self._begin_at = float("-inf")  # what could not be compared is still due

    def _look(self, *, begins: bool = False) -> str:
        """Publish what is proven, and keep what is not any more; why we do not work, or nothing.

        Raises :class:`redis.exceptions.RedisError`.
        """
        self._looked_at = self.clock()
        if (reason := self.guard.reason()) is not None:
            self.life.set_ready("redis", False, reason)
            raise _Ended
        proofs = self.record.read()
        self._due = frozenset(name for name, proof in proofs.items() if self._has_due(proof))
        for proof in proofs.values():
            self._reopened += proof.reopened if proof.feed.name == self._at else []
            report_proven(self.telemetry, proof)
        if not self.settings.verify.enabled:
            return "verify.enabled is false"
        return "" if self.record.save(proofs, begins=begins) else "another verifier works"

    def _compare_all(self, whole: Verifier, tier: TierName) -> None:
        """Compare pieces of a tier's feeds in turn, until nothing is due or the turn is over."""
        began = self.clock()
        names = {feed_of(one.name, tier): one for one in whole.subjects}
        queue = [names[name] for name in sorted(names, key=lambda name: name not in self._left)]
        self._left -= names.keys()
        self._put_off.clear()
        not_here = feeds_of(self.settings) - names.keys()

        @cache
        def checker() -> Checker:
            """Asks the sink for its measurements, so only once, and only where it is needed."""
            return checker_of(self.settings, whole.sink, self._now_ms, self._progress, tier)

        while queue:
            share_seconds = TURN_SECONDS if self._due.isdisjoint(not_here) else SHARE_SECONDS
            if self.clock() >= began + share_seconds:
                self._begin_at = float("-inf")
                self._left.update(feed_of(one.name, tier) for one in queue)
                return
            subject = queue.pop(0)
            others = [one.owns for one in whole.subjects if one is not subject]
            one = replace(whole, subjects=[subject], bystanders=others, progress=self._progress)
            try:
                if self._step(one, subject, tier, checker):
                    queue.append(subject)
            except SourceRefused:
                raise
            except (SourceError, SinkSlow) as error:
                # This query's, perhaps: the others go on, and it is tried again in the next turn.
                if isinstance(error, SinkSlow):
                    self._begin_at = float("-inf")  # with less at once
                self._tell(subject, tier, error)
            self._keep_budget()

    def _tell(self, subject: Subject, tier: TierName, error: Exception) -> None:
        self.telemetry.batch_failed(type(error).__name__)
        self.telemetry.emit("verify_failed", query=subject.name, tier=tier, error=str(error))

    def _step(
        self, one: Verifier, subject: Subject, tier: TierName, checker: Callable[[], Checker]
    ) -> bool:
        """Do the next thing that is due of a feed, if any; whether there was."""
        self._at, self._reopened = feed_of(subject.name, tier), []
        proof = self.record.read(self._at).get(self._at)
        if proof is None:
            return False
        forgotten = Forgotten.of(one, subject, proof)
        for range_ in proof.proven.differing:
            put_off = self._at, range_.start_ms, range_.end_ms
            if self._is_due(range_) and put_off not in self._put_off:
                try:
                    self._again(one, proof, range_, forgotten, checker)
                except (SinkSlow, QueryRejected, QueryTooLarge) as error:
                    self._put_off.add(put_off)  # what is new comes before its next time
                    self._tell(subject, tier, error)
                return True
        if not (to_do := proof.to_do):
            return False
        start_ms, due_ms = to_do[0]
        name, pieces = self._at, self._pieces
        one.first_piece_ms = pieces.of(name, one.first_piece_ms)
        limit_ms, by_seals = forgotten.up_to(start_ms, due_ms)
        end_ms = min(limit_ms, start_ms + pieces.of(name))
        began, shortest_ms = self.clock() - self._rested_seconds, SHORTEST_BY_TIME_MS
        if by_seals:
            # A window is read as a whole, however little of it is in the piece.
            shortest_ms = FIRST_PIECE_MS
            samples = self._check(checker(), proof, start_ms, end_ms, limit_ms)
        else:
            try:
                samples = self._compare(one, proof, start_ms, end_ms)
            except SinkSlow:
                pieces.too_long(name, end_ms - start_ms)
                raise
        took_seconds = self.clock() - self._rested_seconds - began
        share = samples / one.piece_samples
        length_ms = end_ms - start_ms
        pieces.done(
            name, length_ms, share=share, took_seconds=took_seconds, shortest_ms=shortest_ms
        )
        return True

    def _has_due(self, proof: FeedProof) -> bool:
        return bool(proof.to_do) or any(map(self._is_due, proof.proven.differing))

    def _is_due(self, range_: Differing) -> bool:
        passed_ms = self._now_ms() - range_.at_ms
        return passed_ms < 0 or passed_ms >= self.settings.verify.again_seconds * 1000

    def _again(
        self,
        one: Verifier,
        proof: FeedProof,
        range_: Differing,
        forgotten: Forgotten,
        checker: Callable[[], Checker],
    ) -> None:
        """Compare a range that differed once more: with the source what that still has."""
        if forgotten.is_mixed(*range_[:2]):  # each part by itself, as if it was never compared
            if now := self._still(proof, *range_[:2]):
                self._save(now, now.proven.within(without(now.settled, [range_[:2]])))
            return
        middle_ms, by_seals = forgotten.up_to(*range_[:2])
        if by_seals:
            self._check(checker(), proof, range_.start_ms, middle_ms, middle_ms, range_)
            if middle_ms < range_.end_ms:
                self._compare(one, proof, middle_ms, range_.end_ms)
        else:
            self._compare(one, proof, *range_[:2])

    def _compare(self, one: Verifier, proof: FeedProof, start_ms: int, end_ms: int) -> int:
        """Compare a range and keep the result; the samples that the source has there."""
        began, rested_seconds = self.clock(), self._rested_seconds
        spent = self._excused.outside(proof.feed.name, start_ms, end_ms)
        (result,) = replace(one, spent={proof.feed.query: spent}).run(start_ms, end_ms).results
        points, forgotten = result.unexplained, Forgotten.of(one, one.subjects[0], proof)
        excused = result.reasons[EXPIRED] + result.reasons[GONE]
        if (points or excused or not result.expected) and forgotten.overlaps(start_ms, end_ms):
            return result.source  # deleted while we compared: the seals are asked next
        now = self._still(proof, start_ms, end_ms)
        if now is None:
            return result.source
        differed = sum(r.points for r in now.proven.differing if r[:2] == (start_ms, end_ms))
        proven = now.proven.with_range(start_ms, end_ms, points, self._now_ms())
        self._save(now, proven, (start_ms, end_ms))
        self._excused.keep(proof.feed.name, start_ms, end_ms, result.spent - spent)
        report_compared(self.telemetry, proof.feed, start_ms, end_ms, result, differed)
        self.telemetry.inc("etl_verify_pieces_total", result="differs" if points else "equal")
        self.repair.open(one.sink, proof.feed, result.unloaded.ranges, forgotten)
        self._count(result.source, began, rested_seconds)
        return result.source

    def _check(
        self,
        checker: Checker,
        proof: FeedProof,
        start_ms: int,
        end_ms: int,
        limit_ms: int,
        before: Differing | None = None,
    ) -> int:
        """Compare a range with its seals and keep the result; the points that were checked.

        ``before``: the range that it begins, where that differed when it was compared last.
        """
        began, rested_seconds = self.clock(), self._rested_seconds
        name, most = proof.feed.name, checker.piece_points
        checker = replace(checker, piece_points=self._pieces.points(name, most))
        try:
            outcome = checker.run(proof.feed.query, start_ms, end_ms)
        except SinkSlow:
            self._pieces.too_many(name, checker.piece_points)
            raise
        points = outcome.points + sum(windows.sealed for windows in outcome.found)
        found = judge(outcome, start_ms, end_ms, limit_ms, checker.forgotten_up_to_ms())
        now = self._still(proof, start_ms, found.end_ms)
        if now is None:
            return points
        proven = now.proven
        if before is not None:
            rest = before._replace(start_ms=found.end_ms)
            proven = proven.with_range(*before[:2], 0, 0)
            if rest.start_ms < rest.end_ms:  # it is compared with the source next
                proven = proven.with_range(*rest[:4], by_seals=rest.by_seals)
        proven = proven.with_range(start_ms, found.end_ms, 0, 0)
        for damaged in found.damaged:
            proven = proven.with_range(*damaged, self._now_ms(), by_seals=True)
        self._save(now, proven, (start_ms, found.end_ms))
        report_sealed(self.telemetry, proof.feed, start_ms, found, before)
        if found.damaged or found.intact_ms:
            result = "damaged" if found.damaged else "intact"
            self.telemetry.inc("etl_verify_pieces_total", result=result)
        self._count(points, began, rested_seconds)
        return points

    def _still(self, proof: FeedProof, start_ms: int, end_ms: int) -> FeedProof | None:
        """What is proven now; None where the range was opened again while it was read.

        What was read of it means nothing then, nor where Redis lost what it knew of it.
        """
        now = self.record.read(proof.feed.name).get(proof.feed.name)
        if now is None or without([(start_ms, end_ms)], now.settled):
            return None
        return None if clipped([*self._reopened, *now.reopened], start_ms, end_ms) else now

    def _count(self, samples: int, began: float, rested_seconds: float) -> None:
        rested_seconds = self._rested_seconds - rested_seconds
        self.telemetry.batch_succeeded(samples, self.clock() - began - rested_seconds)

    def _save(self, proof: FeedProof, proven: Proven, compared: Range | None = None) -> None:
        if compared:
            proven = self.restarts.noted(proven, compared)
        kept = {proof.feed.name: proof._replace(proven=proven)}
        if not self.record.save(kept, begins=False):
            raise _Ended

    def _progress(self, *_: object) -> None:
        self._keep_budget()

    def _keep_budget(self) -> None:
        """Do nothing for as long as the budget wants it, but look around."""
        every_seconds = self.settings.pipeline.interval_seconds
        while True:
            self.life.tick()
            if self.life.stop.is_set():
                raise _Ended
            if self.clock() >= self._looked_at + every_seconds and self._look():
                raise _Ended
            if (owed_seconds := self.budget.owed_seconds()) <= 0:
                break
            began = self.clock()
            self._wait(min(owed_seconds, every_seconds))
            self._rested_seconds += self.clock() - began
        self.telemetry.inc("etl_verify_cpu_seconds_total", self.budget.taken_seconds())
        self.budget.begin()

    def _wait(self, seconds: float) -> None:
        """Wait, or less when the service stops, and show that we live."""
        until = self.clock() + seconds
        while (left_seconds := until - self.clock()) > 0:
            self.life.tick()
            if self.life.stop.wait(min(left_seconds, _TICK_SECONDS)):
                break
        self.life.tick()

    def _now_ms(self) -> int:
        return int(self.wall_clock() * 1000)
