"""Batches of samples that are hard on everybody, as plain data."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np

from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from devtools.fuzz.mutate import Mutator

NOW_MS = 1_700_000_000_000
# Label JSON, samples as (milliseconds, value).
Series = tuple[bytes, list[tuple[int, float]]]

_NAMES = ("__name__", "job", "le", "value", "time", "_field", "a b", "a,b", "größe", "", "__x", "#")
_VALUES = ("", "a", "up", "a b", "x=y,z", "\\", "a\\", "\n", "é漢🙂", "\x00", "\u240a", "0.5", "#c")
_TOKENS = (b'"', b"\\", b"{", b"}", b",", b":", b'"a":"b"', b"\\u0000", b"\\ud800", b"null", b"1")
_LATEST_MS = 9_223_372_036_854


def label_set(m: Mutator) -> bytes:
    """The JSON of a label set, now and then damaged."""
    labels = {
        m.pick(_NAMES) if m.chance(0.9) else m.word(): m.pick(_VALUES)
        if m.chance(0.9)
        else m.word()
        for _ in range(m.below(4))
    }
    if m.chance(0.8):
        labels["__name__"] = m.pick(("up", "a:b", "x y", "", "#", "_x", "metric__x", "é"))
    text = json.dumps(labels, ensure_ascii=m.chance(0.5)).encode("utf-8", "surrogatepass")
    return m.bytes(text, _TOKENS, rounds=1) if m.chance(0.1) else text


def series_list(m: Mutator, most: int = 5) -> list[Series]:
    """Series that partly have the same labels, and the same times."""
    found: list[Series] = []
    for _ in range(m.between(0, most)):
        again = found and m.chance(0.25)
        labels = m.pick(found)[0] if again else label_set(m)
        begin = m.pick((1, NOW_MS - 60_000, NOW_MS, NOW_MS + 599_000, 0, -5, _LATEST_MS - 1))
        step = m.pick((1, 1000, 15_000, 0, -1000))
        times = [begin + step * n for n in range(m.below(6))]
        if m.chance(0.1):
            times = [min(max(m.integer(), -(2**63)), 2**63 - 1) for _ in times]
        found.append((labels, [(ms, m.float() if m.chance(0.7) else 1.5) for ms in times]))
    return found


def batch_of(
    series: list[Series], *, kind: str = "select", query: str = "q", tier: str = "hot"
) -> SampleBatch:
    """The batch that holds them."""
    samples = [sample for _, some in series for sample in some]
    return SampleBatch(
        Origin(query, kind, tier, "w1", 0, NOW_MS),
        Samples(
            tuple(labels for labels, _ in series),
            np.array([len(some) for _, some in series], np.int64),
            np.array([ms for ms, _ in samples], np.int64),
            np.array([value for _, value in samples], np.float64),
        ),
    )


def with_checksum(body: bytes) -> bytes:
    """A payload whose checksum fits."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def entry_fields(m: Mutator, payload_key: bytes, samples: int) -> dict[bytes, bytes]:
    """What an entry of a stream says of itself."""
    fields: dict[bytes, bytes] = {
        b"schema": b"1",
        b"query": b"q",
        b"tier": b"hot",
        b"kind": m.pick((b"select", b"expr")),
        b"window": b"w1",
        b"samples": str(samples).encode(),
        b"payload": payload_key,
    }
    return fields


def damaged_fields(m: Mutator, fields: dict[bytes, bytes], rounds: int) -> dict[bytes, bytes]:
    """``fields`` with some of them missing, damaged, or others."""
    fields = dict(fields)
    for _ in range(rounds):
        name = m.pick(list(fields)) if fields else b""
        what = m.below(6)
        if what == 0:
            fields.pop(name, None)
        elif what == 1:
            fields[m.bytes(name)] = fields.get(name, b"")
        elif what == 2:
            fields[name] = m.number_text().encode("utf-8", "surrogatepass")
        else:
            fields[name] = m.bytes(fields.get(name, b""), (b"etl:payload:", b"\xff", b" ", b"\n"))
    return fields


def plain(series: list[Series]) -> list[Any]:
    """As JSON-like lists; msgpack has no tuples."""
    return [list(one) for one in series]
