"""Which configurations were in force, in the sink: a seal is judged by that of its time.

Each change of a feed's configuration is a point of ``etl_configuration`` beside the seals, at the
time of Redis' clock when the extractor took it over. It says what was in force before and after, so
that it may expire with the last window from before. See docs/line-protocol.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from redis import Redis

from common.state.feeds import Range
from common.state.history import Change, changes_of, noted
from common.state.keys import Keys, split_feed

MEASUREMENT = "etl_configuration"
# InfluxDB does not take longer strings everywhere: what was in force is unknown then.
_TEXT_MAX_CHARS = 60_000


@dataclass(frozen=True, slots=True)
class Record:
    """A change; ``before`` and ``after`` as in :mod:`common.config.in_force`, empty if unknown."""

    query: str
    tier: str
    at_ms: int
    before: str
    after: str
    unsettled: Sequence[Range]

    def line(self, pipeline: str) -> str:
        """As line protocol."""
        unsettled = json.dumps(self.unsettled, separators=(",", ":"))
        return (
            f"{MEASUREMENT},pipeline={pipeline},query={self.query},tier={self.tier} "
            f"before={_text(self.before)},after={_text(self.after)},unsettled={_text(unsettled)} "
            f"{self.at_ms}\n"
        )


@dataclass(frozen=True, slots=True)
class Due:
    """All records of one feed, and what Redis notes of its changes."""

    feed: str
    changes: bytes
    records: Sequence[Record]


@dataclass
class Configurations:
    """What Redis notes of configurations, and what of it is still to be written.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    redis: Redis
    keys: Keys
    _written: dict[str, bytes] = field(default_factory=dict, init=False)

    def due(self) -> Iterator[Due]:
        """All records of each feed that has other ones than those known as written."""
        for feed, changes in noted(self.redis, self.keys).items():
            if self._written.get(feed) != changes:
                yield Due(feed, changes, _records(feed, changes_of(self.redis, self.keys, feed)))

    def written(self, due: Due) -> None:
        """These are known as written, until there are others."""
        self._written[due.feed] = due.changes


def _records(feed: str, changes: Sequence[Change]) -> list[Record]:
    query, tier = split_feed(feed)
    earlier = ["", *(change.configuration for change in changes)]
    return [
        Record(query, tier, one.at_ms, before, one.configuration, one.unsettled)
        for before, one in zip(earlier, changes, strict=False)
        if one.at_ms
    ]


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped if len(value) <= _TEXT_MAX_CHARS else ""}"'
