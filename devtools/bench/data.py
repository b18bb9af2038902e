"""Input: series as a shop's services would expose them, written as Prometheus blocks.

Half of the series are counters (whole numbers that rise), a quarter are gauges with two decimals,
a quarter have all the digits that a float can have. Each has eight labels, its name included, and
is scraped every 15 s at an offset of its own. With churn, a share of the series is replaced by new
ones (another ``pod``) each so many samples, as deployments do.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from devtools.servers.binaries import Toolbox
from devtools.servers.promtool import create_blocks

JOB = "bench"
SELECTOR = f'{{job="{JOB}"}}'
STEP_MS = 15_000
BLOCK_MS = 7_200_000

_NAMES = (
    ("http_requests_total", "grpc_messages_total", "http_response_bytes_total", "jobs_total"),
    ("queue_length", "request_duration_seconds", "temperature_celsius", "memory_usage_ratio"),
)
_METHODS = ("GET", "POST", "PUT", "DELETE")
_STATUSES = ("200", "201", "404", "500")


@dataclass(frozen=True, slots=True)
class Dataset:
    """``series`` at a time, with ``samples`` each, the last at or before ``end_ms``.

    ``churn`` is the share of series that is replaced after each ``churn_samples``. Both the end and
    the replacements lie on multiples of their length, so that windows of as many samples hold whole
    series.
    """

    series: int
    samples: int
    end_ms: int
    churn: float = 0.0
    churn_samples: int = 60
    seed: int = 1

    @property
    def points(self) -> int:
        """All samples of all series."""
        return self.series * self.samples

    @property
    def start_ms(self) -> int:
        """Every sample is later than this."""
        return self.end_ms - self.samples * STEP_MS

    def blocks(self) -> Iterator[tuple[int, int]]:
        """``(start_ms, end_ms)`` of the pieces, each within two hours as Prometheus cuts them."""
        start_ms = self.start_ms
        while start_ms < self.end_ms:
            end_ms = min(start_ms // BLOCK_MS * BLOCK_MS + BLOCK_MS, self.end_ms)
            yield start_ms, end_ms
            start_ms = end_ms

    def labels(self, number: int, generation: int) -> str:
        """A series of OpenMetrics, such as ``name{label="value",…}``."""
        kind = 0 if number % 4 < 2 else 1
        name = _NAMES[kind][number // 4 % 4]
        pod = f"{generation:x}-{number:x}"
        return (
            f'{name}{{handler="/api/v1/orders/{number % 50}",instance="10.0.{number // 250}.'
            f'{number % 250}:8000",job="{JOB}",method="{_METHODS[number // 16 % 4]}",'
            f'pod="shop-7f9c-{pod}",region="eu-central-1",status="{_STATUSES[number % 4]}"}}'
        )

    def openmetrics(self, start_ms: int, end_ms: int) -> Iterator[bytes]:
        """The samples with ``start_ms < t <= end_ms`` as OpenMetrics text, in pieces."""
        first, last = (ms // STEP_MS for ms in (start_ms, end_ms))
        steps = np.arange(first, last, dtype=np.int64)
        rng = np.random.default_rng((self.seed, first))
        churning = round(self.series * self.churn)
        # A family's samples must follow each other.
        numbers = sorted(range(self.series), key=lambda number: (number % 4 < 2, number // 4 % 4))
        for number in numbers:
            values = _values(number, steps - self.start_ms // STEP_MS, rng)
            # Within the step, never on its bounds: a block ends before its end, a window with it.
            offset_ms = 1 + number * 7919 % (STEP_MS - 1)
            seconds = (steps * STEP_MS + offset_ms) // 1000
            generations = steps // self.churn_samples if number < churning else np.zeros_like(steps)
            cuts = np.flatnonzero(np.diff(generations)) + 1
            for part in np.split(np.arange(len(steps)), cuts):
                labels = self.labels(number, int(generations[part[0]]))
                yield _text(labels, values[part], seconds[part], offset_ms % 1000)
        yield b"# EOF\n"

    def write(self, toolbox: Toolbox, data_dir: Path, scratch: Path, workers: int = 2) -> None:
        """Add the blocks to a Prometheus' data; raises :class:`StackError` with promtool's message.

        The server must not run, or be restarted afterwards.
        """
        scratch.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(workers) as pool:
            for done in [
                pool.submit(self._write_block, toolbox, data_dir, scratch, *block)
                for block in self.blocks()
            ]:
                done.result()

    def _write_block(
        self, toolbox: Toolbox, data_dir: Path, scratch: Path, start_ms: int, end_ms: int
    ) -> None:
        file = scratch / f"{start_ms}.om"
        with file.open("wb", buffering=1 << 20) as text:
            text.writelines(self.openmetrics(start_ms, end_ms))
        try:
            create_blocks(toolbox, file, data_dir)
        finally:
            file.unlink()


def _values(
    number: int, since: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64] | NDArray[np.float64]:
    """Values of one series; a counter goes on where the block before ended."""
    kind = number % 4
    if kind < 2:
        return since * (number % 90 + 10) + rng.integers(0, 10, len(since))
    walk = 50 + np.cumsum(rng.normal(0, 0.5, len(since)))
    return np.round(walk, 2) if kind == 2 else np.asarray(walk / 7, np.float64)


def _text(
    labels: str,
    values: NDArray[np.int64] | NDArray[np.float64],
    seconds: NDArray[np.int64],
    milliseconds: int,
) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame([pl.Series("value", values), pl.Series("time", seconds)]).write_csv(
        buffer, include_header=False, separator=" "
    )
    name = labels.encode() + b" "
    lines = buffer.getvalue().replace(b"\n", f".{milliseconds:03}\n".encode() + name)
    return name + lines[: len(lines) - len(name)]
