"""A whole run: inputs shared out to processes that may hang or die of them."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait

from devtools.fuzz.report import Report
from devtools.fuzz.run import Failure, Tally, case_of
from devtools.fuzz.target import Target
from devtools.fuzz.worker import Chunk, Done, Progress, work

CHUNK_INPUTS = 500
# A worker that begins no new input for so long waits for something that will not come, or works in
# code that Python cannot interrupt.
STUCK_SECONDS = 90.0


def shares(inputs: int, targets: Sequence[type[Target]]) -> dict[str, int]:
    """How many of ``inputs`` each target gets: by weight, at least one, all of them in the end."""
    weights = sum(target.weight for target in targets)
    given = {target.name: max(1, inputs * target.weight // weights) for target in targets}
    given[targets[0].name] += max(0, inputs - sum(given.values()))
    return given


def chunks(given: Mapping[str, int]) -> Iterator[Chunk]:
    """All inputs in chunks, the targets in turn."""
    most = max(given.values())
    for start in range(0, most, CHUNK_INPUTS):
        for name, inputs in given.items():
            if start < inputs:
                yield Chunk(name, start, min(start + CHUNK_INPUTS, inputs))


class Campaign:
    """Runs chunks on ``processes`` workers and reports to ``report``."""

    def __init__(
        self,
        targets: Sequence[type[Target]],
        report: Report,
        *,
        processes: int = 2,
        stuck_seconds: float = STUCK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._targets = targets
        self._report = report
        self._processes = processes
        self._stuck_seconds = stuck_seconds
        self._clock = clock
        self._todo: deque[Chunk] = deque()
        self._workers: list[_Worker] = []

    def run(self, inputs: int, tick: Callable[[], None] = lambda: None) -> None:
        """Try ``inputs`` inputs; ``tick`` is called about once a second."""
        self._todo = deque(chunks(shares(inputs, self._targets)))
        try:
            for _ in range(min(self._processes, len(self._todo))):
                self._workers.append(self._hire())
            while self._workers:
                self._turn()
                tick()
        finally:
            for worker in self._workers:
                worker.kill()

    def _hire(self) -> _Worker:
        return _Worker(self._report.seed, self._targets, self._clock())

    def _turn(self) -> None:
        waiting = {worker.connection: worker for worker in self._workers}
        for ready in wait(list(waiting), timeout=1.0):
            assert isinstance(ready, Connection)
            self._listen(waiting[ready])
        now = self._clock()
        for worker in list(self._workers):
            if worker.stuck(now, self._stuck_seconds):
                worker.kill()
                self._lost(worker, f"Hang: nothing happened for {self._stuck_seconds:g} s")

    def _listen(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            self._lost(worker, f"Died: {worker.kill()}")
            return
        if isinstance(message, Failure):
            self._report.failed(message)
            return
        if isinstance(message, Done):
            self._report.add(message.chunk.target, message.tally)
        worker.chunk = self._todo.popleft() if self._todo else None
        if worker.chunk is None:
            self._workers.remove(worker)
            worker.dismiss()
        else:
            worker.begin(worker.chunk, self._clock())

    def _lost(self, worker: _Worker, why: str) -> None:
        """A worker is gone: its input failed, and another goes on behind it."""
        self._workers.remove(worker)
        chunk = worker.chunk
        if chunk is None:
            raise RuntimeError(f"a worker could not even begin: {why}")
        for message in worker.unheard():
            if isinstance(message, Failure):
                self._report.failed(message)
        index, tally = worker.progress.index, worker.progress.tally
        tally.add(Tally(inputs=1, failures=1))
        self._report.add(chunk.target, tally)
        self._report.failed(self._failure(chunk.target, index, why))
        if index + 1 < chunk.stop:
            self._todo.appendleft(Chunk(chunk.target, index + 1, chunk.stop))
        if self._todo:
            self._workers.append(self._hire())

    def _failure(self, name: str, index: int, why: str) -> Failure:
        (target,) = (target for target in self._targets if target.name == name)
        seed = self._report.seed
        return Failure(name, seed, index, why, why, "", repr(case_of(target(), seed, index)))


class _Worker:
    def __init__(self, seed: int, targets: Sequence[type[Target]], now: float) -> None:
        # Spawned: a fork would take threads of the libraries along, half of them.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        shared = context.RawArray("q", 4)
        self.progress = Progress(shared)
        self.chunk: Chunk | None = None
        self._seen = (-1, now)
        self._process = context.Process(
            target=work, args=(seed, theirs, shared, targets), daemon=True
        )
        self._process.start()
        theirs.close()

    def begin(self, chunk: Chunk, now: float) -> None:
        self.progress.put(chunk.start, Tally())
        self._seen = (chunk.start, now)
        self.connection.send(chunk)

    def stuck(self, now: float, stuck_seconds: float) -> bool:
        """Whether it was given work and has not gone on with it for so long."""
        if self.chunk is None:
            return False
        index = self.progress.index
        if index != self._seen[0]:
            self._seen = (index, now)
        return now - self._seen[1] > stuck_seconds

    def unheard(self) -> Iterator[object]:
        """What it had said before it ended."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except (EOFError, OSError):
            return

    def dismiss(self) -> None:
        """There is nothing more to do: it ends by itself."""
        self.connection.close()
        self._process.join()

    def kill(self) -> str:
        """End it, if it has not ended; how it ended."""
        self._process.join(timeout=0.2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code = self._process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
