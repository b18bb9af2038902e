"""Stream entries: foreign fields, damaged payloads, and what the transformer makes of them."""

from __future__ import annotations

from typing import Any, Self, cast

import lz4.block
import msgspec
import numpy as np
from redis import Redis

from common.errors import WireError
from common.runtime.undeliverable import whole_as_dead_letter
from common.samples.batch import SampleBatch
from common.samples.series import SeriesEncoder
from common.state.keys import POINTS, RAW, Keys
from common.state.stream import RedisStream
from common.state.verdict import Entry, Settle
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from devtools.fuzz.targets.samples import (
    NOW_MS,
    batch_of,
    damaged_fields,
    entry_fields,
    series_list,
    with_checksum,
)
from services.transformer.transform import TransformHandler

_PREFIX = b"etl:payload:"
# Members of a batch's array: the series table, then counts, timestamps and values.
_FIRST_COLUMN = 7
_NUMBER_COLUMNS = (8, 9)


class _Answers:
    """What a server would answer; only the reading of answers is under test here."""

    def __init__(
        self, fields: dict[bytes, bytes], held: bytes | None, payload: bytes | None
    ) -> None:
        self._fields, self._held, self._payload = fields, held, payload

    def xreadgroup(self, *_: Any, **__: Any) -> Any:
        return [[b"etl:stream:raw", [(b"1-1", self._fields)]]]

    def xpending_range(self, *_: Any) -> list[dict[str, Any]]:
        return [{"consumer": b"w"}]

    def pipeline(self, **_: Any) -> _Pipeline:
        return _Pipeline(self._held, self._payload)


