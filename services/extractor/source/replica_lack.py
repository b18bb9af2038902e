"""Which share of the newest samples each of several replicas lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

# How long a comparison counts, and a failure: this extractor may be given no window any more.
KEPT_SECONDS = 600.0


@dataclass(slots=True)
class ReplicaLack:
    """Shows by ``show``, for the URL of a replica, the most that it lacks of any query.

    All of it while it does not answer.
    """

    show: Callable[[str, float], None]
    clock: Callable[[], float] = time.monotonic
    # Query → when it was compared last, up to where its window went, and the share by replica.
    _shares: dict[str, tuple[float, int, dict[str, float]]] = field(
        default_factory=dict, init=False
    )
    # Replica → when it did not answer last.
    _away: dict[str, float] = field(default_factory=dict, init=False)

    def compare(self, query: str, end_ms: int, samples: Mapping[str, int]) -> None:
        """How many samples each has of a window, which counts if none later was compared."""
        _, newest_ms, _ = self._shares.get(query, (0.0, 0, {}))
        most = max(samples.values())
        if end_ms < newest_ms or most == 0:
            return  # nothing is known of what nobody has
        shares = {url: 1 - found / most for url, found in samples.items()}
        self._shares[query] = self.clock(), end_ms, shares
        self._show(samples)

    def away(self, url: str) -> None:
        """It did not answer just now."""
        self._away[url] = self.clock()
        self._show([url])

    def back(self, url: str) -> None:
        """It does again: what it lacked before is not known to be so still."""
        self._away.pop(url, None)
        for *_, shares in self._shares.values():
            shares.pop(url, None)
        self._show([url])

    def expire(self) -> None:
        """Forget what was found long ago; to be called now and then."""
        since = self.clock() - KEPT_SECONDS
        old = [query for query, (at, *_) in self._shares.items() if at < since]
        urls = {url for url, at in self._away.items() if at < since}
        for url in urls:
            del self._away[url]
        for query in old:
            urls.update(self._shares.pop(query)[2])
        self._show(urls)

    def _show(self, urls: Iterable[str]) -> None:
        for url in urls:
            found = [shares.get(url, 0.0) for *_, shares in self._shares.values()]
            self.show(url, 1.0 if url in self._away else max(found, default=0.0))
