"""A tier whose series are spread over several buckets by a label (``load.bucket_from``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from common.samples.layout import Layout, Place
from common.sink.http_session import SinkSession
from services.verifier.points import NOTHING, Column, Points, SeriesKey, join
from services.verifier.sink.read import Sink


class PartitionedSink(Sink):
    """Points are read from all of the buckets, what is written about them from the first.

    ``bucket_of``: that of a series of which another bucket than the first is to hold the points.
    """

    def __init__(
        self,
        session: SinkSession,
        database: str,
        others: Iterable[str],
        bucket_of: Callable[[Mapping[str, str]], str | None],
    ) -> None:
        super().__init__(session, database)
        self._bucket_of = bucket_of
        self._names = (database, *others)
        self._others = [Sink(session, other) for other in self._names[1:]]

    def silent_retention_seconds(self) -> float | str:
        """That of the bucket that keeps points for the shortest time."""
        found = [super().silent_retention_seconds()]
        found += [other.silent_retention_seconds() for other in self._others]
        unknown = [one for one in found if isinstance(one, str)]
        return unknown[0] if unknown else min(one for one in found if not isinstance(one, str))

    def kept_seconds(self) -> float:
        """That of the bucket that keeps points for the shortest time."""
        return min(super().kept_seconds(), *(other.kept_seconds() for other in self._others))

    def places(self, layouts: Iterable[Layout], *, rolled: bool) -> list[Place]:
        """Where one of the buckets can hold series under any of ``layouts``."""
        layouts = list(layouts)
        found = set(super().places(layouts, rolled=rolled))
        return sorted(found.union(*(one.places(layouts, rolled=rolled) for one in self._others)))

    def list_anew(self) -> None:
        """In all of the buckets."""
        super().list_anew()
        for other in self._others:
            other.list_anew()

    def read(
        self,
        places: Iterable[Place],
        start_ms: int,
        end_ms: int,
        tags: Mapping[str, str] = MappingProxyType({}),
        fields: Sequence[str] = (),
    ) -> Points:
        """Every point at one of ``places`` in ``(start_ms, end_ms]``, whatever bucket has it.

        Where several have one, that of the bucket that the series is written to stays.
        """
        places = list(places)
        self.elsewhere = {}
        pieces: dict[SeriesKey, dict[str, Column]] = {}
        own = super().read(places, start_ms, end_ms, tags, fields)
        others = (one.read(places, start_ms, end_ms, tags, fields) for one in self._others)
        for name, points in zip(self._names, (own, *others), strict=True):
            for key, column in points.items():
                pieces.setdefault(key, {})[name] = column
        return {key: self._joined(key, columns) for key, columns in pieces.items()}

    def _joined(self, key: SeriesKey, columns: dict[str, Column]) -> Column:
        right = columns.pop(self._bucket_of(dict(key.tags)) or self._names[0], NOTHING)
        if not columns:
            return right
        held = len(right.timestamps_ms)
        whole, _ = join((*columns.values(), right) if held else columns.values())
        if only_there := len(whole.timestamps_ms) - held:
            self.elsewhere[key] = only_there
        return whole
