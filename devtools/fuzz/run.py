"""Trying inputs of one target: hypothesis draws what they are made from, and shrinks what fails."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase, choices_to_bytes

from devtools.fuzz.limits import Hang, input_limit
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Broken, Target

INPUT_BYTES = 128
# An example costs hypothesis as much as an input costs us, so each is several inputs.
_INPUTS_OF_EXAMPLE = 16
# Each costs seconds, and is not shrunk.
_MOST_HANGS = 3
_SETTINGS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
_TRACEBACK_FRAMES = 25
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that shows a defect; ``input`` is its ``repr``, ``signature`` names the defect."""

    target: str
    seed: int
    error: str
    signature: str
    traceback: str
    input: str


@dataclass(slots=True)
class Tally:
    """What became of the inputs of a target, and one failure for each defect."""

    inputs: int = 0
    rejected: int = 0
    slowest_cpu_seconds: float = 0.0
    failures: dict[str, Failure] = field(default_factory=dict)

    def fail(self, failure: Failure) -> None:
        """Keep a failure, in place of another of the same defect."""
        self.failures[failure.signature] = failure

    def add(self, other: Tally) -> None:
        """Take in another run of the same target."""
        self.inputs += other.inputs
        self.rejected += other.rejected
        self.slowest_cpu_seconds = max(self.slowest_cpu_seconds, other.slowest_cpu_seconds)
        self.failures |= other.failures


def case_of(target: Target, entropy: bytes) -> Any:
    """The input that these bytes make: the same for ever, whichever process makes it."""
    return target.make(Mutator(entropy))


def fuzz(
    target: Target,
    seed: int,
    inputs: int,
    began: Callable[[bytes, Tally], None] = lambda entropy, tally: None,
) -> Tally:
    """Try inputs until they are all tried or one shows a defect, which is then shrunk.

    ``began`` is called before each input. Needs the main thread, for the time limit.
    """
    tally = Tally()
    hangs = 0

    def attempt_next(entropy: bytes) -> None:
        nonlocal hangs
        if tally.inputs == inputs or hangs == _MOST_HANGS:
            return
        began(entropy, tally)
        started = time.process_time()
        case, accepted, error = attempt(target, entropy)
        tally.inputs += 1
        cpu_seconds = time.process_time() - started
        tally.slowest_cpu_seconds = max(tally.slowest_cpu_seconds, cpu_seconds)
        if error is None:
            tally.rejected += not accepted
            return
        tally.fail(failure_of(target.name, seed, case, error))
        if isinstance(error, Hang):
            hangs += 1
        else:
            raise _Found(entropy)

    @hypothesis.seed(seed)
    @settings(_SETTINGS, max_examples=-(-inputs // _INPUTS_OF_EXAMPLE), phases=[Phase.generate])
    @given(st.binary(min_size=(size := INPUT_BYTES * _INPUTS_OF_EXAMPLE), max_size=size))
    def search(entropy: bytes) -> None:
        for start in range(0, size, INPUT_BYTES):
            attempt_next(entropy[start : start + INPUT_BYTES])

    try:
        search()
    except _Found as found:
        _shrink(target, seed, found.entropy, tally)
    return tally


def _shrink(target: Target, seed: int, entropy: bytes, tally: Tally) -> None:
    @settings(_SETTINGS, database=_Known(entropy), phases=[Phase.reuse, Phase.shrink])
    @given(st.binary(min_size=INPUT_BYTES, max_size=INPUT_BYTES))
    def holds(entropy: bytes) -> None:
        case, _, error = attempt(target, entropy)
        if error is not None and not isinstance(error, Hang):
            # The smallest is tried once more in the end, and so it is what is kept.
            tally.fail(failure_of(target.name, seed, case, error))
            raise error

    # What is raised is in the tally.
    with contextlib.suppress(Exception):
        holds()


class _Found(Exception):
    def __init__(self, entropy: bytes) -> None:
        super().__init__()
        self.entropy = entropy


class _Known(ExampleDatabase):
    """Holds one example, whatever is asked for; as one that is not shrunk yet."""

    def __init__(self, entropy: bytes) -> None:
        super().__init__()
        self._example = choices_to_bytes((entropy,))

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """The example."""
        if key.endswith(b".secondary"):  # hypothesis takes the others for minimal
            yield self._example

    def save(self, key: bytes, value: bytes) -> None:
        """Nothing is kept."""

    def delete(self, key: bytes, value: bytes) -> None:
        """Nothing is kept."""


def attempt(
    target: Target, entropy: bytes, saved: Any = None
) -> tuple[Any, bool, BaseException | None]:
    """The input, whether the target takes it, and what went wrong.

    ``saved`` is the input itself, if it need not be made.
    """
    case = saved
    try:
        with input_limit():
            if saved is None:
                case = case_of(target, entropy)
            return case, target.check(case), None
    except (Exception, Hang) as error:
        return case, False, error


def failure_of(name: str, seed: int, case: Any, error: BaseException) -> Failure:
    """A failure from what was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    # The place of a defect is the last frame that is ours: not the harness, not a library.
    ours = [f for f in frames if "site-packages" not in f.filename and f.filename[0] != "<"]
    tested = [f for f in ours if not f.filename.startswith(_HERE)] or ours
    place = f"{Path(tested[-1].filename).name}:{tested[-1].lineno}" if tested else "?"
    signature = f"{type(error).__name__} {place}"
    if isinstance(error, Hang):
        signature = "Hang"  # the place is chance
    elif isinstance(error, Broken):
        signature = f"Broken: {error.what}"
    text = "".join(traceback.format_exception(error, limit=-_TRACEBACK_FRAMES))
    return Failure(
        name, seed, f"{type(error).__name__}: {error}"[:500], signature, text, repr(case)
    )
