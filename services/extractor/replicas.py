"""A source of several replicas: servers that scrape the same, each with gaps of its own.

Each window is read from one of them, the one that holds most of it, so that samples of two never
meet in it. Which that is, is asked before each window: a count costs little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from common.config import ExtractSettings, Query
from common.errors import (
    QueryTooLarge,
    SourceError,
    SourceLacks,
    SourceRefused,
    SourceUnavailable,
)
from common.promql.reach import reach_of
from common.samples.columns import Samples
from common.state.history import Stretch
from common.state.ranges import without
from services.extractor.history import ServerRun
from services.extractor.prometheus import PrometheusClient
from services.extractor.source.clock import ClockReading
from services.extractor.source.one_replica import SCRAPES, Replica, lowest_ms_or_failure
from services.extractor.source.replica_lack import ReplicaLack
from services.extractor.source.scrape_settings import ScrapeSettings, joint_settings

# How long one that did not answer is left alone: one that hangs takes a fifth of the time at most.
AWAY_SECONDS = 5.0
AWAY_TIMES = 4
# The tier of which it counts from which replica raw samples are loaded: the others' are the same.
HOT = "hot"

_Found = TypeVar("_Found")


class Replicas:
    """What :class:`PrometheusClient` is, of several. Not safe for several threads.

    Whatever is asked of the source as such is asked of the first replica that answers. ``on_away``
    is called with a replica's URL and the error when it does not answer any more, and no error when
    it does again. ``on_lack`` is called with its URL and which share it lacks of the newest samples
    of a query that another has, of the query of which it is most; all of them while it does not
    answer. ``read_before`` gives which replica a query, in a tier, is loaded of: raw samples are
    read again, and whatever it is is compared again, from that one alone.
    """

    def __init__(
        self,
        replicas: Sequence[ExtractSettings],
        client_of: Callable[[ExtractSettings], PrometheusClient],
        on_away: Callable[[str, str], None] = lambda url, error: None,
        read_before: Callable[[str, str], Sequence[Stretch]] = lambda query, tier: (),
        monotonic: Callable[[], float] = time.monotonic,
        on_lack: Callable[[str, float], None] = lambda url, share: None,
    ) -> None:
        self._all = [Replica(client_of(one), one.prometheus_url) for one in replicas]
        self._on_away = on_away
        self._lack = ReplicaLack(on_lack, monotonic)
        self._monotonic = monotonic
        self._read_before = read_before
        self._last = ""

    def last_read(self) -> str:
        """The URL of the replica that :meth:`read` has read from last."""
        return self._last

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """As :meth:`PrometheusClient.read`, from the replica that holds most of the window.

        Of what was read from several, the last of them.
        """
        return self._read(query, start_ms, end_ms, whole=False)

    def read_whole(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The same of what can be read in parts, which therefore is read from one that has it all.

        Raises :class:`QueryTooLarge` where none is known to, each time: a refusal that is
        remembered would let a window through that is asked for again before it is split.
        """
        return self._read(query, start_ms, end_ms, whole=True)

    def count_in(self, query: Query, start_ms: int, end_ms: int, tier: str = HOT) -> int:
        """How many samples of a ``select`` those replicas have that it was read from.

        Of what was not read, the fullest.
        """
        samples = 0
        for from_ms, to_ms, one in self._parts(query, start_ms, end_ms, tier):
            if one is None:
                samples += max(self._counts(query, from_ms, to_ms).values())
                continue
            began = self._monotonic()
            try:
                samples += one.client.count_samples(query.text, from_ms, to_ms)
            except (SourceUnavailable, SourceRefused) as error:
                self._failed(one, error, began)
                raise
        return samples

    def read_again(
        self, query: Query, start_ms: int, end_ms: int, tier: str = HOT
    ) -> Iterator[Samples]:
        """An ``expr`` as those replicas evaluate it that it was read from: others scrape at times
        of their own, so that they have other values.

        Of what was not read, the one that has most of what it looks at.
        """
        for from_ms, to_ms, one in self._parts(query, start_ms, end_ms, tier):
            if one is None:
                yield from self.read(query, from_ms, to_ms)
            else:
                yield from self._watched(one, one.client.read(query, from_ms, to_ms))

    def is_gone(self, query: Query, start_ms: int, end_ms: int, tier: str = HOT) -> bool:
        """Whether some of that time is loaded of a replica that does not hold it any more, or is
        none of these.
        """
        loaded = [
            one
            for one in self._read_before(query.name, tier)
            if one[0] < end_ms and start_ms < one[1]
        ]
        return len(loaded) > len(self._stretches(query, start_ms, end_ms, tier))

    def series_at(self, query: Query, time_ms: int) -> int:
        """How many series the one that has most of them has at that time."""
        return max(self._each(lambda client: client.series_at(query, time_ms)).values())

    def answers_at(self, query: Query, time_ms: int) -> bool:
        """Whether one of them has any samples at that time."""
        return any(self._each(lambda client: client.answers_at(query, time_ms)).values())

    def clock_reading(self) -> ClockReading:
        """The time of the first that answers."""
        return self._first(lambda client: client.clock_reading())

    def now_ms(self) -> int:
        """The time of the first that answers, in ms since the epoch."""
        return self.clock_reading().now_ms

    def scrape_settings(self) -> ScrapeSettings:
        """How they scrape, whichever of them is read: what any of them needs, all are given.

        Of one that is away, as it said last.
        """
        for number, found in self._each(lambda client: client.scrape_settings()).items():
            self._all[number].scrapes = found
        return joint_settings([one.scrapes for one in self._all if one.scrapes is not None])

    def run(self) -> ServerRun | None:
        """The runs of all as one, each as it was known last; None if one does not report it."""
        for number, run in self._each(lambda client: client.run()).items():
            self._all[number].run = run
        runs = [one.run for one in self._all if one.seen]
        known = [run for run in runs if run is not None]
        if len(known) < len(runs) or not known:
            return None
        first, *_ = known
        started, configured = (
            " ".join(getattr(run, key) for run in known) for key in ("started", "configured")
        )
        return ServerRun(started, configured, first.retention)

    def lowest_timestamp_ms(self) -> int | None:
        """The oldest time that one of them has data of, each as it was known last.

        Raises :class:`SourceUnavailable` where one that is not away does not tell.
        """
        found = self._each(lowest_ms_or_failure)
        failed = [one for one in found.values() if isinstance(one, SourceUnavailable)]
        for number, lowest_ms in found.items():
            if not isinstance(lowest_ms, SourceUnavailable):
                self._all[number].lowest_ms = lowest_ms
        if failed:
            raise failed[0]
        if any(lowest_ms is None for lowest_ms in found.values()):
            return None
        known = [one.lowest_ms for one in self._all if one.lowest_ms is not None]
        return min(known, default=None)

    def cut_off_behind_ms(self) -> int | None:
        """As of :class:`PrometheusClient`, of those whose lowest timestamp is the least."""
        known = [one.lowest_ms for one in self._all if one.lowest_ms is not None]
        least_ms = min(known, default=None)
        first = [one.client for one in self._all if one.lowest_ms == least_ms is not None]
        behind = (client.cut_off_behind_ms() for client in first)
        return next((found for found in behind if found is not None), None)

    def tick(self) -> None:
        """Tell what is no longer known to lack; to be called now and then."""
        self._lack.expire()

    def close(self) -> None:
        """Close all connections."""
        for one in self._all:
            one.client.close()

    def stop(self) -> None:
        """End what is under way, and everything later; from any thread."""
        for one in self._all:
            one.client.stop()

    def _read(self, query: Query, start_ms: int, end_ms: int, *, whole: bool) -> Iterator[Samples]:
        asked = query, start_ms, end_ms
        one = self._loaded_of(*asked, whole=whole) or self._fullest(*asked, whole=whole)
        self._last = one.url
        return self._watched(one, one.client.read(*asked))

    def _loaded_of(
        self, query: Query, start_ms: int, end_ms: int, *, whole: bool
    ) -> Replica | None:
        """The replica whose samples there are loaded: those of another would stand beside them.

        Raises :class:`SourceUnavailable` where that is away, and :class:`QueryTooLarge` where there
        are several, and it is to be ``whole``. Where a part is loaded of one that may lack the rest
        (a rollup is read with what lies before it, and hot may be behind), any may be read.
        """
        if query.kind == "expr":
            return None  # evaluated at the same times everywhere
        found = self._stretches(query, start_ms, end_ms)
        if not found:
            return None
        *_, last = found[-1]
        if whole and any(one is not last for *_, one in found):
            raise QueryTooLarge(f"({start_ms}, {end_ms}] ms was read from several replicas")
        rest = without([(start_ms, end_ms)], [(start, end) for start, end, _ in found])
        away = last.away_until > self._monotonic()
        if rest and (away or self._was_down(last, start_ms, end_ms)):
            if whole:
                raise QueryTooLarge(f"({start_ms}, {end_ms}] ms is loaded in part of a replica")
            return None
        self._needed(last)
        return last

    def _parts(
        self, query: Query, start_ms: int, end_ms: int, tier: str = HOT
    ) -> list[tuple[int, int, Replica | None]]:
        """A time by the replica that it is loaded of; None where nothing is.

        Raises :class:`SourceUnavailable` where one of them is away.
        """
        loaded = [
            (max(start, start_ms), min(end, end_ms), one)
            for start, end, one in self._stretches(query, start_ms, end_ms, tier)
        ]
        for *_, one in loaded:
            self._needed(one)
        rest = without([(start_ms, end_ms)], [(start, end) for start, end, _ in loaded])
        return [*loaded, *((start, end, None) for start, end in rest)]

    def _stretches(
        self, query: Query, start_ms: int, end_ms: int, tier: str = HOT
    ) -> list[tuple[int, int, Replica]]:
        """What of a time is loaded of which replica, as far as that still holds it."""
        by_url = {one.url: one for one in self._all}
        return [
            (start, end, by_url[url])
            for start, end, url in self._read_before(query.name, tier)
            if start < end_ms and start_ms < end
            if url in by_url and by_url[url].holds(max(start, start_ms) + query.step_ms)
        ]

    def _needed(self, one: Replica) -> None:
        """Raise where a replica that nobody can stand in for is known to be away."""
        if one.away_until > self._monotonic():
            raise SourceUnavailable(f"{one.url} is away, and what it gave is loaded", away=True)

    def _fullest(self, query: Query, start_ms: int, end_ms: int, *, whole: bool) -> Replica:
        """The replica that has most samples there; of several the first.

        Raises :class:`SourceUnavailable` where one that is away may hold what this one has deleted,
        or has never had because it was down (:class:`SourceLacks` of what cannot be split), and
        :class:`QueryTooLarge` where that is so of a part of it, or each was down in a part, and it
        is to be ``whole``: halves of it may be.
        """
        counts = self._counts(query, start_ms, end_ms)
        best = max(counts, key=lambda number: (counts[number], -number))
        one = self._all[best]
        samples = {self._all[number].url: found for number, found in counts.items()}
        self._lack.compare(query.name, end_ms, samples)
        from_ms = start_ms + query.step_ms  # a feed begins up to a step before its source
        for number, other in enumerate(self._all):
            if number in counts or not other.holds(from_ms):
                continue
            if not one.holds(from_ms) or self._was_down(one, start_ms, end_ms):
                if whole and self._was_scraped([best], start_ms, end_ms):
                    raise QueryTooLarge(f"({start_ms}, {end_ms}] ms is whole in none that answers")
                kind = SourceUnavailable if whole else SourceLacks
                raise kind(f"{other.url} is away, and may hold what others do not", away=True)
        if (
            whole
            and sum(counts.values()) > counts[best]
            and self._was_down(one, start_ms, end_ms)
            and self._was_scraped(counts, start_ms, end_ms)
        ):
            raise QueryTooLarge(f"({start_ms}, {end_ms}] ms is whole in no replica")
        return one

    def _was_scraped(self, numbers: Iterable[int], start_ms: int, end_ms: int) -> bool:
        """Whether any of these scraped then: blocks that were brought in hold no scrapes."""
        clients = (self._all[number].client for number in numbers)
        return any(client.count_samples(SCRAPES, start_ms, end_ms) for client in clients)

    def _was_down(self, one: Replica, start_ms: int, end_ms: int) -> bool:
        """Whether it did not scrape all the time then, as far as it says how it scrapes."""
        return one.was_down(start_ms, end_ms, self._monotonic())

    def _counts(self, query: Query, start_ms: int, end_ms: int) -> dict[int, int]:
        """By the numbers of those that answer: how many samples they have."""
        selector, from_ms = query.text, start_ms
        if query.kind == "expr":
            selector, from_ms = SCRAPES, max(0, start_ms - reach_of(query.text).back_ms)
        return self._each(lambda client: client.count_samples(selector, from_ms, end_ms))

    def _first(self, ask: Callable[[PrometheusClient], _Found]) -> _Found:
        found = self._each(ask, most=1)
        return next(iter(found.values()))

    def _each(self, ask: Callable[[PrometheusClient], _Found], most: int = 0) -> dict[int, _Found]:
        """What those say that answer, by their numbers; raises an error if none does."""
        found: dict[int, _Found] = {}
        errors: list[SourceError] = []
        now = self._monotonic()
        resting = [one.away_until > now for one in self._all]
        for number, one in enumerate(self._all):
            if resting[number] and not all(resting):
                continue
            began = self._monotonic()
            try:
                found[number] = ask(one.client)
            except (SourceUnavailable, SourceRefused) as error:
                self._failed(one, error, began)
                errors.append(error)
                continue
            self._answered(one)
            if len(found) == most:
                break
        if not found:
            raise errors[0]
        return found

    def _watched(self, one: Replica, blocks: Iterator[Samples]) -> Iterator[Samples]:
        began = self._monotonic()
        try:
            yield from blocks
        except (SourceUnavailable, SourceRefused) as error:
            self._failed(one, error, began)
            raise

    def _failed(self, one: Replica, error: SourceError, began: float) -> None:
        if one.away_until == float("-inf"):
            self._on_away(one.url, str(error))
        self._lack.away(one.url)
        now = self._monotonic()
        one.away_until = now + max(AWAY_SECONDS, AWAY_TIMES * (now - began))

    def _answered(self, one: Replica) -> None:
        one.seen = True
        if one.away_until != float("-inf"):
            one.away_until = float("-inf")
            self._on_away(one.url, "")
            self._lack.back(one.url)


def client_of(
    extract: ExtractSettings,
    client_of_one: Callable[[ExtractSettings], PrometheusClient] = PrometheusClient,
    on_away: Callable[[str, str], None] = lambda url, error: None,
    read_before: Callable[[str, str], Sequence[Stretch]] = lambda query, tier: (),
    on_lack: Callable[[str, float], None] = lambda url, share: None,
) -> PrometheusClient | Replicas:
    """What reads a source, of one server or of several."""
    if not extract.replicas:
        return client_of_one(extract)
    return Replicas(extract.each_replica, client_of_one, on_away, read_before, on_lack=on_lack)
