"""A range of one query through the extractor's read and the transformer's handler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from common.config import Query, RelabelRule, Settings, TierName
from common.errors import ConfigError, QueryTooLarge
from common.promql.relabel import compile_rules
from common.samples.batch import SCHEMA_VERSION, Origin, SampleBatch
from common.samples.columns import Samples
from common.samples.series import SeriesDrop, SeriesEncoder, name_of_expr
from common.state.verdict import DeadLetter, Entry, Output, Settle
from services.extractor.staging import EntryBuilder
from services.loader import payload
from services.transformer.transform import TransformHandler

TIER: TierName = "hot"
# More is no short range: it is all held, and read by a person.
MAX_SAMPLES = 200_000

_RULES = {
    SeriesDrop.NOT_WHITELISTED: "transform.valid_metrics",
    SeriesDrop.NAME_CONFLICT: "the name of a query with expr",
}


class Reader(Protocol):
    """Where the samples of a query come from."""

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The samples in ``(start_ms, end_ms]``, in blocks."""
        ...


@dataclass
class DroppedSeries:
    """Series that are dropped whole: why, by what of the configuration, and the first of them."""

    reason: str
    rule: str
    example: str
    series: int = 0
    samples: int = 0


@dataclass
class Transformed:
    """What a range holds, and what becomes of it.

    ``outputs`` are payloads as the loader gets them. ``drops`` are samples by reason, those of
    ``dropped_series`` among them. ``histograms`` are native histogram samples, which a point cannot
    carry.
    """

    samples: int = 0
    series: int = 0
    histograms: int = 0
    outputs: list[Output] = field(default_factory=list)
    drops: dict[str, int] = field(default_factory=dict)
    dropped_series: list[DroppedSeries] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)

    @property
    def points(self) -> int:
        """How many points there are to write."""
        return sum(output.samples for output in self.outputs)

    def lines(self) -> Iterator[str]:
        """The points as line protocol."""
        for output in self.outputs:
            for line in payload.decode(output.payload, output.samples):
                yield line.decode("utf-8", "backslashreplace")


def transformed(
    settings: Settings,
    source: Reader,
    query: Query,
    start_ms: int,
    end_ms: int,
    now_ms: int,
) -> Transformed:
    """Read ``(start_ms, end_ms]`` of a query and transform it; nothing is written anywhere.

    ``now_ms`` is now by the source's clock: what is behind it has not come yet. Raises
    :class:`~common.errors.SourceError`, and :class:`ConfigError` for a range that holds too much.
    """
    found = Transformed()
    encoder = SeriesEncoder.from_settings(settings)
    handler = TransformHandler.from_settings(settings)
    handler.clock = lambda: now_ms / 1000
    build = EntryBuilder(settings.extract.entry_samples, encoder.keys)
    # The end of a window counts as now: one that is yet to come must not.
    settled_ms = min(end_ms, now_ms)
    bounds_ms = min(start_ms, settled_ms), settled_ms
    origin = Origin(query.name, query.kind, TIER, "once", *bounds_ms)
    dropped = _Dropped(settings, encoder, query)
    seen: set[bytes] = set()
    try:
        blocks = list(_counted(source.read(query, start_ms, end_ms), found))
        batches = list(build(blocks, origin, grouped=True))
    except QueryTooLarge as error:
        raise ConfigError(f"--from: {query.name}: {error}: take a shorter range") from None
    for number, batch in enumerate(batches):
        settle = handler.handle([_entry(number, batch)])[0]
        assert isinstance(settle, Settle)
        seen.update(batch.samples.series)
        found.samples += len(batch)
        found.outputs += settle.outputs
        found.dead += settle.dead
        for reason, samples in settle.drops.items():
            found.drops[reason] = found.drops.get(reason, 0) + samples
        dropped.look(batch.samples)
    found.series, found.dropped_series = len(seen), dropped.found
    return found


def _counted(blocks: Iterator[Samples], found: Transformed) -> Iterator[Samples]:
    for block in blocks:
        found.histograms += len(block.histograms_ms)
        yield block


def _entry(number: int, batch: SampleBatch) -> Entry:
    origin = batch.origin
    return Entry(
        id=str(number),
        schema=SCHEMA_VERSION,
        query=origin.query,
        tier=origin.tier,
        kind=origin.kind,
        window_id=origin.window_id,
        samples=len(batch),
        payload=batch.encode(),
    )


class _Dropped:
    """Finds which rule drops the series that have no key."""

    def __init__(self, settings: Settings, encoder: SeriesEncoder, query: Query) -> None:
        self._encoder, self._query = encoder, query
        rules = settings.transform.relabel
        # The rules up to each: the first of them that drops a series names the rule.
        self._up_to = [(rules[n], compile_rules(rules[: n + 1])) for n in range(len(rules))]
        self._by_rule: dict[tuple[str, str], DroppedSeries] = {}

    @property
    def found(self) -> list[DroppedSeries]:
        """What was seen so far, most samples first."""
        return sorted(self._by_rule.values(), key=lambda one: -one.samples)

    def look(self, samples: Samples) -> None:
        """Take in the series of a batch; one that is cut in time is seen more than once."""
        keys = self._encoder.keys(self._query.kind, self._query.name, samples.series)
        before = b""
        for labels, key, (start, end) in zip(
            samples.series, keys, pairwise([0, *samples.ends.tolist()]), strict=True
        ):
            if not isinstance(key, SeriesDrop):
                continue
            rule = self._rule_of(key, labels)
            known = self._by_rule.setdefault(
                (key, rule), DroppedSeries(str(key), rule, labels.decode("utf-8", "replace"))
            )
            known.series += labels != before
            known.samples += end - start
            before = labels

    def _rule_of(self, reason: SeriesDrop, labels: bytes) -> str:
        if reason is not SeriesDrop.RELABEL_DROPPED:
            return _RULES.get(reason, "")
        for index, (rule, relabel) in enumerate(self._up_to):
            known = json.loads(labels)
            if self._query.kind == "expr":
                known["__name__"] = name_of_expr(self._query.name, known)
            if not relabel(known):
                return f"transform.relabel[{index}] ({_short(rule)})"
        return "transform.relabel"


def _short(rule: RelabelRule) -> str:
    of = ", ".join(rule.source_labels)
    return f"{rule.action} {of} =~ {rule.regex}" if of else rule.action
