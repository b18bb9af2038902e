"""Judges after each batch of faults whether anything was lost, doubled or kept back.

Four questions: does everything up to now arrive; does the ledger balance; are the dead letters
the bad points that were sent, and no others; is the sink equal to the source, point by point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from common.config import TierName
from common.errors import EtlError
from common.samples.series import SeriesEncoder
from common.state.dead_letters.kept import DeadLetters
from devtools.chaos.comparing import Compared, Comparer, Point
from devtools.chaos.epochs import Epochs
from devtools.chaos.load import COUNTER, JOB, ODD
from devtools.chaos.rig import DEAD_LETTERS_MAX, KEYS, Rig
from devtools.chaos.sealed import SealsFound, check_seals
from services.verifier.connect import source_of
from services.verifier.expect import expect, identify_of
from services.verifier.knowledge import points_of_lines
from services.verifier.wiring import HOT

RECOVERY_SECONDS = 150.0
WARM_TIER: TierName = "warm"


@dataclass(slots=True)
class Proof:
    """What was found after a batch; ``recovery_seconds`` is None if the pipeline did not recover.

    The comparison goes on beside the next faults; ``compared`` is there when it is done.
    """

    start_ms: int
    end_ms: int
    recovery_seconds: float | None
    problems: list[str] = field(default_factory=list)
    comparison: Future[Compared] | None = None
    compared: Compared | None = None
    kind: str = ""


class Oracle:
    """Proves one stretch of time after the other."""

    def __init__(self, rig: Rig, comparer: Comparer, epochs: Epochs) -> None:
        self._rig = rig
        self._comparer = comparer
        self._epochs = epochs
        self._archived: list[list[Point]] = []
        self._strange: list[str] = []
        query = next(query for query in rig.settings.extract.queries if ODD in query.text)
        self._identify = identify_of(query, SeriesEncoder.from_settings(rig.settings))
        feeds = rig.feeds().values()
        self.start_ms = max(feed.origin_ms for feed in feeds if feed.tier == HOT)
        self.warm_start_ms = max(feed.origin_ms for feed in feeds if feed.tier != HOT)
        self.proved_ms = self.start_ms
        self.proofs: list[Proof] = []

    def prove(self) -> Proof:
        """The fault is over: wait until everything up to this moment arrived, and judge."""
        began = monotonic()
        rig = self._rig
        proof = Proof(self.proved_ms, self.proved_ms, None)
        self.proofs.append(proof)
        try:
            rig.start_missing()
            rig.until(rig.now_ms, "Prometheus answers")
            proof.end_ms = rig.now_ms()
            rig.until_loaded(
                self._epochs.begin_by_ms, proof.end_ms, deadline_seconds=RECOVERY_SECONDS
            )
            proof.recovery_seconds = monotonic() - began
            rig.all_up()
            rig.backfill.go_on()
            proof.problems += self._books()
            bad = self.bad_points(proof.end_ms)
            proof.problems += self._letters(bad, proof.end_ms)
        except EtlError as error:
            proof.problems += [str(error), *self._standing()]
            proof.end_ms = proof.start_ms
            return proof
        proof.comparison = self._comparer.submit(proof.start_ms, proof.end_ms, bad)
        self.proved_ms = proof.end_ms
        return proof

    @property
    def warm_proved_ms(self) -> int:
        """Up to where warm was loaded at the last proof."""
        heads_ms = self._rig.heads_ms(self.proved_ms)
        return min(head for feed, head in heads_ms.items() if not feed.endswith(f"@{HOT}"))

    def last_comparisons(self, comparer: Comparer) -> list[Future[Compared]]:
        """All of the run, in two pieces of hot and one of warm; then the past in both."""
        middle_ms = (self.start_ms + self.proved_ms) // 2
        bad, past = self.bad_points(self.proved_ms), self._rig.past
        return [
            comparer.submit(self.start_ms, middle_ms, bad),
            comparer.submit(middle_ms, self.proved_ms, bad),
            comparer.submit(self.warm_start_ms, self.warm_proved_ms, tier=WARM_TIER),
            *(
                comparer.submit(past.start_ms, past.end_ms, tier=tier, queries=[COUNTER])
                for tier in (HOT, WARM_TIER)
            ),
        ]

    def last_seals(self) -> list[SealsFound]:
        """What the seals say of the same."""
        settings, past = self._rig.settings, self._rig.past
        return [
            check_seals(settings, self.start_ms, self.proved_ms),
            check_seals(settings, self.warm_start_ms, self.warm_proved_ms, WARM_TIER),
            *(
                check_seals(settings, past.start_ms, past.end_ms, tier, [COUNTER])
                for tier in (HOT, WARM_TIER)
            ),
        ]

    def collect(self, proof: Proof) -> None:
        """Take a comparison's result in; waits for it."""
        if proof.comparison is None or proof.compared is not None:
            return
        try:
            proof.compared = proof.comparison.result()
        except EtlError as error:
            proof.problems.append(f"could not be compared: {error}")
            return
        if problem := proof.compared.problem:
            proof.problems.append(problem)

    def bad_points(self, until_ms: int) -> list[Point]:
        """The bad points that Prometheus got: those, and no others, must be dead letters."""
        source = source_of(self._rig.settings)
        try:
            selector = f'{{__name__=~"{ODD}_.+",job="{JOB}"}}'
            series = source.read_select(selector, self.start_ms, until_ms)
        finally:
            source.close()
        points = expect(series, self._identify).points
        return sorted(
            Point(key, timestamp_ms)
            for key, column in points.items()
            for timestamp_ms in column.timestamps_ms.tolist()
        )

    def archive_letters(self) -> None:
        """The dead letters are about to go: remember which there were."""
        points, strange = self._dead_letters()
        self._archived.append(points)
        self._strange += strange

    def purge_letters(self) -> int:
        """Purge all dead letters, as an operator does who has seen them; how many there were.

        One that comes meanwhile stays: it is remembered, and there, which is no contradiction.
        """
        letters = DeadLetters(self._rig.redis, KEYS)
        kept = list(letters)
        self.archive_letters()
        return sum(letters.purge(letter) for letter in kept)

    def make_room_for_letters(self) -> None:
        """Purge them if so many were left behind that a fault which is not about it may fill up."""
        if int(self._rig.redis.xlen(KEYS.dead)) > DEAD_LETTERS_MAX // 2:
            self.purge_letters()

    def _books(self) -> list[str]:
        audit = self._rig.ledger.audit()
        gaps = {feed: gap for feed in self._rig.feeds() if (gap := self._rig.windows.gaps(feed))}
        found = []
        if audit.imbalance_samples:
            found.append(f"the ledger is {audit.imbalance_samples} samples out of balance")
        if audit.lost_samples:
            found.append(f"{audit.lost_samples} samples are recorded in flight and not there")
        if gaps:
            found.append(f"gaps were declared: {gaps}")
        return found

    def _letters(self, bad: Sequence[Point], until_ms: int) -> list[str]:
        points, strange = self._dead_letters()
        problems = [*self._strange, *strange]
        self._strange.clear()
        # Later ones may be there already; the next proof is about them. What a Redis that lost
        # everything had not yet reported to the sink is extracted again, and refused again.
        epochs = [
            [point for point in epoch if point.timestamp_ms <= until_ms]
            for epoch in (*self._archived, points)
        ]
        have = {point for epoch in epochs for point in epoch}
        want = set(bad)
        if missing := want - have:
            problems.append(f"bad points that are no dead letters: {sorted(missing)[:5]}")
        if more := have - want:
            problems.append(f"dead letters of good points: {sorted(more)[:5]}")
        if doubled := [p for epoch in epochs for p, n in Counter(epoch).items() if n > 1]:
            problems.append(f"dead letters twice: {doubled[:5]}")
        return problems

    def _dead_letters(self) -> tuple[list[Point], list[str]]:
        """Points of all dead letters, and what is wrong with dead letters as such."""
        points: list[Point] = []
        strange = []
        dead_letters: Any = self._rig.redis.xrange(KEYS.dead)
        for id_, fields in dead_letters:
            payload: Any = self._rig.redis.get(fields[b"payload"])
            found = [
                Point(*point) for point in points_of_lines(payload or b"", int(fields[b"samples"]))
            ]
            if (fields[b"stage"], fields[b"reason"]) != (b"loader", b"rejected") or (
                len(found) != int(fields[b"samples"])
            ):
                about = {
                    name.decode(): fields[name][:200] for name in (b"stage", b"reason", b"detail")
                }
                strange.append(f"dead letter {id_.decode()}: {about}, {len(found)} points")
            points += found
        return points, strange

    def _standing(self) -> list[str]:
        """What can be said of a pipeline that did not recover."""
        rig = self._rig
        try:
            audit = rig.ledger.audit()
            feeds = [
                f"{name}: loaded up to {feed.loaded_watermark_ms - feed.head_ms} ms from the head,"
                f" backlog {feed.backlog}, open {feed.open}, unsettled {feed.unsettled[:3]}"
                for name, feed in rig.feeds().items()
            ]
            processes = [
                f"{process.name}: {process.probe() if process.running else process.exit_code}"
                for process in rig.stack.all_services()
            ]
        except (EtlError, OSError) as error:
            return [f"nothing can be asked: {error}"]
        return [f"ledger: {audit}", *feeds, *processes]
