"""The conservation ledger, read in one atomic step.

``extracted = loaded + dropped + dead-lettered + in flight``, in samples, for each feed (query and
tier). The left side and the settled part are booked by the scripts that move the data; what is in
flight is not a counter but is found by looking: an entry counts only while its in-flight record,
its stream entry and its payload are all there, and somebody has it or will be given it. Whatever
disappears therefore shows as imbalance.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from redis import Redis

from common.state.keys import GROUP, STREAMS, Keys
from common.state.scripts import Scripts

_NUMBER = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Depth:
    """What one stream holds.

    ``lost_samples``: feed → samples that are booked as in flight, but whose entry or payload is
    gone, or which lie there delivered and acknowledged, so that nobody will be given them any more.
    ``unbooked_entries``: entries that the in-flight hash does not know.
    """

    entries: int = 0
    samples: int = 0
    bytes: int = 0
    oldest_ms: int = 0
    feeds: Mapping[str, int] = field(default_factory=dict)
    lost_samples: Mapping[str, int] = field(default_factory=dict)
    unbooked_entries: int = 0
    unbooked_samples: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """The books of one feed, in samples."""

    extracted: int = 0
    loaded: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    dead_lettered: int = 0
    in_flight: int = 0

    @property
    def imbalance_samples(self) -> int:
        """Samples that were extracted and are nowhere (or, below zero, came from nowhere)."""
        settled = self.loaded + sum(self.dropped.values()) + self.dead_lettered
        return self.extracted - settled - self.in_flight


@dataclass(frozen=True, slots=True)
class Audit:
    """One instant of the pipeline: accounts by feed, depths by stream."""

    now_ms: int
    accounts: Mapping[str, Account]
    streams: Mapping[str, Depth]
    staged_bytes: int
    dead_letter_entries: int
    # Feed → samples whose dead letter somebody removed without replaying or purging it.
    gone_dead_samples: Mapping[str, int]
    back_pressure: bool

    @property
    def imbalance_samples(self) -> int:
        """Sum over feeds of the absolute imbalance, so that errors cannot cancel out."""
        return sum(abs(account.imbalance_samples) for account in self.accounts.values())

    @property
    def total(self) -> Account:
        """All feeds as one account."""
        dropped: dict[str, int] = {}
        for account in self.accounts.values():
            for reason, samples in account.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + samples
        accounts = self.accounts.values()
        return Account(
            extracted=sum(account.extracted for account in accounts),
            loaded=sum(account.loaded for account in accounts),
            dropped=dropped,
            dead_lettered=sum(account.dead_lettered for account in accounts),
            in_flight=sum(account.in_flight for account in accounts),
        )

    @property
    def lost_samples(self) -> int:
        """Samples booked as in flight or dead-lettered whose entry, payload or letter is gone."""
        return sum(self.gone_dead_samples.values()) + sum(
            sum(depth.lost_samples.values()) for depth in self.streams.values()
        )


class Ledger:
    """Reads the books; writing is done only by the scripts that move data."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        streams: Sequence[str] = STREAMS,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._scripts = Scripts(redis)
        self._keys = keys
        self._streams = streams
        self._now_ms = now_ms

    def audit(self) -> Audit:
        """Read everything at one instant.

        Raises :class:`redis.exceptions.RedisError` when the server cannot be asked.
        """
        keys = self._keys
        names = [keys.ledger, keys.staged, keys.back_pressure, keys.dead, keys.dead_held]
        for stream in self._streams:
            names += [keys.stream(stream), keys.in_flight(stream)]
        now: int | str = "" if self._now_ms is None else self._now_ms()
        reply: bytes = self._scripts.call("audit", names, [now, GROUP, *self._streams])
        # A field that somebody else wrote must not hide all the others.
        return parse_audit(json.loads(reply.decode("utf-8", "replace")))


def parse_audit(answer: Mapping[str, Any]) -> Audit:
    """An :class:`Audit` from the script's answer."""
    streams = {
        name: Depth(
            entries=int(depth["entries"]),
            samples=int(depth["samples"]),
            bytes=int(depth["bytes"]),
            oldest_ms=int(depth["oldest_ms"]),
            feeds={feed: int(n) for feed, n in dict(depth["feeds"]).items()},
            lost_samples={feed: int(n) for feed, n in dict(depth["lost"]).items()},
            unbooked_entries=int(depth["unbooked"]),
            unbooked_samples=int(depth["unbooked_samples"]),
        )
        for name, depth in answer["streams"].items()
    }
    gone = {feed: int(n) for feed, n in dict(answer["gone_dead"]).items()}
    return Audit(
        now_ms=int(answer["now_ms"]),
        accounts=accounts_of(dict(answer["ledger"]), streams, gone),
        streams=streams,
        staged_bytes=int(answer["staged_bytes"]),
        dead_letter_entries=int(answer["dead_letters"]),
        gone_dead_samples=gone,
        back_pressure=bool(answer["back_pressure"]),
    )


def accounts_of(
    ledger: Mapping[str, str | int],
    streams: Mapping[str, Depth],
    gone_dead: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Account]:
    """Accounts by feed from the ledger's fields ``feed|what[|reason]`` and what is in flight.

    A field that holds no number counts as 0, so that it shows as imbalance.
    """
    booked: dict[str, dict[str, int]] = {}
    dropped: dict[str, dict[str, int]] = {}
    for name, value in ledger.items():
        feed, _, rest = name.partition("|")
        what, _, reason = rest.partition("|")
        if what == "dropped":
            dropped.setdefault(feed, {})[reason] = _number(value)
            booked.setdefault(feed, {})
        else:
            booked.setdefault(feed, {})[what] = _number(value)
    for depth in streams.values():
        for feed in depth.feeds:
            booked.setdefault(feed, {})
    return {
        feed: Account(
            extracted=books.get("extracted", 0),
            loaded=books.get("loaded", 0),
            dropped=dropped.get(feed, {}),
            dead_lettered=books.get("dead_lettered", 0) - gone_dead.get(feed, 0),
            in_flight=sum(depth.feeds.get(feed, 0) for depth in streams.values()),
        )
        for feed, books in sorted(booked.items())
    }


def _number(value: str | int) -> int:
    return int(value) if isinstance(value, int) or _NUMBER.fullmatch(value) else 0
