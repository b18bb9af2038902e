"""Where a server runs: on this machine's loopback, or in a network namespace of its own."""

from __future__ import annotations

from dataclasses import dataclass

from devtools.servers.ports import HOST


@dataclass(frozen=True, slots=True)
class Place:
    """The address that a server listens on, and the command that runs another one there."""

    address: str = HOST
    enter: tuple[str, ...] = ()


LOOPBACK = Place()
