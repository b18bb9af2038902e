"""Choosing dead letters, and replaying or purging them: each one an atomic step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

from common.errors import EtlError
from common.state.dead_letters.kept import AnyDeadLetters, DeadLetters


@dataclass(frozen=True, slots=True)
class Filters:
    """What a dead letter must be like; what is None does not matter."""

    reason: str | None = None
    stage: str | None = None
    query: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """The values that matter, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __bool__(self) -> bool:
        return bool(self.given)

    def __str__(self) -> str:
        return " ".join(f"--{name} {value}" for name, value in self.given.items())

    def admit(self, letter: AnyDeadLetters) -> bool:
        """Whether ``letter`` is like that."""
        return all(getattr(letter, name) == value for name, value in self.given.items())


def chosen(letters: DeadLetters, ids: tuple[str, ...], filters: Filters) -> list[AnyDeadLetters]:
    """The dead letters with these ``ids``, or else those that ``filters`` admit; never none.

    A list, read to its end before anything is done: a replayed one may be refused and come back as
    a new dead letter, which a running iteration would meet again, and again.

    Raises :class:`EtlError` for an unknown id, and when there is nothing to choose.
    """
    if ids:
        return [letters.find(id_) for id_ in dict.fromkeys(ids)]
    # Those only counted first: extracting them again takes nothing from the kept ones.
    found = list(filter(filters.admit, [*letters.counted(), *letters]))
    if not found:
        raise EtlError(
            f"no dead letter matches {filters}" if filters else "there are no dead letters"
        )
    return found


@dataclass(slots=True)
class Outcome:
    """What became of the dead letters; ``samples`` counts those of the ones that were ``done``."""

    done: int = 0
    samples: int = 0
    no_longer_there: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def carry_out(
    letters: Iterable[AnyDeadLetters],
    step: Callable[[AnyDeadLetters], bool],
    outcome: Outcome,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Do ``step`` (:meth:`DeadLetters.replay` or :meth:`~DeadLetters.purge`) with each dead letter.

    ``outcome`` is complete at every moment, also when this raises
    :class:`redis.exceptions.RedisError`. A dead letter that somebody else replayed or purged first
    is no longer there; one that cannot be treated so is kept, with the reason, and stops no other.
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
