"""One run: batches of faults in random order, each judged, and a last judgement over everything."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from redis.exceptions import RedisError

from common.errors import EtlError
from devtools.chaos.comparing import Compared, Comparer
from devtools.chaos.epochs import Count, Epochs, counts
from devtools.chaos.journal import Key
from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.ledger import LedgerWatch
from devtools.chaos.oracle import Oracle, Proof
from devtools.chaos.past import PastFound
from devtools.chaos.proving import VerifierSaid, ask_verifier, contradictions
from devtools.chaos.rig import KEYS, Rig
from devtools.chaos.sealed import SealsFound

# Events that must all have been seen, for a run that never met them proves little.
REQUIRED_EVENTS: Mapping[str, str] = {
    "entry_claimed": "entries delivered again",
    "settlement_refused": "double settlements refused",
    "window_refused": "double commits of windows refused",
    "lease_lost": "leases lost",
    "sink_refused_points": "isolations",
    "window_split": "windows split",
    "sink_circuit_changed:open": "circuits opened",
    "sink_paused": "holds",
}
# So many proofs in a row that fail: what comes after them says nothing new.
GIVE_UP_AFTER = 3

Say = Callable[[str], None]


@dataclass(slots=True)
class KindResult:
    """What was done of one kind; recovery in seconds, the longest of all proofs."""

    kind: Kind
    count: int = 0
    max_recovery_seconds: float = 0.0


@dataclass(slots=True)
class Result:
    """The whole run. Anything in ``problems`` means that it failed."""

    seed: str
    kinds: dict[str, KindResult] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)
    whole: list[Compared] = field(default_factory=list)
    seals: SealsFound = field(default_factory=SealsFound)
    past: PastFound = field(default_factory=PastFound)
    verifier: VerifierSaid = field(default_factory=VerifierSaid)
    verifier_alarms: int = 0
    feeds: list[Count] = field(default_factory=list)
    extracted: int = 0
    worst_imbalance_samples: int = 0
    audits: int = 0
    proofs: int = 0
    faults_seconds: float = 0.0
    load_seconds: float = 0.0

    @property
    def lost(self) -> int:
        """Samples that the source has and the sink or a ledger has not."""
        return sum(part.missing + part.different for part in self.whole) + sum(
            max(0, feed.wanted - feed.recorded) for feed in self.feeds
        )

    @property
    def duplicated(self) -> int:
        """Points of the sink beyond the expected, and samples that a ledger recorded twice."""
        return sum(part.extra for part in self.whole) + sum(
            max(0, feed.recorded - feed.wanted) for feed in self.feeds
        )


def schedule(kinds: Sequence[Kind], times: Mapping[str, int], seed: str) -> list[tuple[Kind, int]]:
    """Batches of all kinds in random order: the kind, and how many of it."""
    batches = []
    for kind in kinds:
        left = times[kind.name]
        while left > 0:
            batches.append((kind, min(kind.batch, left)))
            left -= kind.batch
    random.Random(f"{seed}-order").shuffle(batches)
    return batches


class Suite:
    """Runs batches on a rig; ``say`` gets a line about each.

    A proof comes after each ``batches_per_proof``, and after the last.
    """

    def __init__(
        self,
        rig: Rig,
        seed: str,
        say: Say,
        *,
        required_events: Mapping[str, str],
        batches_per_proof: int = 1,
    ) -> None:
        self._rig = rig
        self._say = say
        self._required_events = required_events
        self._batches_per_proof = batches_per_proof
        self.result = Result(seed)

    def run(self, batches: Sequence[tuple[Kind, int]]) -> Result:
        """Everything, from the first fault to the last comparison."""
        rig, result = self._rig, self.result
        rig.until_flowing()
        rig.backfill.begin()
        epochs = Epochs()
        environ = rig.direct_environ()
        with (
            Comparer(rig.stack.config_path, environ, compare=rig.compare) as comparer,
            LedgerWatch(rig.connect_redis(2.0), KEYS) as watch,
        ):
            oracle = Oracle(rig, comparer, epochs)
            began = monotonic()
            self._faults(batches, oracle, epochs)
            result.faults_seconds = monotonic() - began
            result.proofs = len(oracle.proofs)
            result.load_seconds = (oracle.proved_ms - oracle.start_ms) / 1000
            self._finish_backfill()
            result.verifier = ask_verifier(rig, rig.heads_ms(oracle.proved_ms))
            self._stop_services()
            epochs.close(rig)
            for problem in rig.last_problems():
                self._problem(problem)
            for proof in oracle.proofs:
                self._collect(oracle, proof)
        result.audits = watch.audits
        result.worst_imbalance_samples = watch.worst_samples
        if watch.worst_samples or watch.worst_lost_samples:
            result.problems.append(
                f"under way the ledger was {watch.worst_samples} samples out of balance,"
                f" {watch.worst_lost_samples} recorded in flight and not there"
            )
        self._last_judgement(oracle, epochs, environ)
        self._check_effects(batches)
        return result

    def _faults(self, batches: Sequence[tuple[Kind, int]], oracle: Oracle, epochs: Epochs) -> None:
        failed_in_a_row = 0
        unproven: list[tuple[Kind, int]] = []
        for number, (kind, times) in enumerate(batches, 1):
            rng = random.Random(f"{self.result.seed}-{number}-{kind.name}")
            began = monotonic()
            done = 0
            try:
                done = kind.fire(FaultContext(self._rig, rng, oracle, epochs), times)
            except (EtlError, RedisError) as error:
                self._problem(f"{kind.name}: the fault itself failed: {error}")
                self._rig.repair()
            unproven.append((kind, done))
            line = (
                f"{number:3}/{len(batches)}  {kind.name:22} {done:3}"
                f"  {monotonic() - began:6.1f} s of faults"
            )
            if len(unproven) < self._batches_per_proof and number < len(batches):
                self._say(line)
                continue
            proof = oracle.prove()
            self._record(unproven, proof)
            unproven.clear()
            failed_in_a_row = failed_in_a_row + 1 if proof.comparison is None else 0
            recovery = proof.recovery_seconds
            recovered = "NOT RECOVERED" if recovery is None else f"recovered in {recovery:5.1f} s"
            self._say(f"{line}, {recovered}")
            for problem in proof.problems:
                self._problem(f"{proof.kind}: {problem}")
            proof.problems.clear()
            for earlier in oracle.proofs:
                if earlier.comparison is not None and earlier.comparison.done():
                    self._collect(oracle, earlier)
            if failed_in_a_row >= GIVE_UP_AFTER:
                self._problem(f"given up after {failed_in_a_row} proofs that failed in a row")
                return

    def _record(self, done: Sequence[tuple[Kind, int]], proof: Proof) -> None:
        for kind, times in done:
            found = self.result.kinds.setdefault(kind.name, KindResult(kind))
            found.count += times
            found.max_recovery_seconds = max(
                found.max_recovery_seconds, proof.recovery_seconds or float("inf")
            )
        proof.kind = ", ".join(kind.name for kind, _ in done)

    def _collect(self, oracle: Oracle, proof: Proof) -> None:
        oracle.collect(proof)
        for problem in proof.problems:
            self._problem(f"{proof.kind}: {problem}")
        proof.problems.clear()

    def _problem(self, text: str) -> None:
        self.result.problems.append(text)
        self._say(f"PROBLEM  {text}")

    def _finish_backfill(self) -> None:
        try:
            for problem in self._rig.backfill.finish():
                self._problem(problem)
        except (EtlError, RedisError) as error:
            self._problem(f"the backfill of the past: {error}")
        self.result.past = self._rig.backfill.found

    def _stop_services(self) -> None:
        codes = self._rig.stack.stop_services()
        if wrong := {name: code for name, code in codes.items() if code != 0}:
            self._problem(f"services did not stop cleanly: {wrong}")

    def _last_judgement(self, oracle: Oracle, epochs: Epochs, environ: Mapping[str, str]) -> None:
        """All of the run's time once more, in one piece for each core; then every ledger."""
        rig, result = self._rig, self.result
        self._say(f"Comparing all {result.load_seconds:.0f} s once more.")
        compare = rig.compare
        with Comparer(rig.stack.config_path, environ, 2, compare=compare) as comparer:
            result.whole = [part.result() for part in oracle.last_comparisons(comparer)]
        for part in result.whole:
            if part.problem:
                self._problem(f"the whole run: {part.problem}")
            if part.not_compared:
                names = ", ".join(part.not_compared)
                self._problem(
                    f"the whole run: {part.what}: there was nothing to compare of {names}"
                )
        heads_ms = rig.heads_ms(oracle.proved_ms)
        for problem in contradictions(result.verifier, heads_ms, result.whole):
            self._problem(problem)
        result.verifier_alarms = rig.journal.total("verify_differs")
        for seals in oracle.last_seals():
            result.seals.windows += seals.windows
            result.seals.points += seals.points
            for problem in seals.problems:
                self._problem(f"by the seals alone: {problem}")
        result.extracted = epochs.extracted
        result.feeds = counts(rig, epochs)
        for feed in result.feeds:
            if feed.recorded != feed.wanted:
                self._problem(
                    f"{feed.feed}: the ledger recorded {feed.recorded}, the source has"
                    f" {feed.wanted} in the same time"
                )

    def _check_effects(self, batches: Sequence[tuple[Kind, int]]) -> None:
        seen = self._rig.journal.counts()
        totals: dict[str, int] = {}
        for (_, event), number in seen.items():
            totals[event] = totals.get(event, 0) + number
        self.result.events = {
            event: totals.get(event, 0)
            for event in (*REQUIRED_EVENTS, "entry_retried", "redis_unavailable", "sink_failed")
        }
        for event, what in self._required_events.items():
            if not totals.get(event):
                self._problem(f"the faults had no effect: no {what} ({event})")
        done: dict[str, int] = {}
        for kind, times in batches:
            done[kind.name] = done.get(kind.name, 0) + times
        # A handful of faults may miss the instant that they aim at; as many as a whole run does
        # of a kind may not.
        wanted: dict[Key, str] = {
            key: kind.name
            for kind, _ in batches
            for key in kind.expected_events
            if done[kind.name] >= kind.times
        }
        for (service, event), name in wanted.items():
            if not seen[service, event]:
                self._problem(f"{name} had no effect: no {event} of any {service}")