class _Pipeline:
    """Its commands, answered together."""

    def __init__(self, held: bytes | None, payload: bytes | None) -> None:
        self._held, self._payload = held, payload
        self._responses: list[list[bytes | None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def mget(self, names: list[bytes]) -> None:
        self._responses.append([self._payload if name != _PREFIX else None for name in names])

    def hmget(self, *_: Any) -> None:
        self._responses.append([self._held])

    def execute(self) -> list[list[bytes | None]]:
        return self._responses


class Entries(Target):
    """Whatever lies in a stream, reading it gives an entry that the stage can settle."""

    name = "entries"
    weight = 40

    def make(self, m: Mutator) -> tuple[dict[bytes, bytes], bytes | None, bytes | None]:
        """Fields, the in-flight record, the payload."""
        fields = damaged_fields(m, entry_fields(m, _PREFIX + b"ab12", 5), m.below(5))
        held = m.bytes(b"5 1000 q@hot w1 etl:payload:ab12", (b" ", b"-", b"5"), rounds=m.below(3))
        payload = m.pick((None, b"", b"not a batch", b"\xff" * 9))
        return fields, held if m.chance(0.7) else None, payload

    def check(self, case: Any) -> bool:
        """An entry with the ledger's samples; a dead letter accounts for all of them."""
        fields, held, payload = case
        redis = cast(Redis, _Answers(fields, held, payload))
        (entry,) = RedisStream(redis, Keys("etl"), RAW, "w", outbound=POINTS).read(1, 0.01)
        claim = held.split(b" ", 1)[0] if held else fields.get(b"samples", b"")
        known = claim.isdigit() and len(claim) < 16
        require(entry.samples == (int(claim) if known else 0), "other samples", entry.samples)
        require(
            not entry.payload_key or entry.payload_key.startswith("etl:payload:"), "foreign key"
        )
        require(
            whole_as_dead_letter(entry, "poison", "x").samples == entry.samples,
            "letter loses samples",
        )
        (verdict,) = TransformHandler(SeriesEncoder()).handle([entry])
        require(
            isinstance(verdict, Settle) and verdict.samples == entry.samples,
            "samples unaccounted for",
            verdict,
        )
        return known and not entry.payload_missing


class RawPayloads(Target):
    """A batch or :class:`WireError`; what is decoded is consistent and encodes to itself."""

    name = "raw_payloads"
    weight = 150

    def make(self, m: Mutator) -> tuple[bytes, int]:
        """A payload, damaged at one of its layers, and the samples that its entry claims."""
        batch = batch_of(series_list(m), kind=m.pick(("select", "expr")))
        payload = batch.encode()
        layer = m.below(10)
        if layer == 0:
            payload = m.bytes(payload)
        elif layer <= 3:
            payload = with_checksum(m.bytes(payload[:-4]))
        elif layer <= 8:
            payload = with_checksum(_other_fields(m, payload[:-4]))
        claimed = len(batch) if m.chance(0.8) else m.below(50)
        return payload, claimed

    def check(self, case: Any) -> bool:
        """By itself, then in the hands of the transformer."""
        payload, claimed = case
        batch = _decoded(payload)
        if batch is not None:
            _check_batch(batch)
        query, kind = (batch.origin.query, batch.origin.kind) if batch else ("q", "select")
        entry = Entry("1-1", 1, query, "hot", kind, "w1", claimed, payload)
        (verdict,) = TransformHandler(SeriesEncoder(), clock=lambda: NOW_MS / 1000).handle([entry])
        require(isinstance(verdict, Settle), "not settled", verdict)
        assert isinstance(verdict, Settle)
        require(verdict.samples == claimed, "samples unaccounted for", verdict)
        return batch is not None


def _other_fields(m: Mutator, body: bytes) -> bytes:
    """The same array with another member, or with other numbers inside a column's compression."""
    if m.chance(0.02):
        return b"\x91" * m.between(10, 5000) + b"\xc0"
    fields = msgspec.msgpack.decode(body)
    # Each one once: a column that was damaged cannot be taken apart again.
    for at in sorted({m.below(len(fields)) for _ in range(m.few())}):
        if at >= _FIRST_COLUMN and m.chance(0.8):
            fields[at] = _other_column(m, at, fields[at])
        else:
            value = m.document(fields[at], rounds=1)
            fields[at] = value if _packable(value) else None
    if m.chance(0.05):
        del fields[m.below(len(fields))]
    return msgspec.msgpack.encode(fields)


def _other_column(m: Mutator, at: int, column: bytes) -> bytes:
    if m.chance(0.4):
        return m.bytes(column)
    inner = lz4.block.decompress(column)
    if at == _FIRST_COLUMN and m.chance(0.5):
        value = m.plain()
        inner = msgspec.msgpack.encode(value) if _packable(value) else b""
    elif at in _NUMBER_COLUMNS and inner and m.chance(0.6):
        numbers = np.frombuffer(inner, "<i8").copy()
        change = m.integer()
        # The second one takes back what the first one adds, so that the sum stays.
        for amount in (change, -change)[: 2 if m.chance(0.7) else 1]:
            index = m.below(len(numbers))
            numbers[index] = (int(numbers[index]) + amount + 2**63) % 2**64 - 2**63
        inner = numbers.tobytes()
    else:
        inner = m.bytes(inner)
    return bytes(lz4.block.compress(inner))


def _packable(value: Any) -> bool:
    try:
        msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return False
    return True


def _decoded(payload: bytes) -> SampleBatch | None:
    try:
        return SampleBatch.decode(payload)
    except WireError:
        return None


def _check_batch(batch: SampleBatch) -> None:
    samples, columns = len(batch), batch.samples
    require(len(columns.series) == len(columns.counts), "series and counts differ")
    require(bool((columns.counts >= 0).all()), "a negative count")
    require(int(columns.counts.sum()) == samples == len(columns.values), "columns differ")
    again = SampleBatch.decode(batch.encode())
    require(again.samples.series == columns.series, "other series")
    require(again.origin == batch.origin, "another origin")
    for one, other in (
        (again.samples.counts, columns.counts),
        (again.samples.timestamps_ms, columns.timestamps_ms),
        (again.samples.values, columns.values),
    ):
        require(one.tobytes() == other.tobytes(), "other numbers")
