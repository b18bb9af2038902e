"""``etlctl verify``'s reader of Prometheus, on whole answers, and against the extractor's decoder.

The two share no code on purpose. What both take, they must take for the same samples.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from common.errors import SourceError
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from devtools.fuzz.targets.client import SOME_BODIES, STATUSES, FixedSession
from devtools.fuzz.targets.prometheus import TOKENS, Sample, body_of, is_label_set, parsed
from services.extractor.source.decode import decode
from services.verifier.source import Source, SourceSeries

_START_MS, _END_MS = 1_700_000_000_000, 1_700_000_060_000
_BODIES = (
    *SOME_BODIES,
    b'{"status":"success","data":["up","a:b"]}',
    b"prometheus_tsdb_lowest_timestamp_seconds 1.7e+09\nprometheus_tsdb_lowest_timestamp 1\n",
)


Series = list[SourceSeries]
_READERS: tuple[Callable[[Source], Series], ...] = (
    lambda source: source.read_select("up", _START_MS, _END_MS),
    lambda source: source.read_expr("up", 15_000, _START_MS, _END_MS),
)
_OTHERS: tuple[Callable[[Source], object], ...] = (
    lambda source: source.now_ms(),
    lambda source: source.metric_names("up"),
    lambda source: source.oldest_ms(),
)


class VerifySource(Target):
    """Samples, a time or names; or a source error, and nothing else."""

    name = "verify_source"
    weight = 50

    def make(self, m: Mutator) -> tuple[int, bytes, int]:
        """Status, body, which call."""
        body = body_of(m) if m.chance(0.7) else m.pick(_BODIES)
        if m.chance(0.6):
            body = m.bytes(body, TOKENS)
        if m.chance(0.01):
            body = b'{"data":' * 10_000
        # Those that read samples, mostly.
        call = m.below(2) if m.chance(0.8) else m.below(5)
        return 200 if m.chance(0.8) else m.pick(STATUSES), body, call

    def check(self, case: Any) -> bool:
        """Whether it was taken; if so, as the extractor takes it."""
        status, body, call = case
        source = Source("http://prometheus:9090", FixedSession((status, {}, [body], False, call)))
        try:
            if call >= len(_READERS):
                _OTHERS[call - len(_READERS)](source)
                return True
            series = _READERS[call](source)
        except SourceError as error:
            require(bool(str(error)) and len(str(error)) < 5_000, "a message too long to read")
            if call < len(_READERS) and status == 200:
                _require_refused(body)
            return False
        require(status not in (401, 403), "taken, though it was refused", status)
        found = _samples(series)
        theirs = _extracted(body)
        if theirs is not None and parsed(body):
            require(found == theirs, "verify and extractor differ", found, theirs)
        return True


def _samples(series: Sequence[SourceSeries]) -> list[Sample]:
    found: list[Sample] = []
    for one in series:
        require(len(one.timestamps_ms) == len(one.values), "columns differ")
        labels = json.dumps(one.labels).encode()
        rows = zip(one.timestamps_ms.tolist(), one.values.tolist(), strict=True)
        found += [(labels, ms, struct.pack("<d", value)) for ms, value in rows]
    return found


def _extracted(body: bytes) -> list[Sample] | None:
    """What the extractor reads in the same range; None when it reads nothing that is whole."""
    found: list[Sample] = []
    try:
        for block in decode([body], lambda _: None):
            ends = block.counts.cumsum().tolist()
            for labels, count, end in zip(block.series, block.counts.tolist(), ends, strict=True):
                if not is_label_set(labels):
                    return None  # left to the transformer, which makes a dead letter of it
                plain = json.dumps(msgspec.json.decode(labels)).encode()
                times = block.timestamps_ms[end - count : end].tolist()
                values = block.values[end - count : end].tolist()
                found += [
                    (plain, ms, struct.pack("<d", value))
                    for ms, value in zip(times, values, strict=True)
                    if _START_MS < ms <= _END_MS
                ]
    except SourceError:
        return None
    return found


def _require_refused(body: bytes) -> None:
    """What is refused as samples is nothing that the extractor would load."""
    require(_extracted(body) is None or not parsed(body), "verify refuses what is extracted")
