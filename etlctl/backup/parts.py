"""What the parts of a backup have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from common.errors import EtlError

T = TypeVar("T")

# Told of bytes that were moved.
Moved = Callable[[int], None]


class Skipped(EtlError):
    """The part is left out, and why; the others are not affected."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A part that lies in the backup (or beside it, as ``said`` tells).

    ``known`` is what :meth:`Part.restore` needs beside the files, as JSON has it.
    """

    said: str
    known: Mapping[str, Any]


class Part(Protocol):
    """Something that is saved to and restored from a folder of its own.

    Every method raises :class:`EtlError` (or an error of redis-py) in one sentence, and
    :class:`Skipped` where the part cannot be had and nobody asked for it in particular.
    """

    name: str

    def save(self, folder: Path, moved: Moved) -> Saved:
        """Write files into ``folder``, which exists and is empty."""

    def check(self, folder: Path, known: Mapping[str, Any]) -> None:
        """Refuse before anything is changed: the target is away, or not empty."""

    def restore(self, folder: Path, known: Mapping[str, Any], moved: Moved) -> str:
        """Bring back what :meth:`save` wrote; a sentence about it."""


def count_of(number: int, what: str) -> str:
    """``1 key``, ``12,345 keys``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def batched(those: Iterable[T], number: int) -> Iterator[list[T]]:
    """``those`` in lists of ``number``, the last perhaps shorter."""
    remaining = iter(those)
    while some := list(islice(remaining, number)):
        yield some
