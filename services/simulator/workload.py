"""What the simulated ETL process has to do: files, and what goes wrong with them, from a seed.

Files and failures come from generators of their own, so the n-th file of a seed is the same one
whatever scenario the process is put through, and so is the n-th failure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from common.runtime.etl_log import ErrorType

_SOURCES = ("customers", "inventory", "orders", "payments", "shipments")
_RECORD_BYTES = (140, 260)
_TIME_SPREAD = 0.2  # sigma of the log-normal noise on processing times

# A failed attempt ends somewhere in the first half of the time that the file would have taken.
_FAILS_AT = (0.05, 0.5)
# Failures come at half to one and a half times their mean distance: regular enough for a minute to
# have about one, irregular enough to look like life.
_DISTANCE = (0.5, 1.5)

_WEIGHTS: dict[ErrorType, int] = {
    "connection_timeout": 4,
    "validation_failed": 3,
    "malformed_file": 2,
    "constraint_violation": 2,
    "destination_unavailable": 1,
}


@dataclass(frozen=True, slots=True)
class File:
    """A file that waits to be processed. ``time_factor`` is its own noise, 1.0 in the mean."""

    name: str
    source: str
    records: int
    size_bytes: int
    time_factor: float


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt fails: after which share of its time, why, and with which message.

    ``distance`` is the time to this failure from the one before, in mean distances; ``draw``, in
    [0, 1), decides the figures in its message.
    """

    distance: float
    at_share: float
    error_type: ErrorType
    draw: float

    def message(self, file: File) -> str:
        """The error message, as the attempt on ``file`` would have logged it."""
        number = 1 + int(self.draw * file.records)
        match self.error_type:
            case "connection_timeout":
                return f"sftp://{file.source}: no response within {10 + number % 50} s"
            case "malformed_file":
                return f"{file.name}: line {number}: 12 columns expected, {1 + number % 11} found"
            case "validation_failed":
                return f"{file.name}: {number} of {file.records} records have no usable key"
            case "constraint_violation":
                return f"table {file.source}: duplicate key in record {number}"
            case "destination_unavailable":
                return f"warehouse: connection refused after {1 + number % 5} attempts"


def files(seed: int, records_min: int, records_max: int) -> Iterator[File]:
    """Endless files of ``records_min`` to ``records_max`` records, evenly distributed."""
    random = Random(f"{seed}:files")
    number = 0
    while True:
        number += 1
        source = random.choice(_SOURCES)
        records = random.randint(records_min, records_max)
        yield File(
            name=f"{source}-{number:06d}.csv",
            source=source,
            records=records,
            size_bytes=records * random.randint(*_RECORD_BYTES),
            # The mean of a log-normal is above its median by half its variance.
            time_factor=random.lognormvariate(-(_TIME_SPREAD**2) / 2, _TIME_SPREAD),
        )


def failures(seed: int) -> Iterator[Failure]:
    """Endless failures."""
    random = Random(f"{seed}:failures")
    while True:
        yield Failure(
            distance=random.uniform(*_DISTANCE),
            at_share=random.uniform(*_FAILS_AT),
            error_type=random.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0],
            draw=random.random(),
        )


def mean_distance_seconds(failures_per_minute: float) -> float:
    """Seconds between two failures in the mean; infinite where there are none."""
    return 60.0 / failures_per_minute if failures_per_minute else math.inf
