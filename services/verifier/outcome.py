"""What was found out: the outcome of a comparison, for one query and for all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from services.verifier.examples import Examples
from services.verifier.explain import NOT_LOADED_YET, Explained, Spent
from services.verifier.unloaded import Unloaded
from services.verifier.verdict import EXIT_CODES, Verdict, worst


@dataclass(slots=True)
class QueryResult:
    """The outcome for one query, in points. ``explained`` counts parts of the three kinds.

    ``spent``: what of it was explained by number only. ``reaches_beyond``: the range goes beyond
    what is loaded, so that points may come yet. ``start_ms``: after when it was compared; not
    before the end of the range where none of it was. ``unloaded``: where points are missing or
    different without a reason. ``elsewhere``: of those found, how many only another bucket has than
    the one that their series is written to.
    """

    query: str
    start_ms: int = 0
    source: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    expected: int = 0
    found: int = 0
    equal: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    explained: Explained = field(default_factory=Explained)
    spent: Spent = field(default_factory=Counter)
    examples: Examples = field(default_factory=Examples)
    reaches_beyond: bool = False
    unloaded: Unloaded = field(default_factory=Unloaded)
    elsewhere: int = 0

    @property
    def differing(self) -> int:
        """Points missing, extra or different, explained or not."""
        return self.missing + self.extra + self.different

    @property
    def reasons(self) -> Counter[str]:
        """Points explained, by reason."""
        return self.explained.missing + self.explained.extra + self.explained.different

    @property
    def unexplained(self) -> int:
        """Differences that nothing explains: what makes the verification fail."""
        return self.differing - self.reasons.total()

    @property
    def to_come(self) -> int:
        """Points missing or different that may still come."""
        return sum(self.reasons[reason] for reason in NOT_LOADED_YET)

    @property
    def verdicts(self) -> frozenset[Verdict]:
        """Everything that must be said: differences of one query may be of several kinds."""
        said = {
            Verdict.DIFFERENT: self.unexplained > 0,
            Verdict.INCOMPLETE: self.reaches_beyond or self.to_come > 0,
            Verdict.EXPLAINED: self.reasons.total() > self.to_come,
            Verdict.NOTHING_TO_COMPARE: not (self.expected or self.found),
        }
        return frozenset(one for one, holds in said.items() if holds) or frozenset({Verdict.EQUAL})

    @property
    def verdict(self) -> Verdict:
        """The gravest of them."""
        return worst(self.verdicts)


@dataclass(slots=True)
class Outcome:
    """Results by query over ``(start_ms, end_ms]``.

    ``foreign`` counts points read back that belong to none of the queries that are configured.
    """

    start_ms: int
    end_ms: int
    results: list[QueryResult]
    foreign: int = 0

    @property
    def verdicts(self) -> frozenset[Verdict]:
        """What must be said of any of the queries."""
        if not self.results:
            return frozenset({Verdict.NOTHING_TO_COMPARE})
        return frozenset().union(*(result.verdicts for result in self.results))

    @property
    def verdict(self) -> Verdict:
        """The gravest: equal only if every query was compared, and nothing differs."""
        return worst(self.verdicts)

    def with_source(self, other: Outcome) -> Outcome:
        """Together with what was compared with another source.

        What is foreign to both was counted by each, as far as both write to the same places.
        """
        start_ms, end_ms = min(self.start_ms, other.start_ms), max(self.end_ms, other.end_ms)
        results = [*self.results, *other.results]
        return Outcome(start_ms, end_ms, results, max(self.foreign, other.foreign))

    def exit_code(self, accepted: frozenset[Verdict]) -> int:
        """That of the gravest verdict of a query that is not ``accepted``."""
        return EXIT_CODES[worst(self.verdicts - accepted)]
