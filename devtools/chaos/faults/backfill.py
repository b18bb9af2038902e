"""What an operator does to a backfill while it runs."""

from __future__ import annotations

from devtools.chaos.kinds import FaultContext, Kind


def interrupt(context: FaultContext, times: int) -> int:
    """Pause, resume, cancel and begin again; nothing where it has ended by itself."""
    done = 0
    for _ in range(times):
        done += context.rig.backfill.interrupt(context.rng.uniform(1.0, 4.0))
        context.apart(longest_seconds=0.5)
    return done


KINDS = (
    Kind(
        "backfill_paused",
        "the backfill paused, at rest, resumed, cancelled and begun again",
        interrupt,
        batch=1,
        slow="each waits for the next window of a backfill that is slow on purpose",
    ),
)
