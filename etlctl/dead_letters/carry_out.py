"""Replaying or purging many dead letters: each one an atomic step; an error stops only its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from common.errors import EtlError
from common.state.dead_letters import Letter


@dataclass(slots=True)
class Outcome:
    """What became of the dead letters; ``samples`` counts those of the ones that were ``done``."""

    done: int = 0
    samples: int = 0
    no_longer_there: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """How many dead letters this outcome is about."""
        return self.done + self.no_longer_there + len(self.failed)


def carry_out(
    letters: Iterable[Letter],
    step: Callable[[Letter], bool],
    outcome: Outcome,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Do ``step`` (:meth:`DeadLetters.replay` or :meth:`~DeadLetters.purge`) with each dead letter.

    ``outcome`` is complete at every moment, also when this raises
    :class:`redis.exceptions.RedisError`. A dead letter that somebody else replayed or purged first
    is no longer there; one that cannot be treated so is kept, with the reason.
    """
    for letter in letters:
        try:
            if step(letter):
                outcome.done += 1
                outcome.samples += letter.samples
            else:
                outcome.no_longer_there += 1
        except EtlError as error:
            outcome.failed.append((letter.id, str(error)))
        progress()
