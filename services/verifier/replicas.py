"""A source of several replicas: what was loaded is compared with the one that it was read from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

import requests

from common.errors import SourceError
from common.state.feeds import Range
from common.state.history import Stretch
from common.state.ranges import merged, without
from services.verifier.source import Source

_Found = TypeVar("_Found")
ALWAYS = (0, 2**62)


class ReplicatedSource(Source):
    """The first replica, which knows the others. What is asked of the source as such goes to all.

    One that does not answer is passed over there. ``first``: what the first is made of.
    """

    def __init__(
        self,
        first: tuple[str, requests.Session, float],
        others: Sequence[Source],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(*first, tick=tick)
        self._others = tuple(others)
        self._by_url = {one.url: one for one in (self, *others)}

    def close(self) -> None:
        """Close all connections."""
        super().close()
        for one in self._others:
            one.close()

    def replica(self, url: str) -> Source:
        """The one with this URL; the first where there is none (any more)."""
        return self._by_url.get(url, self)

    def now_ms(self) -> int:
        """The time of the first that answers."""
        return self._answers(super().now_ms, [one.now_ms for one in self._others], most=1)[0]

    def metric_names(self, selector: str) -> list[str]:
        """Those that any of them knows."""

        def of(one: Source) -> Callable[[], list[str]]:
            return lambda: one.metric_names(selector)

        first = super().metric_names
        found = self._answers(lambda: first(selector), [of(one) for one in self._others])
        return sorted({name for names in found for name in names})

    def oldest_ms(self) -> int:
        """From when on all that answer have what they scraped."""
        return max(self._answers(super().oldest_ms, [one.oldest_ms for one in self._others]))

    def _answers(
        self, first: Callable[[], _Found], others: Sequence[Callable[[], _Found]], most: int = 0
    ) -> list[_Found]:
        found: list[_Found] = []
        errors: list[SourceError] = []
        for ask in (first, *others):
            try:
                found.append(ask())
            except SourceError as error:
                errors.append(error)
            if len(found) == most > 0:
                break
        if not found:
            raise errors[0]
        return found


class ReadFrom:
    """Which replica each query was read from; ``stretches`` gives those of a query, by its name.

    ``urls`` are those of the replicas that there are. What was read later than they were asked for
    is not known.
    """

    def __init__(
        self,
        stretches: Callable[[str], Sequence[Stretch]] = lambda query: (),
        urls: Collection[str] = (),
    ) -> None:
        self._stretches = stretches
        self._urls = urls
        self._known: dict[str, Sequence[Stretch]] = {}

    def of(self, query: str) -> Sequence[Stretch]:
        """What is known of a query now, in order of time."""
        return self._stretches(query)

    def ask(self, queries: Iterable[str]) -> set[int]:
        """Ask for what is known now; where another replica begins, in ms."""
        self._known = {query: self.of(query) for query in queries}
        return {at for each in self._known.values() for one in each for at in one[:2]}

    def gone(self, query: str) -> list[Range]:
        """What was read from a replica that there is not any more, or has another URL by now.

        No other holds the same samples, so only the seals say anything of it.
        """
        return merged(one[:2] for one in self.of(query) if one[2] not in self._urls)

    def closed(self, query: str) -> list[Range]:
        """What must not be extracted again, of raw samples: others would stand beside them.

        That is what is gone and, of several replicas, what was read from nobody knows which.
        """
        of_one = [one[:2] for one in self.of(query) if one[2] in self._urls]
        return without([ALWAYS], of_one) if len(self._urls) > 1 else self.gone(query)

    def is_gone(self, query: str, end_ms: int) -> bool:
        """Whether what ends at a time was read from one of those."""
        url = self._url(query, end_ms)
        return bool(url) and url not in self._urls

    def source(self, whole: Source, query: str, end_ms: int) -> Source:
        """The replica of what ends at a time."""
        url = self._url(query, end_ms)
        return whole.replica(url) if url else whole

    def _url(self, query: str, end_ms: int) -> str:
        """That of the replica; empty where it is not known."""
        stretches = self._known.get(query, ())
        at = bisect_left(stretches, end_ms, key=lambda one: one[1])
        return stretches[at][2] if at < len(stretches) and stretches[at][0] < end_ms else ""
