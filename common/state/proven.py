"""What is proven of each feed, kept in Redis, and which verifier works on it.

What is settled can be proven, wherever it lies: between the feed's origin and its head, or before
the origin where a backfill has loaded it. What is to be counted again cannot yet. Time that was
opened again since it was compared is not proven any more: the feed notes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from redis import Redis

from common.state.backfills import Backfills, by_feed, history
from common.state.feeds import FeedStatus, Range, ranges_of
from common.state.fields import text_of
from common.state.keys import Keys
from common.state.ranges import clipped, length_ms, merged, within, without
from common.state.scripts import Scripts
from common.state.windows import WindowSet

# Ranges that are kept because they differ, for each feed.
DIFFERING_MAX = 100
# The same of those that were proven of late, and how many of the times they are kept for are told
# apart.
LATELY_MAX = 100
_LATELY_STEPS = 24
# A field beside those of the feeds, whose names have an @.
_SINK_STARTS = "sink_starts"
# Who had a lease last is known for so long after it: longer than any comparison takes.
_LAST_HOLDER_KEPT_MS = 600_000


class Differing(NamedTuple):
    """``(start_ms, end_ms]`` where ``points`` differed when it was compared last, at ``at_ms``.

    ``by_seals``: from what was loaded, by the seals; else from the source.
    """

    start_ms: int
    end_ms: int
    points: int
    at_ms: int
    by_seals: bool = False


class Lately(NamedTuple):
    """``(start_ms, end_ms]`` was compared first at ``at_ms``, as it was loaded last."""

    start_ms: int
    end_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Proven:
    """What was ``compared``, and what of it differs, both in order of time.

    ``live_from_ms``: where the feed began when it was seen first. What lies before that is history,
    that a backfill has loaded. ``lately``: what was compared of late, be it to be compared again.
    """

    live_from_ms: int
    compared: tuple[Range, ...] = ()
    differing: tuple[Differing, ...] = ()
    lately: tuple[Lately, ...] = ()

    @property
    def points(self) -> int:
        """Points that differ."""
        return sum(one.points for one in self.differing)

    @property
    def up_to_ms(self) -> int:
        """All of what is live was compared up to here."""
        live = clipped(self.compared, self.live_from_ms, 2**62)
        return live[0][1] if live and live[0][0] == self.live_from_ms else self.live_from_ms

    def within(self, settled: Sequence[Range]) -> Proven:
        """With nothing known of what is not ``settled``, nor of a range that has a part there."""
        kept = tuple(one for one in self.differing if not without([one[:2]], settled))
        lost = [one[:2] for one in self.differing if one not in kept]
        compared = tuple(without(within(self.compared, settled), lost))
        lately = self.lately
        if gone := without((one[:2] for one in lately), settled):
            lately = tuple(
                Lately(*left, one.at_ms) for one in lately for left in without([one[:2]], gone)
            )
        return replace(self, compared=compared, differing=kept, lately=lately)

    def noted(self, start_ms: int, end_ms: int, at_ms: int, kept_ms: int) -> Proven:
        """With ``(start_ms, end_ms]`` as compared lately, for ``kept_ms``.

        What is compared once more keeps its first time: else a sink that is started each day would
        have ever more compared again.
        """
        if not kept_ms:
            return replace(self, lately=())
        notes = [one for one in self.lately if one.at_ms > at_ms - kept_ms]
        known = [one[:2] for one in notes]
        notes += [Lately(*range_, at_ms) for range_ in without([(start_ms, end_ms)], known)]
        step_ms = max(1, kept_ms // _LATELY_STEPS)
        return replace(self, lately=tuple(_few(notes, step_ms)))

    def doubted(self, since_ms: int) -> Proven:
        """With what was compared first after ``since_ms`` to be compared again.

        What differs is compared again in any case.
        """
        doubtful = without(
            (one[:2] for one in self.lately if one.at_ms > since_ms),
            (one[:2] for one in self.differing),
        )
        return replace(self, compared=tuple(without(self.compared, doubtful)))

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
        compared = tuple(merged([*self.compared, (start_ms, end_ms)]))
        return replace(self, compared=compared, differing=tuple(kept))

    def encode(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Proven:
        """The reverse; raises :class:`ValueError` for anything else.

        An older version wrote ``from_ms``, ``up_to_ms``, and the ranges between that were not
        compared yet, as ``older``.
        """
        try:
            found = json.loads(text)
            ranges = [
                Differing._make((*map(int, one[:4]), any(one[4:]))) for one in found["differing"]
            ]
            if "compared" in found:
                live_from_ms, compared = int(found["live_from_ms"]), ranges_of(found["compared"])
            else:
                live_from_ms = int(found["from_ms"])
                whole = [(live_from_ms, int(found["up_to_ms"]))]
                compared = without(whole, ranges_of(found["older"]))
            lately = sorted(Lately._make(map(int, one)) for one in found.get("lately", ()))
            return cls(live_from_ms, tuple(merged(compared)), tuple(sorted(ranges)), tuple(lately))
        except (LookupError, TypeError, RecursionError, ArithmeticError) as error:
            raise ValueError(f"is no record of what is proven: {error!r:.200}") from None


def _go_together(one: Differing, next_: Differing) -> bool:
    return one.end_ms == next_.start_ms and one.by_seals == next_.by_seals


def _few(notes: Iterable[Lately], step_ms: int) -> list[Lately]:
    """Those that adjoin and whose times differ little as one; a neighbour has what is too many."""
    kept: list[Lately] = []
    for one in sorted(notes):
        last = kept[-1] if kept else None
        if last and last.end_ms == one.start_ms and last.at_ms // step_ms == one.at_ms // step_ms:
            kept.pop()
            one = _both(last, one)
        kept.append(one)
    while len(kept) > LATELY_MAX:
        at = min(range(1, len(kept)), key=lambda n: kept[n].start_ms - kept[n - 1].end_ms)
        kept[at - 1 : at + 1] = [_both(kept[at - 1], kept[at])]
    return kept


def _both(one: Lately, next_: Lately) -> Lately:
    return Lately(one.start_ms, next_.end_ms, max(one.at_ms, next_.at_ms))


class FeedProof(NamedTuple):
    """What is proven of a feed, and what could be: ``settled``, in order of time.

    ``begin_ms``: where that begins, with what backfills have loaded.
    """

    feed: FeedStatus
    proven: Proven
    settled: Sequence[Range]
    begin_ms: int

    @property
    def reopened(self) -> list[Range]:
        """What was opened again since it was kept last."""
        try:
            return ranges_of(json.loads(self.feed.reopened or "[]"))
        except (ValueError, LookupError, TypeError, RecursionError):
            return []  # somebody else's

    @property
    def kept(self) -> Proven:
        """What is proven, as it is kept: where the feed begins may not be known yet."""
        return self.proven if self.feed.reconciled else replace(self.proven, live_from_ms=0)

    @property
    def to_do(self) -> list[Range]:
        """What could be proven and is not: what is live first, then the newest of the rest."""
        live, left = self._live_to_do, without(self.settled, self.proven.compared)
        return [*live, *reversed(without(left, live))]

    @property
    def waiting_ms(self) -> int:
        """Live time that could be proven and is not, nor ever was."""
        return length_ms(self._live_to_do)

    @property
    def history_waiting_ms(self) -> int:
        """The same of what backfills have loaded, and of what is to be compared again."""
        return length_ms(self.to_do) - self.waiting_ms

    @property
    def _live_to_do(self) -> list[Range]:
        proven = self.proven
        again = (one[:2] for one in proven.lately)
        left = without(self.settled, [*proven.compared, *again])
        return clipped(left, proven.live_from_ms, 2**62)


class ProofRecord:
    """The record of every feed, and the lease of whoever works on it.

    ``token`` is a word that no other process has; ``lease`` is the key that holds it. Every method
    raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    def __init__(self, redis: Redis, keys: Keys, token: str, lease_seconds: float) -> None:
        self._redis = redis
        self._keys = keys
        self.windows = WindowSet(redis, keys)
        self._scripts = Scripts(redis)
        self._token = token
        self.lease = keys.verify_lease, token
        self._lease_ms = int(lease_seconds * 1000)

    def read(self, only: str | None = None) -> dict[str, FeedProof]:
        """Every feed by its name, or one. What was opened again is not proven any more."""
        # Before the feeds: what leaves one of these for a feed meanwhile is seen in both.
        parts = by_feed(Backfills(self._redis, self._keys).parts())
        names: Any = self._redis.smembers(self._keys.feeds) if only is None else ()
        before = self._rechecks([only] if only else [text_of(name) for name in names])
        found = {}
        status = self.windows.status()
        if only:
            status = {name: feed for name, feed in status.items() if name == only}
        stored: Any = self._redis.hgetall(self._keys.verified)
        after = self._rechecks(list(status))
        for name, feed in status.items():
            again = before.get(name, set()) | after[name]
            not_yet = [*feed.backlog, *feed.open, *feed.unsettled, *again]
            settled = merged(
                [
                    *without([(feed.origin_ms, feed.head_ms)], not_yet),
                    *history(feed, parts.get(name, ())),
                ]
            )
            try:
                proven = Proven.parse(text_of(stored.get(name.encode())))
            except ValueError:  # nothing yet, or somebody else's
                proven = Proven(feed.origin_ms)
            # It may have been removed, and planned anew. Before it is reconciled it may be one that
            # a Redis has lost, which is extended back.
            live_from_ms = max(proven.live_from_ms if feed.reconciled else 0, feed.origin_ms)
            proven = replace(proven, live_from_ms=live_from_ms)
            begin_ms = min([feed.origin_ms, *(start for start, _ in settled[:1])])
            proof = FeedProof(feed, proven, settled, begin_ms)
            proven = proven.within(without(settled, proof.reopened))
            found[name] = proof._replace(proven=proven)
        return found

    def sink_starts(self) -> list[str]:
        """The starts of the sink that were seen, in its words, the latest last."""
        kept: Any = self._redis.hget(self._keys.verified, _SINK_STARTS)
        try:
            found = json.loads(text_of(kept) or "[]")
        except (ValueError, RecursionError):
            return []  # somebody else's
        return [str(one) for one in found] if isinstance(found, list) else []

    def save(
        self,
        proofs: Mapping[str, FeedProof],
        *,
        begins: bool = True,
        sink_starts: Sequence[str] = (),
    ) -> bool:
        """Keep what is proven, by feed name, and the lease; False if another one has that.

        Unless it ``begins``, also if another one may have had the lease since it was ours.
        ``sink_starts``, if any, take the place of those that were seen.
        """
        return self._lease(self._lease_ms, proofs, begins=begins, sink_starts=sink_starts)

    def release(self) -> None:
        """End the lease, if it is ours."""
        self._lease(0, {}, begins=False)

    def _lease(
        self,
        lease_ms: int,
        proofs: Mapping[str, FeedProof],
        *,
        begins: bool,
        sink_starts: Sequence[str] = (),
    ) -> bool:
        fields = {feed: one.kept.encode() for feed, one in proofs.items()}
        if sink_starts:
            fields[_SINK_STARTS] = json.dumps(sink_starts)
        reopened = {name: text for name, one in proofs.items() if (text := one.feed.reopened)}
        return bool(
            self._scripts.call(
                "verified",
                [self._keys.verify_lease, self._keys.verified, *map(self._keys.feed, reopened)],
                token=self._token,
                lease_ms=lease_ms,
                keep_ms=_LAST_HOLDER_KEPT_MS,
                begins=begins,
                proven=fields,
                reopened=list(reopened.values()),
            )
        )

    def _rechecks(self, feeds: Sequence[str]) -> dict[str, set[Range]]:
        """What of each feed is to be counted again."""
        with self._redis.pipeline(transaction=False) as pipe:
            for feed in feeds:
                pipe.zrange(self._keys.rechecks(feed), 0, -1)
            found: list[Any] = pipe.execute()
        return {feed: set(_bounds(members)) for feed, members in zip(feeds, found, strict=True)}


def _bounds(rechecks: Sequence[bytes]) -> Iterator[Range]:
    """Those of rechecks as they are kept: there are hundreds, and nothing else of them matters."""
    for member in rechecks:
        with suppress(ValueError):  # somebody else's: the extractor removes it
            start, end = member.split(b" ", 2)[:2]
            yield int(start), int(end)
