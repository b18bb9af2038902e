"""How many points were excused by number, where else than in the range that is compared now."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from common.state.feeds import Range
from common.state.ranges import overlaps
from services.verifier.explain import Spent


@dataclass
class Excused:
    """Of each feed, by range: what of the allowances its points took.

    Each piece is compared by itself, and what one of them took the others must not take again. A
    process that begins anew does not know what was taken before.
    """

    _of: dict[str, dict[Range, Spent]] = field(
        default_factory=lambda: defaultdict(dict), init=False
    )

    def outside(self, feed: str, start_ms: int, end_ms: int) -> Spent:
        """What was taken outside of a range, without what has a part in it.

        That remains known: the range may be compared in vain.
        """
        others = (
            spent for one, spent in self._of[feed].items() if not overlaps([one], start_ms, end_ms)
        )
        return sum(others, Spent())

    def keep(self, feed: str, start_ms: int, end_ms: int, spent: Spent) -> None:
        """So much was taken in a range, which was compared with a result."""
        known = self._of[feed]
        for range_ in [one for one in known if overlaps([one], start_ms, end_ms)]:
            del known[range_]
        if spent:
            known[start_ms, end_ms] = spent
