"""The transformer's handler: raw entries in, points entries out, every sample accounted for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from common.errors import WireError
from common.samples.batch import (
    CRC_BYTES,
    SCHEMA_VERSIONS,
    BatchDecoder,
    CountMismatch,
    Origin,
    SampleBatch,
)
from common.samples.bucket_of_key import BucketOfKey, mark_of_bucket
from common.samples.columns import Samples
from common.samples.line_names import LONG_KEY_BYTES
from common.samples.series import IntegerKey, Resolved, SeriesDrop, SeriesEncoder
from common.state.verdict import PUSHED, DeadLetter, Entry, Settle, Verdict
from services.transformer.clean import Drops, SampleDrop, clean
from services.transformer.line_protocol import are_whole, encode
from services.transformer.rollup import roll_up

if TYPE_CHECKING:
    from common.config import Settings

# What a label set that can be read becomes.
_KEYS = frozenset({bytes, IntegerKey, SeriesDrop})


@dataclass(frozen=True, slots=True)
class _Cleaned:
    """What became of the ``raw`` samples of a query."""

    kind: str
    query: str
    raw: Samples
    kept: Samples
    drops: Drops


@dataclass
class TransformHandler:
    """Cleans, relabels and encodes. A pure function but for the clock and what is remembered.

    That are series, and the samples of the last entry to be rolled up: those of a query's other
    tiers are the same.
    """

    stage = "transformer"

    series: SeriesEncoder
    max_future_seconds: float = 600.0
    bucket_of: BucketOfKey | None = None
    clock: Callable[[], float] = time.time
    _decoder: BatchDecoder = field(default_factory=BatchDecoder, init=False)
    _last: _Cleaned | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # The same series come in every window.
        self._remembered_mark = lru_cache(maxsize=100_000)(self._mark_of_key)

    @classmethod
    def from_settings(cls, settings: Settings) -> TransformHandler:
        """The handler that the configuration describes; raises ``ConfigError``."""
        series = SeriesEncoder.from_settings(settings)
        bucket_from = settings.load.bucket_from
        return cls(
            series,
            max_future_seconds=settings.transform.max_future_seconds,
            bucket_of=None if bucket_from is None else bucket_from.of_key,
        )

    def handle(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Settle every entry: what cannot be read is a dead letter with its bytes."""
        return [self._settle(entry) for entry in entries]

    def check(self) -> str | None:
        """A pure function depends on nothing."""
        return None

    def close(self) -> None:
        """A pure function holds nothing."""

    def _settle(self, entry: Entry) -> Settle:
        try:
            batch = self._decoder.decode(entry.payload, entry.samples)
        except CountMismatch as error:
            return _dead(entry, "count_mismatch", str(error))
        except WireError as error:
            other = _schema_of(entry.payload) not in {None, *SCHEMA_VERSIONS}
            return _dead(entry, "unknown_schema" if other else "undecodable", str(error))
        origin = batch.origin
        if (origin.query, origin.kind) != (entry.query, entry.kind):
            return _dead(
                entry,
                "undecodable",
                f"payload is of {origin.kind} query {origin.query!r:.100}, "
                f"its entry of {entry.kind} query {entry.query!r:.100}",
            )
        settle = self._transform(batch)
        if settle.samples != entry.samples:
            # A defect of ours: nothing is sent on, and nothing is lost.
            return _dead(
                entry, "unaccounted", f"the transform accounts for {settle.samples} samples"
            )
        return settle

    def _transform(self, batch: SampleBatch) -> Settle:
        origin = batch.origin
        cleaned, dead = self._cleaned(batch)
        kept, drops = cleaned.kept, dict(cleaned.drops)
        if origin.rollup is None:
            kept, refused = _integers(origin, kept)
            outputs = tuple(
                output for part, mark in self._by_bucket(kept) for output in encode(part, mark)
            )
            return Settle(outputs=outputs, drops=drops, dead=(*dead, *refused))
        from services.transformer.rollup_lines import encode_rollup  # loads polars

        points, of_rollup = roll_up(kept, origin.start_ms, origin.end_ms, origin.rollup)
        for reason, samples in of_rollup.items():
            drops[reason] = drops.get(reason, 0) + samples
        return Settle(outputs=tuple(encode_rollup(points)), drops=drops, dead=dead)

    def _mark_of(self, key: bytes) -> int:
        if len(key) > LONG_KEY_BYTES:
            return self._mark_of_key(key)
        return self._remembered_mark(key)

    def _mark_of_key(self, key: bytes) -> int:
        bucket = self.bucket_of and self.bucket_of(key)
        return mark_of_bucket(bucket) if bucket else 0

    def _by_bucket(self, kept: Samples) -> Iterator[tuple[Samples, int]]:
        """The samples for each bucket, and its mark: none for the tier's own."""
        if self.bucket_of is None:
            yield kept, 0
            return
        marks = list(map(self._mark_of, kept.keys))
        of_series = np.array(marks, dtype=np.int64)
        for mark in sorted(set(marks)):
            yield kept.of_series(of_series == mark), mark

    def _cleaned(self, batch: SampleBatch) -> tuple[_Cleaned, tuple[DeadLetter, ...]]:
        origin, raw, last = batch.origin, batch.samples, self._last
        if last and last.raw is raw and (last.kind, last.query) == (origin.kind, origin.query):
            return last, ()
        keys = self.series.keys(origin.kind, origin.query, raw.series)
        dead: tuple[DeadLetter, ...] = ()
        readable = cast(list[bytes | SeriesDrop], keys)
        if not _KEYS.issuperset(map(type, keys)):
            readable = [key for key in keys if not isinstance(key, WireError)]
            batch, dead = _without_unreadable(batch, keys)
        now_ms = round(self.clock() * 1000)
        if origin.window_id != PUSHED:
            # It had settled by the source's clock when it was extracted: ours may be behind.
            now_ms = max(now_ms, origin.end_ms)
        max_future_ms = round(self.max_future_seconds * 1000)
        kept, drops = clean(batch.samples, readable, now_ms, max_future_ms)
        cleaned = _Cleaned(origin.kind, origin.query, raw, kept, drops)
        # Dead letters are of one entry, and what is in the future now is not so for ever.
        if origin.rollup is not None and not dead and SampleDrop.TIMESTAMP_IN_FUTURE not in drops:
            self._last = cleaned
        return cleaned, dead


