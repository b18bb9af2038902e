"""A process that tries inputs until it is told to stop."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from devtools.fuzz.limits import bound_memory
from devtools.fuzz.run import Failure, Tally, run
from devtools.fuzz.target import Target

# More failing inputs than that of one chunk tell nothing new.
_FAILURES_OF_A_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Chunk:
    """Inputs ``start`` to ``stop - 1`` of one target."""

    target: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Done:
    """A chunk was tried to its end."""

    chunk: Chunk
    tally: Tally


class Progress:
    """How far a worker is, in memory that outlives it: index, inputs, rejected, failures."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def put(self, index: int, tally: Tally) -> None:
        """Before each input."""
        self._shared[:] = (index, tally.inputs, tally.rejected, tally.failures)

    @property
    def index(self) -> int:
        """The input that was begun last."""
        return int(self._shared[0])

    @property
    def tally(self) -> Tally:
        """What had become of the chunk's inputs before that."""
        inputs, rejected, failures = self._shared[1:4]
        return Tally(int(inputs), int(rejected), int(failures))


def work(seed: int, connection: Connection, shared: Any, targets: Sequence[type[Target]]) -> None:
    """Try chunks that arrive on ``connection`` until it is closed; answers failures and Done."""
    # Nothing under test may wait for somebody to type.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    progress = Progress(shared)
    made = {target.name: target() for target in targets}
    bound_memory()
    try:
        connection.send(None)
        while True:
            _try_chunk(made, seed, connection.recv(), connection, progress)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # there is nobody any more who gives or takes


def _try_chunk(
    targets: Mapping[str, Target],
    seed: int,
    chunk: Chunk,
    connection: Connection,
    progress: Progress,
) -> None:
    sent = 0

    def failed(failure: Failure) -> None:
        nonlocal sent
        sent += 1
        if sent <= _FAILURES_OF_A_CHUNK:
            connection.send(failure)

    indices = range(chunk.start, chunk.stop)
    tally = run(targets[chunk.target], seed, indices, failed, progress.put)
    connection.send(Done(chunk, tally))
