"""A tier whose series are spread over several buckets by a label (``load.bucket_from``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from common.samples.layout import Layout, Place
from common.sink.http_session import SinkSession
from services.verifier.points import Column, Points, SeriesKey, join
from services.verifier.sink.read import Sink


class PartitionedSink(Sink):
    """Points are read from all of the buckets, what is written about them from the first."""

    def __init__(self, session: SinkSession, database: str, others: Iterable[str]) -> None:
        super().__init__(session, database)
        self._others = [Sink(session, other) for other in others]

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

    def read(
        self,
        places: Iterable[Place],
        start_ms: int,
        end_ms: int,
        tags: Mapping[str, str] = MappingProxyType({}),
        fields: Sequence[str] = (),
    ) -> Points:
        """Every point at one of ``places`` in ``(start_ms, end_ms]``, whatever bucket has it."""
        places = list(places)
        pieces: dict[SeriesKey, list[Column]] = {}
        own = super().read(places, start_ms, end_ms, tags, fields)
        others = (one.read(places, start_ms, end_ms, tags, fields) for one in self._others)
        for points in (own, *others):
            for key, column in points.items():
                pieces.setdefault(key, []).append(column)
        return {key: join(columns)[0] for key, columns in pieces.items()}
