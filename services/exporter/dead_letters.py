"""Counts dead letters by stage and reason, a bounded number at a time.

There may be a hundred thousand of them. New ones are added to what is known. Only when some were
replayed or purged is all counted again; while that takes longer than one reading, the previous
counts stand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from redis import Redis

from common.state.dead_letters.counted import counted
from common.state.keys import Keys
from common.state.scripts import Scripts
from services.exporter.ledger import MAX_REASONS, OTHER, word
from services.exporter.poller import KeepOn

PAGE_ENTRIES = 500
MAX_PAGES = 40


@dataclass(slots=True)
class Count:
    """Dead letters of one stage and reason."""

    entries: int = 0
    samples: int = 0


Counts = dict[tuple[str, str], Count]


class DeadLetterCounts:
    """Keeps count over several readings."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        page_entries: int = PAGE_ENTRIES,
        max_pages: int = MAX_PAGES,
    ) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._keys = keys
        self._page_entries = page_entries
        self._max_pages = max_pages
        self._counting: Counts = {}
        self._after = ""
        self._known: Counts | None = None

    def read(self, keep_on: KeepOn) -> Counts | None:
        """The counts by stage and reason; None before all were counted once.

        Raises :class:`redis.exceptions.RedisError` when Redis does not respond.
        """
        for _ in range(self._max_pages):
            if not keep_on():
                break
            page = json.loads(
                self._scripts.read(
                    "dead_letters/counts",
                    [self._keys.dead],
                    after=self._after,
                    most=self._page_entries,
                ).decode("utf-8", "replace")
            )
            self._add(page["counts"])
            self._after = page["last"]
            if page["more"]:
                continue
            counted = sum(count.entries for count in self._counting.values())
            if counted == page["length"]:
                self._known = {
                    key: Count(h.entries, h.samples) for key, h in self._counting.items()
                }
                break
            # Some that were counted are no longer there: count what is.
            self._counting, self._after = {}, ""
        return self._known

    def only_counted(self) -> dict[tuple[str, str], int]:
        """Samples of the dead letters that are not kept, by stage and reason."""
        found: dict[tuple[str, str], int] = {}
        for letters in counted(self._redis, self._keys):
            key = (word(letters.stage), word(letters.reason))
            if key not in found and len(found) >= MAX_REASONS:
                key = (OTHER, OTHER)
            found[key] = found.get(key, 0) + letters.samples
        return found

    def _add(self, counts: dict[str, list[int]]) -> None:
        for name, (entries, samples) in sorted(dict(counts).items()):
            stage, _, reason = name.partition("|")
            key = (word(stage), word(reason))
            if key not in self._counting and len(self._counting) >= MAX_REASONS:
                key = (OTHER, OTHER)
            count = self._counting.setdefault(key, Count())
            count.entries += int(entries)
            count.samples += int(samples)
