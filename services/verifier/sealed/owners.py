"""Whose series a window is compared with: what was in force when it was loaded.

The extractor takes a change over at one instant, and commits nothing under an earlier query after
that. The transformer is restarted by itself: what was committed some minutes before or after a
change of the transform, or was not settled then, may have been transformed under either, or in part
under each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.config import InForce
from common.samples.layout import Place
from common.samples.rollup import AGGREGATES
from common.samples.series import SeriesEncoder
from services.verifier.expect import identify_of
from services.verifier.phases import RESTART_MS
from services.verifier.points import Column, SeriesKey
from services.verifier.rollup import tag_of, unmapped
from services.verifier.sealed.candidates import Candidates, candidates
from services.verifier.sealed.configurations import Record
from services.verifier.sealed.seals import Seal


@dataclass(frozen=True, slots=True)
class Owner:
    """A query under one configuration or, as one, under several.

    ``fields``: those of its points in a tier of rollups; none where a point is a sample.
    ``resolutions_ms``: what the times of rollups are multiples of; ``earlier_ms``: what those were
    multiples of that the tier held before.
    """

    mine: Sequence[Candidates]
    fields: tuple[str, ...] = ()
    resolutions_ms: tuple[int, ...] = ()
    earlier_ms: tuple[int, ...] = ()

    @property
    def places(self) -> frozenset[Place]:
        """All that it can have written to."""
        return frozenset().union(*(one.places for one in self.mine))

    @property
    def tags(self) -> dict[str, str]:
        """What all of its series have."""
        first, *more = ({(k, v) for k, v in one.tags.items() if v} for one in self.mine)
        found = dict(first.intersection(*more))
        return {tag_of(k): v for k, v in found.items()} if self.fields else found

    @property
    def certain(self) -> bool:
        """Whether the tags tell its series from those of all others."""
        return all(one.certain for one in self.mine)

    def owns(self, series: SeriesKey) -> bool:
        """Whether the query can have written the series."""
        of_samples = unmapped(series) if self.fields else series
        return any(one.owns(of_samples) for one in self.mine)

    def without_earlier(self, column: Column) -> Column:
        """Without the points of an earlier resolution between its own: nothing overwrites them."""
        if not self.earlier_ms:
            return column
        times_ms = column.timestamps_ms
        mine, earlier = (
            np.any([times_ms % one == 0 for one in resolutions], axis=0)
            for resolutions in (self.resolutions_ms, self.earlier_ms)
        )
        kept = mine | ~earlier
        return Column(times_ms[kept], column.values[kept])


@dataclass(slots=True)
class Owners:
    """``present``: by name, the queries that are configured; ``records`` say what was before.

    ``places``: where the sink holds series.
    """

    present: Mapping[str, InForce]
    records: Mapping[str, Sequence[Record]]
    places: Collection[Place]
    _bounds_ms: list[int] = field(default_factory=list, init=False)
    _known: dict[object, tuple[Owner, ...]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._bounds_ms = sorted(
            bound_ms
            for records in self.records.values()
            for record in records
            for bound_ms in (record.at_ms - RESTART_MS, record.at_ms, record.at_ms + RESTART_MS)
        )

    def of(self, query: str, seal: Seal) -> tuple[Owner, ...]:
        """The query as it may have been when a window was loaded; the same object while it can be.

        If there are several, the last is all of them as one.
        """
        at_ms, last_ms = seal.sealed_ms, max(seal.sealed_ms, seal.replayed_ms)
        late = tuple(
            record.at_ms > at_ms
            and any(start < seal.end_ms and seal.start_ms < end for start, end in record.unsettled)
            for record in self.records.get(query, ())
        )
        bounds_ms = self._bounds_ms
        key = query, late, bisect_right(bounds_ms, at_ms), bisect_right(bounds_ms, last_ms)
        if key not in self._known:
            self._known[key] = self._owners(query, at_ms, last_ms, late)
        return self._known[key]

    def _owners(
        self, query: str, at_ms: int, last_ms: int, late: Sequence[bool]
    ) -> tuple[Owner, ...]:
        transforms = [self._in_force(query, at_ms)]
        for record, is_late in zip(self.records.get(query, ()), late, strict=True):
            near = at_ms - RESTART_MS < record.at_ms <= last_ms + RESTART_MS
            for one in (record.before, record.after) if near or is_late else ():
                if one and not any(one.transforms_like(other) for other in transforms):
                    transforms.append(one)
        earlier_ms = self._resolutions_before(query, at_ms)
        owners = [
            Owner(
                [self._candidates(at_ms, transform)[query]],
                transform.rollup.aggregates if transform.rollup else (),
                (transform.rollup.resolution_ms,) if transform.rollup else (),
                earlier_ms if transform.rollup else (),
            )
            for transform in transforms
        ]
        if len(owners) > 1:
            held = {name for owner in owners for name in owner.fields}
            fields = tuple(name for name in AGGREGATES if name in held)
            mine = [one for owner in owners for one in owner.mine]
            resolutions_ms = tuple(one for owner in owners for one in owner.resolutions_ms)
            owners.append(Owner(mine, fields, resolutions_ms, earlier_ms if fields else ()))
        return tuple(owners)

    def _resolutions_before(self, query: str, at_ms: int) -> tuple[int, ...]:
        """Those of the tier before the changes that were made by then."""
        before = [one.before for one in self.records.get(query, ()) if one.at_ms <= at_ms]
        return tuple({one.rollup.resolution_ms for one in before if one and one.rollup})

    def _candidates(self, at_ms: int, transform: InForce) -> dict[str, Candidates]:
        encoder = SeriesEncoder(
            transform.relabel,
            valid_metrics=transform.valid_metrics,
            expr_names=transform.expr_names,
            layout=transform.layout,
        )
        queries = [self._in_force(name, at_ms).query for name in self.present]
        return candidates(
            [(query, identify_of(query, encoder)) for query in queries],
            self.places,
            transform.relabel,
            transform.layout,
        )

    def _in_force(self, query: str, at_ms: int) -> InForce:
        before = None
        for record in self.records.get(query, ()):
            if record.at_ms > at_ms:
                # Before the first that is known: most likely what it was then.
                return before or record.before or record.after or self.present[query]
            before = record.after
        return before or self.present[query]
