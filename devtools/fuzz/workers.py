"""Targets shared out to processes, each of which may hang or die of an input."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from devtools.fuzz.limits import bound_memory
from devtools.fuzz.run import INPUT_BYTES, Failure, Tally, case_of, fuzz
from devtools.fuzz.target import Target

# An input that takes so long waits for something that will not come, or works in code that Python
# cannot interrupt.
STUCK_SECONDS = 90.0
# A target whose inputs kill the process so often is not tried any further.
_MOST_DEATHS = 3
# Spawned: a fork would take threads of the libraries along, half of them.
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Job:
    """Some inputs of one target; ``deaths`` is how many processes died of it before."""

    target: type[Target]
    seed: int
    inputs: int
    stuck_seconds: float = STUCK_SECONDS
    deaths: int = 0


def run_jobs(jobs: list[Job], processes: int) -> Iterator[tuple[Job, Tally]]:
    """What came of each job, or of its part up to an input that the process died of."""
    waiting = deque(jobs)
    idle: list[_Worker] = []
    running: dict[Connection, _Worker] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                with _undisturbed():
                    worker = idle.pop() if idle else _Worker()
                    worker.begin(waiting.popleft())
                    running[worker.connection] = worker
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                worker = running.pop(ready)
                job, tally, died = worker.job, *worker.result()
                if not died:
                    idle.append(worker)
                yield job, tally
                if died and tally.inputs < job.inputs and job.deaths + 1 < _MOST_DEATHS:
                    left = replace(job, seed=job.seed + 1, inputs=job.inputs - tally.inputs)
                    waiting.append(replace(left, deaths=job.deaths + 1))
    finally:
        for worker in (*idle, *running.values()):
            worker.kill()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """An interruption comes afterwards: one in the midst of it leaves half a process behind."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """A process, and memory that outlives it: what it had tried and the input that it began."""

    job: Job

    def __init__(self) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self._numbers = _CONTEXT.RawArray("q", 2)
        self._entropy = _CONTEXT.RawArray("B", INPUT_BYTES)
        self._process = _CONTEXT.Process(
            target=_work, args=(theirs, self._numbers, self._entropy), daemon=True
        )
        self._process.start()
        theirs.close()

    def begin(self, job: Job) -> None:
        """Let it do a job."""
        self.job = job
        self.connection.send(job)

    def result(self) -> tuple[Tally, bool]:
        """What came of the job, and whether the process died of it."""
        try:
            tally: Tally = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            return self._obituary(), True
        return tally, False

    def _obituary(self) -> Tally:
        code = self._process.exitcode or 0
        why = f"Died: {f'signal {-code}' if code < 0 else f'exit code {code}'}"
        inputs, rejected = self._numbers
        case = case_of(self.job.target(), bytes(self._entropy))
        failure = Failure(self.job.target.name, self.job.seed, why, why, "", repr(case))
        return Tally(inputs + 1, rejected, failures={why: failure})

    def kill(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.kill()
        self._process.join()


def _work(connection: Connection, numbers: Any, entropy: Any) -> None:
    # Ctrl-C is the parent's to notice, and nothing under test may wait for somebody to type.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return  # the parent is no longer there
        bound_memory()  # not before: with the target come the libraries that it needs

        def began(piece: bytes, tally: Tally, stuck_seconds: float = job.stuck_seconds) -> None:
            if tally.inputs % 16 == 0:
                faulthandler.dump_traceback_later(stuck_seconds, exit=True)
            numbers[:] = (tally.inputs, tally.rejected)
            entropy[:] = piece

        tally = fuzz(job.target(), job.seed, job.inputs, began)
        faulthandler.cancel_dump_traceback_later()
        connection.send(tally)
