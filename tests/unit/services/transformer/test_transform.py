"""The transformer's handler: every entry is settled, and every sample accounted for."""

from __future__ import annotations

import gzip
import json
import math
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lz4.block
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import Settings
from common.samples.batch import CRC_BYTES, SampleBatch
from common.samples.columns import Samples
from common.samples.layout import Layout
from common.samples.rollup import Rollup
from common.samples.series import SeriesEncoder
from common.state.verdict import Entry, Settle
from services.loader.loaded import digest_of_lines
from services.transformer import transform
from services.transformer.clean import LATEST_MS
from services.transformer.transform import TransformHandler
from tests.support.line_protocol_parser import Point, parse_lines
from tests.support.relabelling import rule
from tests.support.samples import NOW_MS, batch_of, entry_of


def handler_of(**options: Any) -> TransformHandler:
    return TransformHandler(SeriesEncoder(**options), clock=lambda: NOW_MS / 1000)


def settled(entry: Entry, handler: TransformHandler | None = None) -> Settle:
    """The verdict on one entry, which accounts for all its samples and holds sound outputs."""
    (verdict,) = (handler or handler_of()).handle([entry])
    assert isinstance(verdict, Settle)
    assert verdict.samples == entry.samples
    assert all(count > 0 for count in verdict.drops.values())
    for output in verdict.outputs:
        assert 0 < output.samples == gzip.decompress(output.payload).count(b"\n")
    return verdict


def points_of(settle: Settle) -> list[Point]:
    return [
        point for output in settle.outputs for point in parse_lines(gzip.decompress(output.payload))
    ]


def repacked(payload: bytes, change: Callable[[list[Any]], list[Any]]) -> bytes:
    """A payload with changed fields and the right checksum."""
    fields = change(msgspec.msgpack.decode(payload[:-CRC_BYTES]))
    body = msgspec.msgpack.encode(fields)
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


UP = {"__name__": "up", "job": "a"}


def test_from_labels_to_lines() -> None:
    batch = batch_of(
        [
            (UP, [(NOW_MS, 1.0), (NOW_MS + 1, math.nan)]),
            ({"__name__": "go_goroutines"}, [(NOW_MS, 7.0)]),
            ({"__name__": "secret"}, [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)]),
            ({"__name__": "requests", "path": 'a "b"\nc=d'}, [(NOW_MS, 0.1)]),
        ]
    )
    handler = handler_of(
        rules=[rule("__name__", regex="secret", action="drop")], valid_metrics=("up", "r*")
    )
    verdict = settled(entry_of(batch), handler)
    assert [gzip.decompress(output.payload).decode() for output in verdict.outputs] == [
        f'up,job=a value=1 {NOW_MS}\nrequests,path=a\\ "b"␊c\\=d value=0.1 {NOW_MS}\n'
    ]
    assert verdict.drops == {"nan": 1, "relabel_dropped": 2, "not_whitelisted": 1}
    assert verdict.dead == ()


def test_the_query_names_what_an_expression_yields() -> None:
    batch = batch_of([({"job": "a"}, [(NOW_MS, 1.5)])], kind="expr", query="error_rate")
    assert points_of(settled(entry_of(batch))) == [
        Point("error_rate", (("job", "a"),), 1.5, NOW_MS)
    ]


def test_entries_are_settled_each_by_itself_and_in_order() -> None:
    entries = [
        entry_of(batch_of([(UP, [(NOW_MS + index, 1.0)] * (index + 1))]), id=str(index))
        for index in range(3)
    ]
    entries[1] = entry_of(batch_of([]), payload=b"broken", samples=5)
    verdicts = handler_of().handle(entries)
    assert [verdict.samples for verdict in verdicts if isinstance(verdict, Settle)] == [1, 5, 3]


def test_an_entry_of_which_nothing_is_left_has_no_output() -> None:
    batch = batch_of([(UP, [(0, 1.0)]), ({}, [(NOW_MS, 1.0)])])
    verdict = settled(entry_of(batch))
    assert verdict.outputs == ()
    assert verdict.drops == {"timestamp_not_positive": 1, "name_missing": 1}


def test_an_entry_without_samples() -> None:
    assert settled(entry_of(batch_of([]))) == Settle()


