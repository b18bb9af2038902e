"""Samples of one window on their way through Redis, and their wire form.

Wire form (schema 1): a msgpack array
``[schema, query, kind, tier, window_id, start_ms, end_ms, series, counts, timestamps, values]``
whose last four are lz4 blocks behind their inflated size (uint32, little-endian): ``series`` a
msgpack array of byte strings (each the JSON object of one label set, as Prometheus wrote it),
``counts`` int64 for each series, ``timestamps`` int64 deltas and ``values`` float64, all
little-endian. Scrapes are regular, so deltas repeat and lz4 folds them away. A CRC-32 (uint32,
little-endian) of the array follows it: lz4 blocks carry none, and a flipped bit must not become a
wrong value in somebody's only copy.

Schema 2 is that of samples to be rolled up: behind ``end_ms`` stands ``rollup``, an array of the
resolution in ms and the names of the aggregates (:mod:`common.samples.rollup`). Among the samples
are some at or before ``start_ms``: what the first bucket of a series increases from, and the
beginning of that bucket. A bucket that ends after ``end_ms`` becomes no point.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lz4.block
import msgspec
import numpy as np

from common.errors import WireError
from common.samples.columns import Samples
from common.samples.rollup import AGGREGATES, Rollup

SCHEMA_VERSION = 1
ROLLUP_SCHEMA_VERSION = 2
SCHEMA_VERSIONS = frozenset({SCHEMA_VERSION, ROLLUP_SCHEMA_VERSION})
CRC_BYTES = 4

_DECODER = msgspec.msgpack.Decoder(list[Any])
_ENCODER = msgspec.msgpack.Encoder()

# lz4 cannot inflate further than this: a column that claims more is corrupt, and must not make
# the decoder allocate what it claims.
MAX_LZ4_RATIO = 255

# What the table of series may inflate to: far above real label sets, which rarely have 2 kB. What
# cannot be bounded by its number of samples is bounded by these.
IDLE_SERIES_MAX = 10_000  # series without a sample: the extractor makes none
SERIES_BYTES_MAX = 64 << 10
TABLE_BYTES_MAX = 64 << 20
TABLES_BYTES_MAX = 256 << 20


class CountMismatch(WireError):
    """A batch is whole, but not of as many samples as its entry says."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where samples come from: one window ``(start_ms, end_ms]`` of one query and tier.

    ``rollup``: what is to become of them.
    """

    query: str
    kind: str
    tier: str
    window_id: str
    start_ms: int
    end_ms: int
    rollup: Rollup | None = None


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples, and where they come from."""

    origin: Origin
    samples: Samples

    def __len__(self) -> int:
        return len(self.samples)

    def encode(self, columns: Sequence[bytes] | None = None) -> bytes:
        """The wire form of this batch; ``columns`` are those of its samples, if they are known."""
        origin = self.origin
        rolled = origin.rollup
        body = _ENCODER.encode(
            [
                SCHEMA_VERSION if rolled is None else ROLLUP_SCHEMA_VERSION,
                origin.query,
                origin.kind,
                origin.tier,
                origin.window_id,
                origin.start_ms,
                origin.end_ms,
                *([] if rolled is None else [[rolled.resolution_ms, *rolled.aggregates]]),
                *(columns_of(self.samples) if columns is None else columns),
            ]
        )
        return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")

    @classmethod
    def decode(cls, payload: bytes, samples: int | None = None) -> SampleBatch:
        """Read the wire form.

        With ``samples``, nothing is inflated that is not of so many: :class:`CountMismatch`.
        Raises :class:`WireError` for anything that is not a whole, consistent batch of a known
        schema version.
        """
        origin, columns = _fields_of(payload)
        return cls(origin, _samples_of(columns, samples))


class BatchDecoder:
    """Decodes batches, and remembers the samples of the last one to be rolled up.

    Those of a query's other tiers, which often follow it, are the same: they are inflated once, and
    are the same object.
    """

    def __init__(self) -> None:
        self._columns: list[Any] = []
        self._samples = Samples.empty()

    def decode(self, payload: bytes, samples: int | None = None) -> SampleBatch:
        """As :meth:`SampleBatch.decode`."""
        origin, columns = _fields_of(payload)
        if origin.rollup is None:
            return SampleBatch(origin, _samples_of(columns, samples))
        if columns != self._columns:
            self._samples, self._columns = _samples_of(columns, samples), columns
        elif samples is not None:
            _check_count(len(self._samples), samples)
        return SampleBatch(origin, self._samples)