def _without_unreadable(
    batch: SampleBatch, keys: Sequence[Resolved]
) -> tuple[SampleBatch, tuple[DeadLetter, ...]]:
    """The batch without series whose label sets cannot be read, and a dead letter with those."""
    samples = batch.samples
    unreadable = np.fromiter((isinstance(key, WireError) for key in keys), np.bool_, len(keys))
    refused = SampleBatch(batch.origin, samples.of_series(unreadable & (samples.counts > 0)))
    dead: tuple[DeadLetter, ...] = ()
    if len(refused):
        error = next(key for key in keys if isinstance(key, WireError))
        detail = f"{error} ({len(refused.samples.series)} such series)"
        dead = (DeadLetter("unreadable_labels", detail, refused.encode(), len(refused)),)
    return SampleBatch(batch.origin, samples.of_series(~unreadable)), dead


def _integers(origin: Origin, kept: Samples) -> tuple[Samples, tuple[DeadLetter, ...]]:
    """What can be written as its field's type, and a dead letter with the rest."""
    if IntegerKey not in set(map(type, kept.keys)):
        return kept, ()
    integer = [isinstance(key, IntegerKey) for key in kept.keys]
    refused = np.repeat(np.array(integer), kept.counts) & ~are_whole(kept.values)
    if not refused.any():
        return kept, ()
    batch = SampleBatch(origin, kept.where(refused))
    detail = (
        f"{len(batch)} samples are no whole numbers within 2^53, as load.layout.integer_metrics "
        f"wants them: {batch.samples.values[0]!s} of {batch.samples.keys[0][:200]!r}"
    )
    letter = DeadLetter("not_an_integer", detail, batch.encode(), len(batch))
    return kept.where(~refused), (letter,)


def _schema_of(payload: bytes) -> int | None:
    """The schema version that a payload claims, if it has the shape of one."""
    try:
        fields = msgspec.msgpack.decode(payload[:-CRC_BYTES])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    version = fields[0] if isinstance(fields, list) and fields else None
    return version if isinstance(version, int) else None


def _dead(entry: Entry, reason: str, detail: str) -> Settle:
    return Settle(dead=(DeadLetter(reason, detail, entry.payload, entry.samples),))