def test_the_clock_decides_what_is_in_the_future() -> None:
    batch = batch_of([(UP, [(NOW_MS, 1.0), (NOW_MS + 60_000, 2.0), (NOW_MS + 60_001, 3.0)])])
    handler = TransformHandler(SeriesEncoder(), max_future_seconds=60, clock=lambda: NOW_MS / 1000)
    verdict = settled(entry_of(batch), handler)
    assert verdict.drops == {"timestamp_in_future": 1}
    assert [point.value for point in points_of(verdict)] == [1.0, 2.0]


def test_series_that_became_one() -> None:
    batch = batch_of(
        [
            ({"__name__": "up", "pod": "a"}, [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)]),
            ({"__name__": "up", "pod": "b"}, [(NOW_MS + 1, 3.0), (NOW_MS + 1, 4.0)]),
        ]
    )
    handler = handler_of(rules=[rule(regex="pod", action="labeldrop")])
    verdict = settled(entry_of(batch), handler)
    assert verdict.drops == {"collision": 1, "duplicate": 1}
    assert [(p.timestamp_ms, p.value) for p in points_of(verdict)] == [
        (NOW_MS, 1.0),
        (NOW_MS + 1, 4.0),
    ]


def test_a_name_that_an_expression_has() -> None:
    batch = batch_of([(UP, [(NOW_MS, 1.0)])])
    assert settled(entry_of(batch), handler_of(expr_names=("up",))).drops == {"name_conflict": 1}


def test_a_key_too_long_costs_only_its_own_samples() -> None:
    huge = {"__name__": "up", "x": "y" * 65_536}
    batch = batch_of([(huge, [(NOW_MS, 1.0)]), (UP, [(NOW_MS, 2.0)])])
    verdict = settled(entry_of(batch))
    assert verdict.drops == {"series_key_too_long": 1}
    assert len(points_of(verdict)) == 1


@pytest.mark.parametrize(
    "payload",
    [b"", b"x", b"\x00" * 100, b"\x93\x01\x02\x03", entry_of(batch_of([])).payload[:-1]],
)
def test_a_payload_that_is_no_batch(payload: bytes) -> None:
    entry = entry_of(batch_of([]), payload=payload, samples=7)
    (dead,) = settled(entry).dead
    assert (dead.reason, dead.payload, dead.samples) == ("undecodable", payload, 7)
    assert "checksum" in dead.detail


def test_a_payload_of_another_schema() -> None:
    entry = entry_of(batch_of([(UP, [(NOW_MS, 1.0)])]))
    newer = repacked(entry.payload, lambda fields: [3, *fields[1:], "something new"])
    (dead,) = settled(entry_of(batch_of([]), payload=newer, samples=1)).dead
    assert (dead.reason, dead.payload, dead.samples) == ("unknown_schema", newer, 1)
    assert "schema 3" in dead.detail


@pytest.mark.parametrize("samples", [0, 1, 3, 10**12])
def test_a_payload_with_another_number_of_samples_than_the_ledger(samples: int) -> None:
    entry = entry_of(batch_of([(UP, [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)])]), samples=samples)
    (dead,) = settled(entry).dead
    assert (dead.reason, dead.payload) == ("count_mismatch", entry.payload)
    assert f"2 samples, the ledger {samples}" in dead.detail


@pytest.mark.parametrize("changes", [{"query": "other"}, {"kind": "expr"}])
def test_a_payload_of_another_query_than_its_entry(changes: dict[str, str]) -> None:
    entry = entry_of(batch_of([(UP, [(NOW_MS, 1.0)])]), **changes)
    (dead,) = settled(entry).dead
    assert dead.reason == "undecodable"
    assert "its entry of" in dead.detail


def test_label_sets_that_cannot_be_read_cost_only_their_own_samples() -> None:
    batch = batch_of(
        [
            (b"{broken", [(NOW_MS, 1.0), (NOW_MS + 1, math.nan)]),
            (UP, [(NOW_MS, 2.0)]),
            (b'{"a":1}', [(NOW_MS, 3.0)]),
            (b"no samples, no dead letter", []),
        ]
    )
    verdict = settled(entry_of(batch))
    assert [point.value for point in points_of(verdict)] == [2.0]
    assert verdict.drops == {}
    (dead,) = verdict.dead
    assert (dead.reason, dead.samples) == ("unreadable_labels", 3)
    assert "{broken" in dead.detail
    # The dead letter is a payload again: it can be shown, and replayed.
    refused = SampleBatch.decode(dead.payload)
    assert refused.samples.series == (b"{broken", b'{"a":1}')
    assert refused.samples.counts.tolist() == [2, 1]
    assert refused.samples.timestamps_ms.tolist() == [NOW_MS, NOW_MS + 1, NOW_MS]


