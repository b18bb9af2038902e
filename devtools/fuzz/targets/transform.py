"""The transformer against a plain account of what it must do, sample by sample."""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections import Counter
from typing import Any

from common.config import RelabelRule
from common.errors import WireError
from common.samples.batch import SampleBatch
from common.samples.series import Identity, SeriesEncoder
from common.state.verdict import Entry, Settle
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from devtools.fuzz.targets.samples import NOW_MS, batch_of, series_list
from services.transformer.transform import TransformHandler
from services.verifier.knowledge import points_of_lines
from services.verifier.points import SeriesKey

_RULES: tuple[tuple[dict[str, Any], ...], ...] = (
    (),
    (),
    ({"action": "labeldrop", "regex": "le|job"},),
    ({"action": "replace", "target_label": "__name__", "replacement": "one"},),
    ({"action": "drop", "source_labels": ["job"], "regex": "a"},),
    ({"action": "labelmap", "regex": "(.+)", "replacement": "x_$1"},),
)
_WHITELISTS: tuple[tuple[str, ...], ...] = ((), (), ("up", "one"), ("q*",))
_MAX_FUTURE_MS = 600_000
_LATEST_MS = 9_223_372_036_854

Point = tuple[bytes, int]


class Transform(Target):
    """Every sample of a batch becomes a point, a counted drop or a dead letter: the right one."""

    name = "transform"
    weight = 150

    def make(self, m: Mutator) -> tuple[str, int, int, list[tuple[bytes, list[tuple[int, float]]]]]:
        """Kind of the query, which rules, which whitelist, the series."""
        kind = m.pick(("select", "select", "expr"))
        return kind, m.below(len(_RULES)), m.below(len(_WHITELISTS)), series_list(m, 6)

    def check(self, case: Any) -> bool:
        """By the handler, and by a loop over samples."""
        kind, rules, whitelist, series = case
        encoder = SeriesEncoder(
            [RelabelRule(**rule) for rule in _RULES[rules]],
            valid_metrics=_WHITELISTS[whitelist],
            expr_names=("q", "a:b"),
            cache_series=4,
        )
        batch = batch_of(series, kind=kind)
        entry = Entry("1-1", 1, "q", "hot", kind, "w1", len(batch), batch.encode())
        handler = TransformHandler(encoder, clock=lambda: NOW_MS / 1000)
        (verdict,) = handler.handle([entry])
        assert isinstance(verdict, Settle)
        points, drops, dead = _expected(encoder, kind, series)
        require(dict(verdict.drops) == drops, "other drops", verdict.drops, drops)
        require(sum(letter.samples for letter in verdict.dead) == dead, "dead letters differ")
        for letter in verdict.dead:
            require(
                len(SampleBatch.decode(letter.payload)) == letter.samples, "letter is not whole"
            )
        found = _written(verdict)
        require(found == points, "other points", found, points)
        _check_identities(encoder, kind, series)
        return bool(points)


def _expected(
    encoder: SeriesEncoder, kind: str, series: list[tuple[bytes, list[tuple[int, float]]]]
) -> tuple[dict[Point, bytes], dict[str, int], int]:
    drops: Counter[str] = Counter()
    winners: dict[Point, tuple[bytes, bytes]] = {}
    dead = 0
    losers: list[tuple[Point, bytes]] = []
    for labels, samples in series:
        key = encoder.key(kind, "q", labels)
        if isinstance(key, WireError):
            dead += len(samples)
            continue
        for ms, value in samples:
            if not isinstance(key, bytes):
                drops[str(key)] += 1
            elif math.isnan(value):
                drops["nan"] += 1
            elif math.isinf(value):
                drops["inf"] += 1
            elif ms <= 0:
                drops["timestamp_not_positive"] += 1
            elif ms > min(NOW_MS + _MAX_FUTURE_MS, _LATEST_MS):
                drops["timestamp_in_future"] += 1
            else:
                if (key, ms) in winners:
                    losers.append(((key, ms), winners[key, ms][0]))
                winners[key, ms] = (labels, struct.pack("<d", value))
    for point, labels in losers:
        drops["duplicate" if winners[point][0] == labels else "collision"] += 1
    return {point: bits for point, (_, bits) in winners.items()}, dict(drops), dead


def _written(verdict: Settle) -> dict[Point, bytes]:
    points: dict[Point, bytes] = {}
    for output in verdict.outputs:
        text = gzip.decompress(output.payload)
        require(text.endswith(b"\n"), "no line break at the end")
        lines = text[:-1].split(b"\n")
        require(len(lines) == output.samples, "lines are not its samples", output)
        for line in lines:
            head, ms = line.rsplit(b" ", 1)
            key, value = head.rsplit(b" value=", 1)
            require((key, int(ms)) not in points, "a point is written twice")
            points[key, int(ms)] = struct.pack("<d", float(value))
    return points


def _check_identities(
    encoder: SeriesEncoder, kind: str, series: list[tuple[bytes, list[tuple[int, float]]]]
) -> None:
    """Different label sets have different keys, and a key reads back as what it stands for."""
    labels_of: dict[bytes, object] = {}
    for label_json, _ in series:
        try:
            identity = encoder.identity(kind, "q", label_json)
            named = encoder.relabelled(kind, "q", label_json)
        except WireError:
            continue
        if not isinstance(identity, Identity):
            continue
        require(labels_of.setdefault(identity.key, named) == named, "two series have one key")
        require(identity.key == encoder.key(kind, "q", label_json), "two keys for one series")
        require(identity.key[:1] not in (b"", b"#"), "a comment")
        (read,) = (point for point, _ in points_of_lines(identity.key + b" value=1 1", 1))
        require(
            read == SeriesKey.of(identity.measurement, identity.tags),
            "reads back as another series",
            read,
        )
        json.loads(label_json)
