"""Whether what is written to a bucket can be read back: the loaded watermark depends on it.

InfluxDB 2 gives a token that may not read a bucket the same response as for a bucket without
points: 200 and no series (or ``database not found``). So an empty response proves nothing. A point
of our own that was written and is not read back proves that reading does not work.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import inf

from common.config import InfluxSettings
from common.config.query import READ_CHECK as MEASUREMENT
from common.errors import SinkError
from common.sink.select import Select
from services.loader import payload
from services.loader.influx import InfluxSink
from services.loader.responses import Kind
from services.loader.watermark import WatermarkReader, series_of

# All loaders of a pipeline write the same point, twice an hour: no sink keeps points for less than
# an hour.
_GRID_MS = 1_800_000
# A cluster, and InfluxDB 3, may show a point a little later than it takes it.
_READINGS = 5
_PAUSE_SECONDS = 0.5
# A sink that does not take the point, or does not show it, is left alone for so long.
_WRITE_EVERY_SECONDS = 15.0
# How long the sink may take to show one point until it counts as away.
TIMEOUT_SECONDS = 5.0


def _grid_ms(at_seconds: float) -> int:
    return int(at_seconds * 1000) // _GRID_MS * _GRID_MS


def check_line(pipeline: str, at_seconds: float) -> bytes:
    """The point: whoever writes it again changes nothing."""
    return f"{MEASUREMENT},pipeline={pipeline} value=1.0 {_grid_ms(at_seconds)}".encode()


@dataclass
class ReadCheck:
    """Checks one bucket after the other; ``pause`` waits for so many seconds."""

    reader: WatermarkReader
    sink: InfluxSink
    buckets: Collection[str]
    pause: Callable[[float], object] = time.sleep
    wall_clock: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    # Bucket → what came of the last point that was not read back, and until when that holds.
    _failed: dict[str, tuple[float, str]] = field(default_factory=dict, init=False)

    @classmethod
    def over_own_connections(
        cls,
        settings: InfluxSettings,
        pipeline: str,
        buckets: Collection[str],
        stop: threading.Event,
    ) -> ReadCheck:
        """One that waits for no post of the loader, and not for long for the sink.

        Raises :class:`SinkError` when no client can be built from the settings.
        """
        timeout_seconds = min(settings.timeout_seconds, TIMEOUT_SECONDS)
        quick = settings.model_copy(update={"timeout_seconds": timeout_seconds})
        return cls(
            WatermarkReader(quick, pipeline), InfluxSink(quick, connections=1), buckets, stop.wait
        )

    @property
    def timeout_seconds(self) -> float:
        """What a check takes at most, or little less."""
        return 4 * TIMEOUT_SECONDS * len(set(self.buckets))

    def close(self) -> None:
        """Close the connections."""
        self.reader.close()
        self.sink.close()

    def __call__(self) -> None:
        """Raises :class:`SinkError` for the first bucket that cannot be read."""
        for bucket in dict.fromkeys(self.buckets):
            self.prove(bucket)

    def prove(self, bucket: str) -> None:
        """Raises :class:`SinkError` unless a point of ours is read from ``bucket``."""
        at_ms = _grid_ms(self.wall_clock())
        until_seconds, why = self._failed.get(bucket, (-inf, ""))
        if not self._is_there(bucket, at_ms):
            if self.clock() >= until_seconds:
                why = self._write(bucket, at_ms)
                self._failed[bucket] = (self.clock() + _WRITE_EVERY_SECONDS, why)
            if why:
                raise SinkError(why)
        self._failed.pop(bucket, None)

    def _write(self, bucket: str, at_ms: int) -> str:
        """Write the point; why it cannot be read back, empty if it can."""
        body = payload.encode([check_line(self.reader.pipeline, at_ms / 1000)])
        outcome = self.sink.write(bucket, body)
        if outcome.kind is not Kind.WRITTEN:
            return f"reading {bucket!r} cannot be checked: {outcome.message}"
        for _ in range(_READINGS):
            if self._is_there(bucket, at_ms):
                return ""
            self.pause(_PAUSE_SECONDS)
        return (
            f"the sink takes points for {bucket!r} and shows none: the token may not read it, or "
            "there is no database of that name to be read (in InfluxDB 2: a DBRP mapping)"
        )

    def _is_there(self, bucket: str, at_ms: int) -> bool:
        ours = {"pipeline": self.reader.pipeline}
        point = Select(("value",), MEASUREMENT, ours, after_ms=at_ms - 1, until_ms=at_ms)
        try:
            return bool(series_of(self.reader.query(bucket, point), self.reader.url))
        except SinkError as error:
            if "database not found" in str(error):  # as a 2.x says it, to a token without the right
                return False
            raise
