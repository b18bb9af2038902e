"""Whatever is started and stopped, as a context manager."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class StartStop(ABC):
    """Started on entry, stopped on exit, however the block ends.

    An entry that fails has no exit: whoever implements it ends what it began.
    """

    @abstractmethod
    def start(self) -> Self:
        """Up when this returns."""

    @abstractmethod
    def stop(self) -> object:
        """Down when this returns."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
