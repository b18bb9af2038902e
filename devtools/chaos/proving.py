"""What the verifier says after a run, which must be what the oracle found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from common.errors import StackError
from devtools.chaos.comparing import Compared
from devtools.chaos.rig import Rig

# More than a lease lasts that a verifier could not end, for want of a Redis.
CATCH_UP_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class VerifierSaid:
    """By query: the time up to which it was compared, and points that differ for no reason."""

    verified_ms: Mapping[str, int] = field(default_factory=dict)
    differing: Mapping[str, int] = field(default_factory=dict)

    def is_content(self, queries: Sequence[str], until_ms: int) -> bool:
        """Whether all is compared up to there, and nothing differs."""
        return all(
            self.verified_ms.get(query, 0) >= until_ms and self.differing.get(query) == 0
            for query in queries
        )


def ask_verifier(rig: Rig, until_ms: int) -> VerifierSaid:
    """Its metrics, as soon as it is content with all up to there, or when it had time enough."""
    queries = [query.name for query in rig.settings.extract.queries]
    with suppress(StackError):
        rig.until(
            lambda: _said(rig).is_content(queries, until_ms),
            "the verifier has compared everything",
            deadline_seconds=CATCH_UP_SECONDS,
            poll_seconds=0.25,
        )
    return _said(rig)


def contradictions(
    said: VerifierSaid, queries: Sequence[str], until_ms: int, whole: Sequence[Compared]
) -> list[str]:
    """Where the verifier and the comparison of the whole run do not say the same."""
    found = [
        f"the verifier compared {query} only up to {said.verified_ms.get(query)}, not {until_ms}"
        for query in queries
        if said.verified_ms.get(query, 0) < until_ms
    ]
    differing = {query: points for query, points in said.differing.items() if points}
    different = sum(part.missing + part.extra + part.different for part in whole)
    if bool(differing) != bool(different):
        found.append(
            f"the verifier says that points differ: {differing};"
            f" the comparison of the whole run found {different}"
        )
    return found


def _said(rig: Rig) -> VerifierSaid:
    verified = _by_query(rig, "etl_verified_timestamp_seconds")
    return VerifierSaid(
        {query: round(seconds * 1000) for query, seconds in verified.items()},
        {q: int(points) for q, points in _by_query(rig, "etl_verify_differing_points").items()},
    )


def _by_query(rig: Rig, metric: str) -> dict[str, float]:
    found = rig.stack.prometheus.query(metric)
    return {one["metric"]["query"]: float(one["value"][1]) for one in found}
