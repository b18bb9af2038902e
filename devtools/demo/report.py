"""What the demo found out: as build/demo.json and as a paragraph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.state.keys import split_feed
from common.state.ledger import Audit
from etlctl.output import counts, thousands
from etlctl.times import rfc3339
from etlctl.verify.present import last_sentence
from services.verifier.outcome import Outcome
from services.verifier.verdict import Verdict, worst
from services.verifier.wiring import HOT


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The end of a demo.

    ``seconds`` is how long the pipeline ran, ``setup_seconds`` how long it took until it did.
    ``outcomes`` of the hot tier and of rollups, by tier. ``audit`` was read after everything had
    drained; ``processes`` counts what ran, by service.
    """

    seconds: float
    setup_seconds: float
    outcomes: Mapping[str, Outcome]
    audit: Audit
    processes: Mapping[str, int]

    @property
    def outcome(self) -> Outcome:
        """That of the hot tier, which holds the samples."""
        return self.outcomes[HOT]

    @property
    def rollup_points(self) -> int:
        """Points that InfluxDB has in the other tiers."""
        rollups = (one for tier, one in self.outcomes.items() if tier != HOT)
        return sum(result.found for one in rollups for result in one.results)

    @property
    def source_samples(self) -> int:
        """Samples that Prometheus has in the range compared."""
        return sum(result.source for result in self.outcome.results)

    @property
    def sink_points(self) -> int:
        """Points that InfluxDB has in the range compared."""
        return sum(result.found for result in self.outcome.results)

    @property
    def mismatches(self) -> int:
        """Points that differ in any tier, whether or not something explains them."""
        return sum(
            result.differing for outcome in self.outcomes.values() for result in outcome.results
        )

    @property
    def problems(self) -> list[str]:
        """What keeps the demo from having succeeded, a sentence each."""
        found = []
        for tier, outcome in self.outcomes.items():
            # Rollups end earlier: what begins late may have no point there yet.
            said = outcome.verdicts - (set() if tier == HOT else {Verdict.NOTHING_TO_COMPARE})
            if worst(said) is not Verdict.EQUAL:
                found.append(last_sentence(outcome, "" if tier == HOT else tier))
        if self.audit.imbalance_samples:
            found.append(f"{thousands(self.audit.imbalance_samples)} samples are unaccounted for.")
        if self.audit.total.in_flight:
            found.append(f"{thousands(self.audit.total.in_flight)} samples are still in flight.")
        return found

    def as_json(self) -> dict[str, Any]:
        """The content of build/demo.json; counts in samples, of the hot tier alone."""
        dropped: Counter[str] = Counter()
        for feed, account in self.audit.accounts.items():
            if split_feed(feed)[1] == HOT:
                dropped.update(account.dropped)
        return {
            "seconds": round(self.seconds, 1),
            "setup_seconds": round(self.setup_seconds, 1),
            "source_samples": self.source_samples,
            "sink_points": self.sink_points,
            "mismatches": self.mismatches,
            "dropped": dict(sorted(dropped.items())),
            "dead_letters": self.audit.total.dead_lettered,
            "ledger_imbalance": self.audit.imbalance_samples,
            "services": dict(self.processes),
        }

    def summary(self) -> str:
        """A paragraph: what was proven, or what went wrong."""
        if self.problems:
            return "\n".join(
                [
                    "NOT PROVEN.",
                    *(f"  {problem}" for problem in self.problems),
                    f"  {self._ledger()}",
                ]
            )
        outcome = self.outcome
        processes = ", ".join(f"{n} × {name}" for name, n in self.processes.items())
        return "\n".join(
            [
                "PROVEN: what Prometheus holds is what InfluxDB holds.",
                f"  Prometheus was read again, from {rfc3339(outcome.start_ms)} to"
                f" {rfc3339(outcome.end_ms)}, with a decoder that shares nothing with the pipeline:"
                f" {thousands(self.source_samples)} samples.",
                f"  {self._found()} in InfluxDB with the same tags, the same millisecond and the"
                " same 64 bits, and nothing else was found there.",
                *self._rollups(),
                f"  {self._ledger()}",
                f"  They went through {processes}: each a process of its own, all up in"
                f" {self.setup_seconds:.0f} s.",
            ]
        )

    def _found(self) -> str:
        refused: Counter[str] = Counter()
        for result in self.outcome.results:
            refused += result.dropped
        if not refused:
            return "Each of them was found"
        rest = self.source_samples - refused.total()
        return (
            f"{thousands(refused.total())} of them must not be written ({counts(refused)});"
            f" each of the other {thousands(rest)} was found"
        )

    def _rollups(self) -> list[str]:
        if not self.rollup_points:
            return []
        tiers = " and ".join(tier for tier in self.outcomes if tier != HOT)
        return [
            f"  The tier {tiers} holds what a plain computation makes of those samples:"
            f" {thousands(self.rollup_points)} points, each field with the same 64 bits."
        ]

    def _ledger(self) -> str:
        total = self.audit.total
        dropped = sum(total.dropped.values())
        why = f" ({counts(total.dropped)})" if dropped else ""
        return (
            f"The ledger since the start: {thousands(total.extracted)} samples extracted ="
            f" {thousands(total.loaded)} loaded + {thousands(dropped)} dropped{why}"
            f" + {thousands(total.dead_lettered)} dead-lettered"
            f" + {thousands(total.in_flight)} in flight;"
            f" {thousands(self.audit.imbalance_samples)} unaccounted for."
        )
