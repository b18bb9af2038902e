"""Proves each range once, after its last recount, and what differs again and again.

Every few seconds Redis, source and sink are asked whether they serve us, and Redis what became due.
Every ``verify.every_seconds`` a turn compares that, query by query in pieces of some memory, at a
rate that the CPU budget allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

from redis.exceptions import RedisError

from common.config import Settings
from common.errors import SinkError, SourceError, SourceRefused
from common.runtime.readiness.identity_guard import IdentityGuard
from common.runtime.stage import Lifecycle
from common.runtime.telemetry import Telemetry
from common.state.keys import feed_of
from services.verifier.budget import CpuBudget
from services.verifier.proven import Differing, FeedProof, ProofRecord, Proven
from services.verifier.run import QueryResult, Subject, Verifier
from services.verifier.whole import whole_from_ms
from services.verifier.wiring import TIER, connected, verifier

# A verifier that went silent for so long is none any more.
LEASE_SECONDS = 120.0
# The first piece of a feed, and the longest.
FIRST_PIECE_MS = 600_000
LONGEST_PIECE_MS = 86_400_000
# After so long a turn makes its connections anew, and with them what it knows of clocks and names.
TURN_SECONDS = 600.0
EXAMPLES_SHOWN = 3
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
    _begin_at: float = field(default=float("-inf"), init=False)
    _looked_at: float = field(default=float("-inf"), init=False)
    _rested_seconds: float = field(default=0.0, init=False)
    _piece_ms: dict[str, int] = field(default_factory=dict, init=False)

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
            idle = self._look()
            ready("redis", True, idle)
            with connected(self.settings, (), _raise) as parts:
                ready("source", True, "")
                ready("sink", True, "")
                if not idle and self.clock() >= self._begin_at:
                    self._begin_at = self.clock() + self.settings.verify.every_seconds
                    self._compare_all(verifier(parts))
        except _Ended:
            pass
        except RedisError as error:
            ready("redis", False, str(error))
        except SourceError as error:
            self._failed("source", error)
        except SinkError as error:
            self._failed("sink", error)

    def _failed(self, dependency: str, error: Exception) -> None:
        self.telemetry.batch_failed(type(error).__name__)
        self.life.set_ready(dependency, False, str(error))
        self._begin_at = float("-inf")  # what could not be compared is still due

    def _look(self) -> str:
        """Publish what is proven, and keep what is not any more; why we do not work, or nothing.

        Raises :class:`redis.exceptions.RedisError`.
        """
        self._looked_at = self.clock()
        if (reason := self.guard.reason()) is not None:
            self.life.set_ready("redis", False, reason)
            raise _Ended
        proofs = self.record.read()
        telemetry = self.telemetry
        for proof in proofs.values():
            labels = _labels(proof)
            proven = proof.proven
            telemetry.set("etl_verified_timestamp_seconds", proven.up_to_ms / 1000, **labels)
            telemetry.set("etl_verify_waiting_seconds", proof.waiting_ms / 1000, **labels)
            telemetry.set("etl_verify_differing_points", proven.points, **labels)
        if not self.settings.verify.enabled:
            return "verify.enabled is false"
        ours = self.record.save({_name(proof): proof.proven for proof in proofs.values()})
        return "" if ours else "another verifier works"

    def _compare_all(self, whole: Verifier) -> None:
        """Compare a piece of each feed in turn, until nothing is due or the turn is over."""
        until = self.clock() + TURN_SECONDS
        queue = list(whole.subjects)
        while queue:
            if self.clock() >= until:
                self._begin_at = float("-inf")
                return
            subject = queue.pop(0)
            others = [one.owns for one in whole.subjects if one is not subject]
            one = replace(whole, subjects=[subject], bystanders=others, progress=self._progress)
            try:
                if self._step(one, subject):
                    queue.append(subject)
            except SourceRefused:
                raise
            except SourceError as error:
                # This query's, perhaps: the others go on, and it is tried again in the next turn.
                self.telemetry.batch_failed(type(error).__name__)
                self.telemetry.emit(
                    "verify_failed", query=subject.name, tier=TIER, error=str(error)
                )
            self._keep_budget()

    def _step(self, one: Verifier, subject: Subject) -> bool:
        """Do the next thing that is due of a feed, if any; whether there was."""
        proof = self.record.read().get(subject.name)
        if proof is None:
            return False
        proven, oldest_ms = proof.proven, _oldest_ms(one, proof)
        for range_ in proven.differing:
            if range_.start_ms < oldest_ms:
                self._unproven(proof, range_.start_ms, range_.end_ms)
                self._save(proof, proven.with_range(*range_[:2], 0, 0))
                return True
            if self._is_due(range_):
                self._compare(one, proof, range_.start_ms, range_.end_ms)
                return True
        if proven.up_to_ms >= proof.due_ms:
            return False
        if proven.up_to_ms < oldest_ms:
            end_ms = min(oldest_ms, proof.due_ms)
            self._unproven(proof, proven.up_to_ms, end_ms)
            self._save(proof, proven.with_range(proven.up_to_ms, end_ms, 0, 0))
            return True
        piece_ms = self._piece_ms.get(subject.name, FIRST_PIECE_MS)
        end_ms = min(proof.due_ms, proven.up_to_ms + piece_ms)
        samples = self._compare(one, proof, proven.up_to_ms, end_ms)
        factor = min(4.0, max(0.25, one.piece_samples / max(samples, 1)))
        self._piece_ms[subject.name] = min(LONGEST_PIECE_MS, max(1, int(piece_ms * factor)))
        return True

    def _is_due(self, range_: Differing) -> bool:
        passed_ms = self._now_ms() - range_.at_ms
        return passed_ms < 0 or passed_ms >= self.settings.verify.again_seconds * 1000

    def _compare(self, one: Verifier, proof: FeedProof, start_ms: int, end_ms: int) -> int:
        """Compare a range and keep the result; the samples that the source has there."""
        began, rested_seconds = self.clock(), self._rested_seconds
        (result,) = one.run(start_ms, end_ms).results
        points = result.unexplained
        if points and start_ms < _oldest_ms(one, proof):
            # Deleted while we compared: the next turn knows.
            self._begin_at = float("-inf")
            raise _Ended
        now = self.record.read().get(proof.feed.query)
        if now is None or now.due_ms < end_ms or now.proven.up_to_ms < start_ms:
            # Opened again meanwhile: what was read of it means nothing.
            return result.source
        differed = sum(r.points for r in now.proven.differing if r[:2] == (start_ms, end_ms))
        self._report(proof, start_ms, end_ms, result, differed)
        self._save(now, now.proven.with_range(start_ms, end_ms, points, self._now_ms()))
        telemetry = self.telemetry
        telemetry.inc("etl_verify_pieces_total", result="differs" if points else "equal")
        rested_seconds = self._rested_seconds - rested_seconds
        telemetry.batch_succeeded(result.source, self.clock() - began - rested_seconds)
        return result.source

    def _report(
        self, proof: FeedProof, start_ms: int, end_ms: int, result: QueryResult, differed: int
    ) -> None:
        points = result.unexplained
        bounds = {**_labels(proof), "start_ms": start_ms, "end_ms": end_ms}
        if points and points != differed:
            self.telemetry.emit(
                "verify_differs",
                **bounds,
                points=points,
                missing=result.missing,
                extra=result.extra,
                different=result.different,
                examples=[
                    f"{each.kind}: {each.series} at {each.timestamp_ms} ms"
                    for each in result.explained.examples[:EXAMPLES_SHOWN]
                ],
            )
        elif differed and not points:
            self.telemetry.emit("verify_equal_again", **bounds)

    def _unproven(self, proof: FeedProof, start_ms: int, end_ms: int) -> None:
        self.telemetry.emit(
            "verify_unproven",
            amount=(end_ms - start_ms) / 1000,
            **_labels(proof),
            start_ms=start_ms,
            end_ms=end_ms,
        )

    def _save(self, proof: FeedProof, proven: Proven) -> None:
        if not self.record.save({_name(proof): proven}):
            raise _Ended

    def _progress(self, position_ms: int) -> None:
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


def _oldest_ms(one: Verifier, proof: FeedProof) -> int:
    """After when the source has all that the query looks at; 0 where it never had more."""
    (subject,) = one.subjects
    origin_ms = proof.feed.origin_ms
    return whole_from_ms(subject.reach, one.oldest_source_ms(), origin_ms, subject.step_ms)


def _name(proof: FeedProof) -> str:
    return feed_of(proof.feed.query, proof.feed.tier)


def _labels(proof: FeedProof) -> dict[str, Any]:
    return {"query": proof.feed.query, "tier": proof.feed.tier}


def _raise(error: RedisError) -> None:
    raise error
