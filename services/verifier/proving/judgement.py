"""What the seals in the sink say of time that the source has deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from services.verifier.sealed.holding import Covered
from services.verifier.sealed.outcome import DAMAGE, QueryOutcome, Windows


class Damaged(NamedTuple):
    """``(start_ms, end_ms]`` of the sink is not what was loaded: ``points`` differ, at least."""

    start_ms: int
    end_ms: int
    points: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of ``(start_ms, end_ms]``, in milliseconds: what is intact, and what no seal proves.

    ``damaged`` are the ranges of the rest, in order; ``damage`` are the windows in them.
    """

    end_ms: int
    intact_ms: int
    unproven_ms: int
    damaged: tuple[Damaged, ...]
    damage: tuple[Windows, ...]

    @property
    def points(self) -> int:
        """Points that differ, at least."""
        return sum(one.points for one in self.damaged)


def judge(
    outcome: QueryOutcome, start_ms: int, end_ms: int, limit_ms: int, expired_up_to_ms: int
) -> Judgement:
    """The judgement of ``(start_ms, end_ms]``, which was checked.

    It goes on to the end of the last damaged window, so that none is counted twice, but not beyond
    ``limit_ms``. What the sink's retention may have deleted, up to ``expired_up_to_ms``, is
    unproven.
    """
    damage = tuple(
        sorted(
            (one for one in outcome.found if one.kind in DAMAGE), key=lambda windows: windows.end_ms
        )
    )
    end_ms = max([end_ms, *(min(one.end_ms, limit_ms) for one in damage)])

    def within(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        cut = [(max(start_ms, first), min(end_ms, last)) for first, last in spans]
        return [(first, last) for first, last in cut if first < last]

    unproven = [
        (start_ms, expired_up_to_ms),
        *outcome.unsealed,
        *((one.start_ms, one.end_ms) for one in outcome.found if one.kind not in DAMAGE),
    ]
    spoilt = [(one.start_ms, one.end_ms) for one in damage]
    damaged_ms = _length_ms(within(spoilt))
    not_intact_ms = _length_ms(within(spoilt + unproven))
    return Judgement(
        end_ms,
        end_ms - start_ms - not_intact_ms,
        not_intact_ms - damaged_ms,
        tuple(
            Damaged(*span, max(one.windows, abs(one.sealed - one.found)))
            for one in damage
            for span in within([(one.start_ms, one.end_ms)])
        ),
        damage,
    )


def _length_ms(spans: list[tuple[int, int]]) -> int:
    """Of all of them together: what several share counts once."""
    covered = Covered()
    for span in spans:
        covered.add(*span)
    return sum(covered.ends_ms) - sum(covered.starts_ms)
