"""Which dead letters a command is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from common.errors import EtlError
from common.state.dead_letters import DeadLetters, Letter


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

    def admit(self, letter: Letter) -> bool:
        """Whether ``letter`` is like that."""
        return all(getattr(letter, name) == value for name, value in self.given.items())


def matching(letters: DeadLetters, filters: Filters) -> Iterator[Letter]:
    """The dead letters that ``filters`` admit, oldest first."""
    return filter(filters.admit, letters)


def chosen(letters: DeadLetters, ids: tuple[str, ...], filters: Filters) -> list[Letter]:
    """The dead letters with these ``ids``, or else those that ``filters`` admit; never none.

    A list, read to its end before anything is done: a replayed one may be refused and come back as
    a new dead letter, which a running iteration would meet again, and again.

    Raises :class:`EtlError` for an unknown id, and when there is nothing to choose.
    """
    if ids:
        return [letters.get(id_) for id_ in dict.fromkeys(ids)]
    found = list(matching(letters, filters))
    if not found:
        raise EtlError(
            f"no dead letter matches {filters}" if filters else "there are no dead letters"
        )
    return found
