"""Replaying or purging many letters: each one an atomic step, none stopped by another's trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from common.errors import EtlError
from common.state.dead_letters import Letter


@dataclass(slots=True)
class Outcome:
    """What became of the letters; ``samples`` counts those of the letters that were ``done``."""

    done: int = 0
    samples: int = 0
    gone: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


class Interrupted(Exception):
    """Redis went away in the middle; ``outcome`` is what had been done."""

    def __init__(self, outcome: Outcome, error: RedisError) -> None:
        super().__init__(str(error))
        self.outcome = outcome
        self.error = error


def carry_out(
    letters: Iterable[Letter],
    step: Callable[[Letter], bool],
    progress: Callable[[], None] = lambda: None,
) -> Outcome:
    """Do ``step`` (:meth:`DeadLetters.replay` or :meth:`~DeadLetters.purge`) with each letter.

    A letter that somebody else replayed or purged first is counted as gone; one that cannot be
    treated so is kept, with the reason. Raises :class:`Interrupted`.
    """
    outcome = Outcome()
    for letter in letters:
        try:
            if step(letter):
                outcome.done += 1
                outcome.samples += letter.samples
            else:
                outcome.gone += 1
        except EtlError as error:
            outcome.failed.append((letter.id, str(error)))
        except RedisError as error:
            raise Interrupted(outcome, error) from None
        progress()
    return outcome
