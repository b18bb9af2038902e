"""What is fuzzed: a way to make inputs, and what must hold for each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from devtools.fuzz.mutate import Mutator


class Broken(AssertionError):
    """Something that must hold does not: ``what`` it is, the same for every input."""

    def __init__(self, what: str, *details: object) -> None:
        super().__init__(what, *details)
        self.what = what

    def __str__(self) -> str:
        return " ".join((self.what, *(f"{detail!r:.300}" for detail in self.args[1:])))


def require(condition: bool, what: str, *details: object) -> None:
    """Raise :class:`Broken` unless ``condition``."""
    if not condition:
        raise Broken(what, *details)


class Target(ABC):
    """One decoder. An input is made of plain literals, so that its ``repr`` can be read back.

    ``weight`` is its share of all inputs, relative to the other targets'.
    """

    name: ClassVar[str]
    weight: ClassVar[int] = 1

    @abstractmethod
    def make(self, m: Mutator) -> Any:
        """An input; whatever is drawn is drawn from ``m``."""

    @abstractmethod
    def check(self, case: Any) -> bool:
        """Whether the decoder takes the input; False when it refuses it in a documented way.

        Raises anything else for a defect: :class:`Broken`, or whatever the decoder raised.
        """