def _fields_of(payload: bytes) -> tuple[Origin, list[Any]]:
    """Where a batch is from, and its columns, of which nothing is known yet."""
    body = memoryview(payload)[:-CRC_BYTES]
    if zlib.crc32(body).to_bytes(CRC_BYTES, "little") != payload[-CRC_BYTES:]:
        raise WireError("raw payload: its checksum does not fit: damaged, or not a batch")
    try:
        fields = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"raw payload is not msgpack: {error}") from None
    version = fields[0] if fields else None
    if not isinstance(version, int) or version not in SCHEMA_VERSIONS:
        known = " and ".join(map(str, sorted(SCHEMA_VERSIONS)))
        raise WireError(f"raw payload has schema {version!r:.40}, this reads {known}")
    wanted = 10 + version
    if len(fields) != wanted:
        raise WireError(f"raw payload has {len(fields)} fields, schema {version} has {wanted}")
    rollup = _rollup_of(fields.pop(7)) if version == ROLLUP_SCHEMA_VERSION else None
    _, query, kind, tier, window_id, start_ms, end_ms, *columns = fields
    if not all(isinstance(text, str) for text in (query, kind, tier, window_id)):
        raise WireError("raw payload: query, kind, tier and window must be text")
    if not (isinstance(start_ms, int) and isinstance(end_ms, int)):
        raise WireError("raw payload: window bounds must be integers")
    return Origin(query, kind, tier, window_id, start_ms, end_ms, rollup), columns


def _samples_of(columns: Sequence[Any], samples: int | None) -> Samples:
    names = ("series", "counts", "timestamps", "values")
    claimed_bytes = dict(zip(names, map(_claimed_bytes, columns, names), strict=True))
    found = claimed_bytes["values"] // 8
    if samples is not None:
        _check_count(found, samples)
    # From here on every column's claim is bounded by the number of samples, or of series.
    if claimed_bytes["timestamps"] != claimed_bytes["values"]:
        raise WireError("raw payload: timestamps and values differ in length")
    if claimed_bytes["counts"] > claimed_bytes["values"] + 8 * IDLE_SERIES_MAX:
        raise WireError(f"raw payload: column counts claims {claimed_bytes['counts']} bytes")
    table_bytes_max = TABLE_BYTES_MAX + claimed_bytes["counts"] // 8 * SERIES_BYTES_MAX
    if claimed_bytes["series"] > min(table_bytes_max, TABLES_BYTES_MAX):
        raise WireError(f"raw payload: column series claims {claimed_bytes['series']} bytes")
    series_bytes, counts_bytes, deltas_bytes, values_bytes = map(_inflate, columns, names)
    try:
        series = tuple(msgspec.msgpack.decode(series_bytes, type=list[bytes]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"raw payload: series table: {error}") from None
    if len(counts_bytes) != 8 * len(series):
        raise WireError("raw payload: counts do not fit the series table")
    if len(deltas_bytes) != len(values_bytes) or len(values_bytes) % 8:
        raise WireError("raw payload: timestamps and values differ in length")
    counts = np.frombuffer(counts_bytes, dtype="<i8").astype(np.int64, copy=False)
    total = len(values_bytes) // 8
    if (counts < 0).any() or (counts > total).any() or int(counts.sum()) != total:
        raise WireError("raw payload: counts do not add up to its samples")
    timestamps_ms = np.cumsum(np.frombuffer(deltas_bytes, dtype="<i8"), dtype=np.int64)
    values = np.frombuffer(values_bytes, dtype="<f8").astype(np.float64, copy=False)
    return Samples(series, counts, timestamps_ms, values)


def _check_count(found: int, samples: int) -> None:
    if found != samples:
        raise CountMismatch(f"payload holds {found} samples, the ledger {samples}")


def columns_of(samples: Samples) -> tuple[bytes, ...]:
    """The columns of samples as a batch holds them, compressed; whatever it is that they are of."""
    deltas = np.diff(samples.timestamps_ms, prepend=np.int64(0)).astype("<i8", copy=False)
    return (
        lz4.block.compress(_ENCODER.encode(samples.series), store_size=True),
        lz4.block.compress(samples.counts.astype("<i8", copy=False).tobytes()),
        lz4.block.compress(deltas.tobytes()),
        lz4.block.compress(samples.values.astype("<f8", copy=False).tobytes()),
    )


def _rollup_of(found: object) -> Rollup:
    match found:
        case [int(resolution_ms), *names] if resolution_ms > 0 and names:
            known = [str(name) for name in names if name in AGGREGATES]
            if len(known) == len(names):
                return Rollup.of(resolution_ms, known)
    raise WireError(f"raw payload: {found!r:.100} is no rollup")


def _claimed_bytes(column: object, name: str) -> int:
    if not isinstance(column, bytes) or len(column) < 4:
        raise WireError(f"raw payload: column {name} is not bytes")
    claimed_bytes = int.from_bytes(column[:4], "little")
    if claimed_bytes > MAX_LZ4_RATIO * len(column):
        raise WireError(f"raw payload: column {name} claims {claimed_bytes} bytes")
    return claimed_bytes


def _inflate(column: bytes, name: str) -> bytes:
    try:
        return bytes(lz4.block.decompress(column))
    except lz4.block.LZ4BlockError as error:
        raise WireError(f"raw payload: column {name}: {error}") from None
