"""Leasing windows, and what a worker that holds one may do with it, but for committing it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from redis import Redis

from common.state.feeds import Feed, Range, Window, WindowClass
from common.state.keys import Keys
from common.state.scripts import Scripts


@dataclass
class WindowLeases:
    """The windows that are open, of every feed.

    ``now_ms`` replaces the server's clock for leases in tests. Every method raises
    :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    redis: Redis
    keys: Keys
    _: KW_ONLY
    lease_seconds: float = 60.0
    max_open: int = 16
    now_ms: Callable[[], int] | None = None
    key_token: Callable[[], str] = lambda: uuid.uuid4().hex

    def __post_init__(self) -> None:
        self._scripts = Scripts(self.redis, self.now_ms)
        self._lease_ms = int(self.lease_seconds * 1000)

    def lease(
        self,
        feed: Feed,
        window_class: WindowClass,
        live_horizon_ms: int,
        longest_ms: int,
        within: Range | None = None,
    ) -> Window | None:
        """Lease the newest free window of the class, cutting it from the backlog if need be.

        What is not live is cut at multiples of ``longest_ms``, so that feeds whose windows are of
        one length have the same. ``within``: bounds in ms that the window must not exceed.
        """
        leased = self._scripts.call(
            "lease",
            [*self.keys.of_feed(feed.state_name), self.keys.token, *self._backfill(feed)],
            window_class=window_class,
            fingerprint=feed.fingerprint,
            live_horizon_ms=live_horizon_ms,
            longest_ms=longest_ms,
            lease_ms=self._lease_ms,
            max_open=self.max_open,
            random=self.key_token(),
            within=within or False,
        )
        if not leased:
            return None
        id_, start_ms, end_ms, token, attempts = leased
        return Window(id_.decode(), start_ms, end_ms, token.decode(), attempts, window_class)

    def renew(self, feed: Feed, window: Window) -> bool:
        """Lengthen the lease; False when the window is no longer ours."""
        return self._change(feed, window, "renew", lease_ms=self._lease_ms)

    def release(self, feed: Feed, window: Window) -> bool:
        """Give this window back as it was before it was leased."""
        return self._change(feed, window, "release")

    def split(
        self,
        feed: Feed,
        window: Window,
        middle_ms: int,
        hold_seconds: tuple[float, float] | None = None,
    ) -> bool:
        """Two windows take this one's place; False when it is no longer ours.

        With ``hold_seconds`` (shortest, longest) the feed waits, as with :meth:`fail`.
        """
        waits = {} if hold_seconds is None else _waits(*hold_seconds)
        return self._change(feed, window, "split", middle_ms=middle_ms, hold=bool(waits), **waits)

    def defer(
        self, feed: Feed, window: Window, shortest_seconds: float, longest_seconds: float
    ) -> bool:
        """Put this window's range aside, where it keeps nothing else from being extracted.

        A piece of what is deferred is leased again now and then; the wait doubles with each attempt
        that fails. Once one succeeds, all of it is backlog again.
        """
        return self._change(feed, window, "defer", **_waits(shortest_seconds, longest_seconds))

    def retry(self, feed: Feed, window: Window, after_seconds: float) -> bool:
        """Keep this window open, to be leased again after a while."""
        return self._change(feed, window, "retry", after_ms=int(after_seconds * 1000))

    def fail(
        self, feed: Feed, window: Window, shortest_seconds: float, longest_seconds: float
    ) -> bool:
        """Return the window's range to the backlog; nothing of the feed is leased for a while.

        The wait doubles with each failure in a row, up to ``longest_seconds``.
        """
        return self._change(feed, window, "fail", **_waits(shortest_seconds, longest_seconds))

    def declare_gap(self, feed: Feed, window: Window, until_ms: int, reason: str) -> bool:
        """Declare that what of this window lies at or before ``until_ms`` no longer exists."""
        return self._change(feed, window, "gap", until_ms=until_ms, reason=reason)

    def _backfill(self, feed: Feed) -> list[str]:
        return [self.keys.backfill(feed.backfill)] if feed.backfill else []

    def _change(self, feed: Feed, window: Window, verb: str, **args: Any) -> bool:
        keys = [*self.keys.of_feed(feed.state_name), *self._backfill(feed)]
        return bool(self._scripts.call("window", keys, **leased(feed, window), verb=verb, **args))


def _waits(shortest_seconds: float, longest_seconds: float) -> dict[str, int]:
    return {"shortest_ms": int(shortest_seconds * 1000), "longest_ms": int(longest_seconds * 1000)}


def leased(feed: Feed, window: Window) -> dict[str, Any]:
    """The arguments of a script that changes a window only if it is still ours."""
    return {"window": window.id, "token": window.token, "fingerprint": feed.fingerprint}