def test_only_a_series_without_samples_is_unreadable() -> None:
    batch = batch_of([(b"{", []), (UP, [(NOW_MS, 1.0)])])
    verdict = settled(entry_of(batch))
    assert verdict.dead == ()
    assert len(points_of(verdict)) == 1


def test_a_transform_that_loses_samples_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(*_: object) -> tuple[Samples, dict[str, int]]:
        return Samples((b"",), np.array([1]), np.array([1]), np.array([1.0]), (b"up",)), {}

    monkeypatch.setattr(transform, "clean", lossy)
    entry = entry_of(batch_of([(UP, [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)])]))
    verdict = settled(entry)
    (dead,) = verdict.dead
    assert (dead.reason, dead.payload) == ("unaccounted", entry.payload)
    assert verdict.outputs == ()


def test_the_same_entry_gives_the_same_verdict_again() -> None:
    entry = entry_of(batch_of([(UP, [(NOW_MS, 1.0), (NOW_MS, 2.0)]), ({}, [(1, 0.5)])]))
    handler = handler_of()
    assert handler.handle([entry]) == handler.handle([entry]) == handler_of().handle([entry])


def test_a_handler_that_depends_on_nothing_is_ready() -> None:
    handler = handler_of()
    assert handler.stage == "transformer"
    assert handler.check() is None
    handler.close()


# -- fuzzing ------------------------------------------------------------------------------------

VALUES = st.one_of(st.floats(), st.sampled_from((0.0, -0.0, math.nan, math.inf, 1.0, 0.5)))
TIMES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(NOW_MS - 5, NOW_MS + 5))
LABEL_SETS = st.one_of(
    st.dictionaries(
        st.one_of(st.text(max_size=5), st.sampled_from(("__name__", "time", "_field", "a"))),
        st.text(max_size=10),
        max_size=4,
    ),
    st.binary(max_size=20),
)
BATCHES = st.lists(
    st.tuples(LABEL_SETS, st.lists(st.tuples(TIMES, VALUES), max_size=10)), max_size=6
)


@settings(max_examples=100)
@given(series=BATCHES, kind=st.sampled_from(("select", "expr")))
def test_any_batch_is_accounted_for_and_every_line_can_be_read(
    series: list[tuple[dict[str, str] | bytes, list[tuple[int, float]]]], kind: str
) -> None:
    verdict = settled(entry_of(batch_of(series, kind=kind)), handler_of(expr_names=("up",)))
    points = points_of(verdict)
    assert len({(p.measurement, p.tags, p.timestamp_ms) for p in points}) == len(points)


@given(payload=st.binary(max_size=200), samples=st.integers(0, 1000))
def test_random_bytes_are_a_dead_letter(payload: bytes, samples: int) -> None:
    (dead,) = settled(entry_of(batch_of([]), payload=payload, samples=samples)).dead
    assert dead.payload == payload


def test_damaged_payloads_are_dead_letters() -> None:
    rng = random.Random(11)
    batch = batch_of([(UP, [(NOW_MS + index, index / 3) for index in range(50)])] * 3)
    whole = entry_of(batch)
    for _ in range(300):
        damaged = bytearray(whole.payload)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        cut = bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))])
        if cut != whole.payload:
            (dead,) = settled(entry_of(batch, payload=cut)).dead
            assert dead.payload == cut


