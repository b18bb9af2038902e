"""The conservation ledger, read as of one instant.

``extracted = loaded + dropped + dead-lettered + in flight``, in samples, for each feed (query and
tier). The scripts that move the data count the left side and what is settled. What is in flight is
not a counter but is found in the streams: an entry counts only while its in-flight record, its
stream entry and its payload are all there, and somebody has it or will be given it. Whatever
disappears therefore shows as imbalance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from redis import Redis

from common.state.audit import MOST_ENTRIES, AuditMovedError, AuditReader, Reading
from common.state.keys import Keys
from common.state.scripts import Scripts

# What several steps found missing is read again: Redis may have failed over between two of them.
_MOST_READINGS = 4
_NUMBER = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Depth:
    """What one stream holds.

    ``lost_samples``: feed → samples that are recorded as in flight, but whose entry or payload was
    deleted, or which lie there delivered and acknowledged, so that nobody will be given them.
    ``unaccounted_entries``: entries that have no in-flight record.
    """

    entries: int = 0
    samples: int = 0
    bytes: int = 0
    oldest_ms: int = 0
    feeds: Mapping[str, int] = field(default_factory=dict)
    lost_samples: Mapping[str, int] = field(default_factory=dict)
    unaccounted_entries: int = 0
    unaccounted_samples: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """The ledger of one feed, in samples."""

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
    deleted_dead_samples: Mapping[str, int]
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
        """Samples recorded as in flight or dead whose entry, payload or dead letter was deleted."""
        return sum(self.deleted_dead_samples.values()) + sum(
            sum(depth.lost_samples.values()) for depth in self.streams.values()
        )


class Ledger:
    """Reads the ledger; writing is done only by the scripts that move data."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        now_ms: Callable[[], int] | None = None,
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        self._reader = AuditReader(redis, keys, Scripts(redis, now_ms), most_entries)

    def audit(self) -> Audit:
        """Read everything as of one instant, in steps that hold Redis up for milliseconds.

        Raises :class:`AuditMovedError` when so much is settled that none of several readings was
        exact, :class:`redis.exceptions.RedisError` when the server cannot be reached.
        """
        suspected = False
        for _ in range(_MOST_READINGS):
            reading = self._reader.read()
            if reading is None:
                continue
            audit = _audit_of(reading)
            is_whole = not audit.imbalance_samples and not audit.lost_samples
            if is_whole or reading.at_once or suspected:
                return audit
            suspected = True
        raise AuditMovedError("the ledger moves faster than it can be audited")


def _audit_of(reading: Reading) -> Audit:
    head, deleted = reading.head, reading.deleted_dead_samples
    streams = {
        name: Depth(
            entries=walk.entries,
            samples=walk.samples,
            bytes=walk.size_bytes,
            oldest_ms=walk.oldest_ms,
            feeds=dict(walk.feeds),
            lost_samples=dict(walk.lost_samples),
            unaccounted_entries=walk.unaccounted_entries,
            unaccounted_samples=walk.unaccounted_samples,
        )
        for name, walk in reading.walks.items()
    }
    return Audit(
        now_ms=int(head["now_ms"]),
        accounts=accounts_of(dict(head["ledger"]), streams, deleted),
        streams=streams,
        staged_bytes=int(head["staged_bytes"]),
        dead_letter_entries=int(head["dead_letter_entries"]),
        deleted_dead_samples=deleted,
        back_pressure=bool(head["back_pressure"]),
    )


def accounts_of(
    ledger: Mapping[str, str | int],
    streams: Mapping[str, Depth],
    deleted_dead: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Account]:
    """Accounts by feed from the ledger's fields ``feed|what[|reason]`` and what is in flight.

    A field that holds no number counts as 0, so that it shows as imbalance.
    """
    counted: dict[str, dict[str, int]] = {
        feed: {} for depth in streams.values() for feed in depth.feeds
    }
    for name, value in ledger.items():
        feed, _, what = name.partition("|")
        counted.setdefault(feed, {})[what] = _number(value)
    return {
        feed: Account(
            extracted=samples.get("extracted", 0),
            loaded=samples.get("loaded", 0),
            dropped={
                what.removeprefix("dropped|"): dropped
                for what, dropped in samples.items()
                if what.startswith("dropped|")
            },
            dead_lettered=samples.get("dead_lettered", 0) - deleted_dead.get(feed, 0),
            in_flight=sum(depth.feeds.get(feed, 0) for depth in streams.values()),
        )
        for feed, samples in sorted(counted.items())
    }


def _number(value: str | int) -> int:
    return int(value) if isinstance(value, int) or _NUMBER.fullmatch(value) else 0
