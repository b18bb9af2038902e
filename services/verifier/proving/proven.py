"""What is proven of each feed, kept in Redis, and which verifier works on it.

A feed is proven from its origin up to a cursor. The cursor never passes what is not extracted or
not settled, nor what is to be counted again, and goes back to where time was opened again. What a
backfill has loaded before the origin is proven after that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from redis import Redis

from common.state.feeds import FeedStatus, Range, Recheck, ranges_of
from common.state.fields import text_of
from common.state.keys import Keys
from common.state.ranges import clipped, length_ms, without
from common.state.scripts import Scripts
from common.state.windows import WindowSet

# Ranges that are kept because they differ, for each feed.
DIFFERING_MAX = 100


class Differing(NamedTuple):
    """``(start_ms, end_ms]`` where ``points`` differed when it was compared last, at ``at_ms``.

    ``by_seals``: from what was loaded, by the seals; else from the source.
    """

    start_ms: int
    end_ms: int
    points: int
    at_ms: int
    by_seals: bool = False


@dataclass(frozen=True, slots=True)
class Proven:
    """Compared from ``from_ms`` up to ``up_to_ms``, and what of it differs, in order of time.

    ``older`` was not compared yet: a backfill has loaded it. None: it begins where the feed does.
    """

    up_to_ms: int
    differing: tuple[Differing, ...] = ()
    from_ms: int | None = None
    older: tuple[Range, ...] = ()

    @property
    def points(self) -> int:
        """Points that differ."""
        return sum(one.points for one in self.differing)

    def since(self, origin_ms: int) -> Proven:
        """With the feed's beginning, which a backfill moves back."""
        from_ms = origin_ms if self.from_ms is None else self.from_ms
        older = clipped([*self.older, (origin_ms, from_ms)], origin_ms, self.up_to_ms)
        return replace(self, from_ms=origin_ms, older=tuple(older))

    def back_to(self, bound_ms: int) -> Proven:
        """With nothing known after ``bound_ms``, or within a range that goes on after it."""
        kept = tuple(one for one in self.differing if one.end_ms <= bound_ms)
        cut = (one.start_ms for one in self.differing if one.end_ms > bound_ms)
        up_to_ms = min([self.up_to_ms, bound_ms, *cut])
        older = clipped(self.older, 0, up_to_ms)
        return replace(self, up_to_ms=up_to_ms, differing=kept, older=tuple(older))

    def with_range(
        self, start_ms: int, end_ms: int, points: int, at_ms: int, *, by_seals: bool = False
    ) -> Proven:
        """With the result for ``(start_ms, end_ms]``: that replaces what was known of it.

        Ranges that adjoin and were found alike, or are more than :data:`DIFFERING_MAX`, are kept
        as one.
        """
        rest = [one for one in self.differing if one[:2] != (start_ms, end_ms)]
        if points:
            rest.append(Differing(start_ms, end_ms, points, at_ms, by_seals))
        kept: list[Differing] = []
        too_many = len(rest) - DIFFERING_MAX
        for one in sorted(rest):
            if kept and (too_many > 0 or _go_together(kept[-1], one)):
                too_many -= 1
                last = kept.pop()
                one = Differing(
                    last.start_ms,
                    max(last.end_ms, one.end_ms),
                    last.points + one.points,
                    min(last.at_ms, one.at_ms),
                    last.by_seals and one.by_seals,
                )
            kept.append(one)
        return replace(
            self,
            up_to_ms=max(self.up_to_ms, end_ms),
            differing=tuple(kept),
            older=tuple(without(self.older, [(start_ms, end_ms)])),
        )

    def encode(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Proven:
        """The reverse; raises :class:`ValueError` for anything else."""
        try:
            found = json.loads(text)
            ranges = [
                Differing._make((*map(int, one[:4]), any(one[4:]))) for one in found["differing"]
            ]
            from_ms = found.get("from_ms")  # an older version does not say it
            return cls(
                int(found["up_to_ms"]),
                tuple(sorted(ranges)),
                None if from_ms is None else int(from_ms),
                tuple(ranges_of(found.get("older", ()))),
            )
        except (LookupError, TypeError, RecursionError, ArithmeticError) as error:
            raise ValueError(f"is no record of what is proven: {error!r:.200}") from None


def _go_together(one: Differing, next_: Differing) -> bool:
    return one.end_ms == next_.start_ms and one.by_seals == next_.by_seals


class FeedProof(NamedTuple):
    """What is proven of a feed, and ``due_ms``: up to where it could be."""

    feed: FeedStatus
    proven: Proven
    due_ms: int

    @property
    def waiting_ms(self) -> int:
        """Time that could be proven and is not."""
        return max(0, self.due_ms - self.proven.up_to_ms) + length_ms(self.proven.older)


class ProofRecord:
    """The record of every feed, and the lease of whoever works on it.

    ``token`` is a word that no other process has. Every method raises
    :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    def __init__(self, redis: Redis, keys: Keys, token: str, lease_seconds: float) -> None:
        self._redis = redis
        self._keys = keys
        self.windows = WindowSet(redis, keys)
        self._scripts = Scripts(redis)
        self._token = token
        self._lease_ms = int(lease_seconds * 1000)

    def read(self) -> dict[str, FeedProof]:
        """Every feed by its name. What was opened again is not proven any more."""
        stored: Any = self._redis.hgetall(self._keys.verified)
        # Before and after: what leaves the one for the other meanwhile is seen in one of them.
        names: Any = self._redis.smembers(self._keys.feeds)
        before = {name: self._recheck_ms(name) for name in map(text_of, names)}
        found = {}
        for name, feed in self.windows.status().items():
            bounds = (before.get(name), self._recheck_ms(name))
            due_ms = min([feed.loaded_watermark_ms, *(ms for ms in bounds if ms is not None)])
            try:
                proven = Proven.parse(text_of(stored.get(name.encode())))
            except ValueError:  # nothing yet, or somebody else's
                proven = Proven(feed.origin_ms)
            proven = proven.back_to(due_ms).since(feed.origin_ms)
            found[name] = FeedProof(feed, proven, due_ms)
        return found

    def save(self, proven: Mapping[str, Proven]) -> bool:
        """Keep what is proven, by feed name, and the lease; False if another one has that."""
        return self._lease(self._lease_ms, proven)

    def release(self) -> None:
        """End the lease, if it is ours."""
        self._lease(0, {})

    def _lease(self, lease_ms: int, proven: Mapping[str, Proven]) -> bool:
        return bool(
            self._scripts.call(
                "verified",
                [self._keys.verify_lease, self._keys.verified],
                token=self._token,
                lease_ms=lease_ms,
                proven={feed: one.encode() for feed, one in proven.items()},
            )
        )

    def _recheck_ms(self, feed: str) -> int | None:
        """The start of the oldest range that is to be counted again."""
        starts = []
        members: Any = self._redis.zrange(self._keys.rechecks(feed), 0, -1)
        for member in members:
            try:
                starts.append(Recheck.parse(text_of(member)).start_ms)
            except ValueError:  # somebody else's: the extractor removes it
                continue
        return min(starts, default=None)