FIELDS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.binary(), st.text()),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=100)
@given(index=st.integers(0, 10), field=FIELDS, data=st.data())
def test_odd_fields_with_a_right_checksum(index: int, field: Any, data: st.DataObject) -> None:
    """What a defect elsewhere may write: the shape is wrong, the checksum right."""
    batch = batch_of([(UP, [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)])])
    whole = entry_of(batch)

    def change(fields: list[Any]) -> list[Any]:
        fields[index] = field
        return fields[: data.draw(st.integers(0, 11))] if data.draw(st.booleans()) else fields

    settled(entry_of(batch, payload=repacked(whole.payload, change)))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_odd_counts_with_a_right_checksum(counts: list[int]) -> None:
    batch = batch_of([(UP, [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)])])
    packed = b"".join(struct.pack("<q", count) for count in counts)
    series = msgspec.msgpack.encode([json.dumps(UP).encode()] * len(counts))

    def change(fields: list[Any]) -> list[Any]:
        fields[7:9] = lz4.block.compress(series), lz4.block.compress(packed)
        return fields

    settled(entry_of(batch, payload=repacked(entry_of(batch).payload, change)))


def test_made_from_settings() -> None:
    everything = Settings.model_validate(
        {
            "extract": {
                "prometheus_url": "http://prometheus:9090",
                "queries": [
                    {"name": "errors", "expr": "rate(errors[1m])", "step": "15s"},
                    {"name": "raw", "select": '{__name__=~"up|renamed|other"}'},
                ],
            },
            "transform": {
                "valid_metrics": ["up", "errors"],
                "relabel": [
                    {"action": "labeldrop", "regex": "job"},
                    {
                        "source_labels": ["__name__"],
                        "regex": "renamed",
                        "target_label": "__name__",
                        "replacement": "errors",
                    },
                ],
                "max_future_seconds": 60,
            },
            "load": {"influxdb": {"url": "http://i:8086", "token": "t", "org": "o", "bucket": "b"}},
        }
    )
    handler = TransformHandler.from_settings(everything)
    batch = batch_of(
        [
            (UP, [(1, 1.0), (LATEST_MS, 1.0)]),
            ({"__name__": "renamed"}, [(1, 1.0)]),
            ({"__name__": "other"}, [(1, 1.0)]),
        ]
    )
    verdict = settled(entry_of(batch), handler)
    assert points_of(verdict) == [Point("up", (), 1.0, 1)]
    assert verdict.drops == {"timestamp_in_future": 1, "name_conflict": 1, "not_whitelisted": 1}


def test_what_is_no_integer_is_kept_aside_and_can_be_replayed() -> None:
    values = [1.0, 2.0**53, 2.0**53 + 2, 2.5, -0.0, 0.0]
    points = [(NOW_MS + n, value) for n, value in enumerate(values)]
    labels = {"__name__": "a_total", "job": "x"}
    batch = batch_of([(labels, points), ({"__name__": "load"}, points[3:5])])

    settle = settled(entry_of(batch), handler_of(integer_metrics=["*_total"]))

    (output,) = settle.outputs
    assert sorted(gzip.decompress(output.payload).splitlines()) == [
        b"a_total,job=x value=0i %d" % (NOW_MS + 5),
        b"a_total,job=x value=1i %d" % NOW_MS,
        b"a_total,job=x value=9007199254740992i %d" % (NOW_MS + 1),
        b"load value=-0.0 %d" % (NOW_MS + 4),
        b"load value=2.5 %d" % (NOW_MS + 3),
    ]
    (letter,) = settle.dead
    assert (letter.reason, letter.samples) == ("not_an_integer", 3)
    assert "9007199254740994.0 of b'a_total,job=x'" in letter.detail
    # Once the metric is no integer any more, a replay writes what was kept.
    replayed = settled(entry_of(SampleBatch.decode(letter.payload)))
    assert [point.value for point in points_of(replayed)] == [2.0**53 + 2, 2.5, -0.0]


def test_rollups_of_integers_are_floats_and_their_fields_follow_the_layout() -> None:
    layout = Layout("prometheus", "${__name__}")
    handler = handler_of(layout=layout, integer_metrics=["*"])
    batch = batch_of([({"__name__": "up", "job": "x"}, [(1_000, 1.0), (2_000, 2.0)])])
    origin = replace(batch.origin, rollup=Rollup.of(60_000, ("avg", "count")), end_ms=60_000)
    batch = SampleBatch(origin, batch.samples)

    (output,) = settled(entry_of(batch), handler).outputs

    line = b"prometheus,job=x up_avg=1.5,up_count=2 60000"
    assert gzip.decompress(output.payload) == line + b"\n"
    assert digest_of_lines([line]) == output.digest
