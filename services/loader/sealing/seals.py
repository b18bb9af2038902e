"""Seals of windows, written to the sink beside the data: what a proof without the source needs.

Now and then one of the loaders writes the seals that are due, many in one body, as points of
``etl_seal``. The time of a point is the end of its window, so a seal expires with its data, and
that of a later extraction takes its place. See docs/line-protocol.md.
"""

from __future__ import annotations

import gzip
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from redis.exceptions import RedisError

from common.errors import SinkError
from common.runtime.telemetry import Telemetry
from common.state.seals import DueSeal, Seals
from services.loader.buckets.each import FailedBuckets
from services.loader.influx import InfluxSink
from services.loader.responses import Kind
from services.loader.sealing.configurations import Configurations, Record

MEASUREMENT = "etl_seal"
UNKNOWN = "unknown"
"""In the place of the digest: the window has no seal, and none that it had before holds."""

# Longer than any post takes.
LEAD_SECONDS = 120.0
# Refusals that one of the lines may be to blame for, or their number.
_CUT = frozenset({Kind.RETENTION, Kind.OUTSIDE_WINDOW, Kind.TOO_LARGE})

_TAKEN = "the configurations that came into force"
_One = TypeVar("_One")


@dataclass
class SealKeeper:
    """Writes what is due: ``buckets`` by tier (others wait), ``pipeline`` as the tag says it."""

    seals: Seals
    configurations: Configurations
    sink: InfluxSink
    pipeline: str
    buckets: Mapping[str, str]
    telemetry: Telemetry
    stop: threading.Event
    every_seconds: float
    holder: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self) -> None:
        """One turn after the other until stopped."""
        while not self.stop.wait(self.every_seconds):
            try:
                self.turn()
            except (SinkError, RedisError) as error:
                self.telemetry.emit("seals_failed", error=str(error))
            # A thread that ends of it would leave all later seals unwritten.
            except Exception as error:
                self.telemetry.emit("seals_failed", error=repr(error), exc_info=error)

    def turn(self) -> None:
        """Write all that is due, unless another loader does.

        Raises :class:`SinkError` or :class:`redis.exceptions.RedisError`; what was written until
        then, and to other buckets, is not due any more.
        """
        if not self._leads():
            return
        self.seals.sweep()
        failed = FailedBuckets()
        for page in self.seals.pages():
            if all(bucket in failed for bucket in self.buckets.values()):
                break
            for tier, bucket in self.buckets.items():
                of_tier = [seal for seal in page if seal.tier == tier and bucket not in failed]
                of_tier.sort(key=lambda seal: seal.end_ms, reverse=True)
                with failed.noting(bucket):
                    if not self._write(bucket, of_tier, self._line, self._written, self._expired):
                        return
        for due in self.configurations.due():
            bucket = self.buckets.get(due.records[0].tier, "") if due.records else ""
            if bucket in failed:
                continue
            newest_first = due.records[::-1] if bucket else []
            with failed.noting(bucket):
                if not self._write(bucket, newest_first, self._record_line, what=_TAKEN):
                    return
                self.configurations.written(due)
        failed.tell()

    def _leads(self) -> bool:
        return self.seals.lead(self.holder, LEAD_SECONDS)

    def _write(
        self,
        bucket: str,
        left: Sequence[_One],
        line: Callable[[_One], str],
        written: Callable[[Sequence[_One]], None] = lambda _: None,
        expired: Callable[[Sequence[_One]], None] = lambda _: None,
        what: str = "the seals",
    ) -> bool:
        """Write what is ``left``, the newest first; what the sink no longer keeps is ``expired``.

        False: another loader writes.
        """
        size = len(left)
        while left:
            if not self._leads():
                return False
            part = left[:size]
            lines = "".join(map(line, part))
            outcome = self.sink.write(bucket, gzip.compress(lines.encode(), 1, mtime=0))
            if outcome.kind is Kind.WRITTEN:
                written(part)
                left = left[size:]
            elif outcome.kind in _CUT and len(part) > 1:
                size = len(part) // 2
            elif outcome.kind is Kind.RETENTION:
                # Whatever is older is too old as well.
                expired(left)
                left = []
            elif outcome.kind is Kind.OUTSIDE_WINDOW:
                expired(part)
                left = left[1:]
                size = len(left)
            else:
                raise SinkError(f"{what} were not written: {outcome.message}")
        return True

    # Counted is only what is not due any more: a newer one may have taken its place meanwhile.

    def _written(self, seals: Sequence[DueSeal]) -> None:
        known = self.seals.forget([seal for seal in seals if seal.digest is not None])
        nameless = [seal for seal in seals if seal.digest is None]
        unknown = self.seals.forget(nameless)
        if unknown:
            self.telemetry.emit("seals_unknown", unknown, **_example(nameless))
        self.telemetry.inc("etl_seals_written_total", known + unknown)

    def _expired(self, seals: Sequence[DueSeal]) -> None:
        if forgotten := self.seals.forget(seals):
            self.telemetry.emit("seals_expired", forgotten, **_example(seals))

    def _record_line(self, record: Record) -> str:
        return record.line(self.pipeline)

    def _line(self, seal: DueSeal) -> str:
        part = ",part=replay" if seal.replayed else ""
        return (
            f"{MEASUREMENT}{part},pipeline={self.pipeline},query={seal.query},tier={seal.tier} "
            f"start_ms={seal.start_ms}i,points={seal.points}i,"
            f'digest="{seal.digest or UNKNOWN}",sealed_ms={seal.sealed_ms}i,'
            f'window="{seal.window}" {seal.end_ms}\n'
        )


def _example(seals: Sequence[DueSeal]) -> dict[str, Any]:
    """What the log says of several: one of them."""
    first = seals[0]
    bounds = {"start_ms": first.start_ms, "end_ms": first.end_ms}
    return {"query": first.query, "tier": first.tier, **bounds}
