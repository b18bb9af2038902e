"""What the source does not have as it was loaded: only the seals say anything of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from common.state.feeds import Range
from common.state.proven import FeedProof
from common.state.ranges import clipped, merged, without
from services.verifier.run import Subject, Verifier
from services.verifier.whole import whole_from_ms


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Of a feed: what was deleted, all before ``whole_from_ms`` (0 = nothing), and what is ``gone``
    with the replica that it was read from.

    What is ``closed`` must not be extracted again: samples of another would stand beside it.
    """

    whole_from_ms: int
    gone: Sequence[Range] = ()
    closed: Sequence[Range] = ()

    @classmethod
    def of(cls, one: Verifier, subject: Subject, proof: FeedProof) -> Self:
        """As it is now."""
        begin_ms, slack_ms = proof.begin_ms, subject.origin_slack_ms
        lowest_ms, record = one.oldest_source_ms(), one.read_from
        gone = record.gone(subject.name)
        # What is computed has the same times, whichever is read: it is overwritten.
        is_raw = subject.kind == "select" and subject.rollup is None
        return cls(
            whole_from_ms(subject.reach, lowest_ms, begin_ms, slack_ms),
            gone,
            record.closed(subject.name) if is_raw else gone,
        )

    @property
    def ranges(self) -> list[Range]:
        """All of it, in order."""
        return merged([(0, self.whole_from_ms), *self.gone])

    def overlaps(self, start_ms: int, end_ms: int) -> bool:
        """Whether some of that time is forgotten."""
        return bool(clipped(self.ranges, start_ms, end_ms))

    def up_to(self, start_ms: int, end_ms: int) -> tuple[int, bool]:
        """Where what begins that time ends: it is all forgotten, or nothing of it is."""
        first, *_ = without([(start_ms, end_ms)], self.ranges) or [(end_ms, end_ms)]
        if first[0] == start_ms:
            return first[1], False
        return first[0], True

    def is_mixed(self, start_ms: int, end_ms: int) -> bool:
        """Whether a part of that time is gone with a replica, and another is not forgotten."""
        is_all = not without([(start_ms, end_ms)], self.ranges)
        return bool(clipped(self.gone, start_ms, end_ms)) and not is_all
