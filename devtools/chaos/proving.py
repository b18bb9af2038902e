"""What the verifier says after a run, which must be what the oracle found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from common.errors import StackError
from common.state.keys import feed_of
from devtools.chaos.comparing import Compared
from devtools.chaos.rig import Rig

# More than a lease lasts that a verifier could not end, for want of a Redis.
CATCH_UP_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class VerifierSaid:
    """By feed: the time up to which it was compared, and points that differ for no reason."""

    verified_ms: Mapping[str, int] = field(default_factory=dict)
    differing: Mapping[str, int] = field(default_factory=dict)

    def is_content(self, heads_ms: Mapping[str, int]) -> bool:
        """Whether each feed is compared up to there, and nothing differs."""
        return all(
            self.verified_ms.get(feed, 0) >= head_ms and self.differing.get(feed) == 0
            for feed, head_ms in heads_ms.items()
        )


def ask_verifier(rig: Rig, heads_ms: Mapping[str, int]) -> VerifierSaid:
    """Its metrics, as soon as it is content with all up to there, or when it had time enough."""
    with suppress(StackError):
        rig.until(
            lambda: _said(rig).is_content(heads_ms),
            "the verifier has compared everything",
            deadline_seconds=CATCH_UP_SECONDS,
            poll_seconds=0.25,
        )
    return _said(rig)


def contradictions(
    said: VerifierSaid, heads_ms: Mapping[str, int], whole: Sequence[Compared]
) -> list[str]:
    """Where the verifier and the comparison of the whole run do not say the same."""
    found = [
        f"the verifier compared {feed} only up to {said.verified_ms.get(feed)}, not {head_ms}"
        for feed, head_ms in heads_ms.items()
        if said.verified_ms.get(feed, 0) < head_ms
    ]
    differing = {feed: points for feed, points in said.differing.items() if points}
    different = sum(part.missing + part.extra + part.different for part in whole)
    if bool(differing) != bool(different):
        found.append(
            f"the verifier says that points differ: {differing};"
            f" the comparison of the whole run found {different}"
        )
    return found


def _said(rig: Rig) -> VerifierSaid:
    verified = _by_feed(rig, "etl_verified_timestamp_seconds")
    return VerifierSaid(
        {feed: round(seconds * 1000) for feed, seconds in verified.items()},
        {feed: int(n) for feed, n in _by_feed(rig, "etl_verify_differing_points").items()},
    )


def _by_feed(rig: Rig, metric: str) -> dict[str, float]:
    found = rig.stack.prometheus.query(metric)
    return {
        feed_of(one["metric"]["query"], one["metric"]["tier"]): float(one["value"][1])
        for one in found
    }
