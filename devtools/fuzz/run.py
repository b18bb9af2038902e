"""Running inputs of one target, one after the other, and saying exactly what went wrong."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from devtools.fuzz.limits import Hang, begin_input, end_input, hangs_raise
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Broken, Target

_TRACEBACK_FRAMES = 25
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Failure:
    """One input that shows a defect; ``input`` is its ``repr``, ``signature`` names the defect."""

    target: str
    seed: int
    index: int
    error: str
    signature: str
    traceback: str
    input: str


@dataclass(slots=True)
class Tally:
    """What became of a run of inputs; ``slowest`` is processor time and index."""

    inputs: int = 0
    rejected: int = 0
    failures: int = 0
    slowest: tuple[float, int] = field(default=(0.0, 0))

    def add(self, other: Tally) -> None:
        """Take another run of the same target in."""
        self.inputs += other.inputs
        self.rejected += other.rejected
        self.failures += other.failures
        self.slowest = max(self.slowest, other.slowest)


def case_of(target: Target, seed: int, index: int) -> Any:
    """Input ``index`` of a target: the same for ever, whichever process makes it."""
    return target.make(Mutator(Random(f"{seed}/{target.name}/{index}")))


def run(
    target: Target,
    seed: int,
    indices: Iterable[int],
    failed: Callable[[Failure], None],
    began: Callable[[int, Tally], None] = lambda index, tally: None,
) -> Tally:
    """Try inputs; ``failed`` is told of each failure, ``began`` before each input."""
    tally = Tally()
    clock = time.process_time
    with hangs_raise():
        for index in indices:
            began(index, tally)
            started = clock()
            failure = attempt(target, seed, index)
            seconds = clock() - started
            tally.inputs += 1
            if seconds > tally.slowest[0]:
                tally.slowest = (seconds, index)
            if failure is False:
                tally.rejected += 1
            elif isinstance(failure, Failure):
                tally.failures += 1
                failed(failure)
    return tally


def attempt(target: Target, seed: int, index: int, saved: Any = None) -> bool | Failure:
    """Whether the target takes input ``index``, or what went wrong. Needs :func:`hangs_raise`.

    ``saved`` is the input itself, if it need not be made.
    """
    case = saved
    try:
        begin_input()
        try:
            if saved is None:
                case = case_of(target, seed, index)
            return target.check(case)
        finally:
            end_input()
    except (Exception, Hang) as error:
        return failure_of(target.name, seed, index, case, error)


def failure_of(name: str, seed: int, index: int, case: Any, error: BaseException) -> Failure:
    """A failure from what was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    # The place of a defect is the last frame that is ours: not the harness, not a library.
    ours = [f for f in frames if "site-packages" not in f.filename and f.filename[0] != "<"]
    tested = [f for f in ours if not f.filename.startswith(_HERE)] or ours
    place = f"{Path(tested[-1].filename).name}:{tested[-1].lineno}" if tested else "?"
    what = type(error).__name__
    if isinstance(error, Broken):
        place, what = error.what, "Broken:"
    text = "".join(traceback.format_exception(error, limit=-_TRACEBACK_FRAMES))
    return Failure(
        name,
        seed,
        index,
        f"{type(error).__name__}: {error}"[:500],
        f"{what} {place}",
        text,
        repr(case),
    )
