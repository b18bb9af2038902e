"""When a process takes feeds over that another configuration owns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from common.state.windows import Feed, FeedStatus


@dataclass
class Ownership:
    """Whoever started last owns a feed: each process takes it over once, at its first planning.

    Again only where nobody has planned it for ``abandoned_after_seconds``: a Redis that was rolled
    back over a change of the configuration knows an owner that is not there any more. And once more
    where Redis did not say that it was taken over, and its owner is the same as before.
    """

    abandoned_after_seconds: float
    clock: Callable[[], float] = time.monotonic
    _taken: set[str] = field(default_factory=set, init=False)
    # Feed → whose it was when taking it over failed.
    _failed: dict[str, str] = field(default_factory=dict, init=False)
    # Feed of another → when it was planned last, by Redis' clock, and since when we see that.
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict, init=False)

    def takes(self, feed: Feed, known: FeedStatus | None) -> bool:
        """Whether to take the feed over now; ``known`` is its state in Redis."""
        failed = self._failed.pop(feed.name, None) == _owner(known)
        if failed or feed.name not in self._taken:
            self._taken.add(feed.name)
            return True
        if known is None or known.fingerprint == feed.fingerprint:
            self._seen.pop(feed.name, None)
            return False
        planned_ms, since = self._seen.get(feed.name, (None, 0.0))
        if planned_ms != known.planned_ms:
            self._seen[feed.name] = known.planned_ms, self.clock()
            return False
        return self.clock() - since >= self.abandoned_after_seconds

    def failed(self, feed: Feed, known: FeedStatus | None) -> None:
        """It may not have been taken over after all, when its state was this."""
        self._failed[feed.name] = _owner(known)


def _owner(known: FeedStatus | None) -> str:
    return "" if known is None else known.fingerprint
