"""Redis as a source of series: read on a timer, each part by itself, nothing kept that is not so.

What could not be read is absent rather than as it was. The longer the audit takes, the more rarely
all is read; in between Redis is only asked whether it is there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from common.runtime.metrics_table import EXTRACTOR, LOADER, TRANSFORMER
from common.runtime.process import Events
from common.state.backfills import Backfills, by_feed
from common.state.connection.server import eviction_by
from common.state.keys import GROUP, POINTS, RAW, Keys
from common.state.ledger import Ledger
from common.state.proven import FeedProof, ProofRecord
from common.state.status.reading import gaps_of, running
from common.state.stream import RELEASED
from common.state.windows import WindowSet
from common.state.workers import Workers
from services.exporter.dead_letters import DeadLetterCounts
from services.exporter.ledger import publish_audit, publish_feeds
from services.exporter.poller import GRACE_SECONDS, KeepOn
from services.exporter.reading import Reading
from services.exporter.rq_keys import queue_lengths, workers_alive
from services.exporter.series import Page, PublishedPage

# Of Redis' time, the share that the audit may take.
MAX_AUDIT_SHARE = 0.02
# The verifier works in steps of minutes, and its record is long.
PROOFS_EVERY_SECONDS = 60.0
_AOF_STATUS = {"write": "aof_last_write_status", "rewrite": "aof_last_bgrewrite_status"}
_READERS = {RAW: TRANSFORMER, POINTS: LOADER}
_DETAIL_CHARS = 300


class RedisSource:
    """Reads Redis; after each reading ``page`` shows all that is known.

    ``set_ready`` gets the name of the check, whether Redis can be read, and why not; ``show`` what
    was read, and how many seconds it is true at most.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        telemetry: Events,
        set_ready: Callable[[str, bool, str], None],
        *,
        poll_seconds: float,
        worker_silent_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[Reading, float], None] = lambda reading, valid_seconds: None,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._telemetry = telemetry
        self._set_ready = set_ready
        self._poll_seconds = poll_seconds
        self._silent_seconds = worker_silent_seconds
        self._clock = clock
        self._ledger = Ledger(redis, keys)
        self._windows = WindowSet(redis, keys)
        self._backfills = Backfills(redis, keys)
        self._dead_letters = DeadLetterCounts(redis, keys)
        self._workers = Workers(redis, keys)
        # Nobody's lease: it is only read.
        self._proof_record = ProofRecord(redis, keys, token="", lease_seconds=0)
        self._proofs: Mapping[str, FeedProof] = {}
        self._proofs_due = clock()
        self._show = show
        self._failures: Counter[str] = Counter(dict.fromkeys(self._parts(), 0))
        self._missing: dict[str, str] = {}
        self._audit_seconds = 0.0
        self._resting_until = 0.0
        self.page = PublishedPage(clock)

    def step(self, keep_on: KeepOn) -> float:
        """Read everything and publish, unless the last audit was too long for that; in how many
        seconds to do it again.

        A Redis that goes away in between is read at once, so that it is not shown as it was.
        """
        began = self._clock()
        if began < self._resting_until and self._answers():
            return min(self._poll_seconds, self._resting_until - began)
        reading = self._reading = Reading(Page())
        try:
            detail = self._read(reading, keep_on)
            up = True
        except (RedisError, OSError) as error:
            up = False
            detail = f"Redis cannot be read: {error}"[:_DETAIL_CHARS]
            reading = Reading(Page(), detail)
            self._failures["connection"] += 1
        if not keep_on():
            return 0.0
        page = reading.page
        page.set("etl_redis_up", float(up))
        page.set("etl_redis_read_seconds", self._clock() - began)
        for part, count in self._failures.items():
            page.inc("etl_redis_read_failures_total", count, part=part)
        self._set_ready("redis", up, detail)
        # One that is away has no audit to be spared.
        rest_seconds = self._audit_seconds / MAX_AUDIT_SHARE if up else 0.0
        valid_seconds = max(self._poll_seconds, rest_seconds) + GRACE_SECONDS
        self.page.publish(page, valid_seconds)
        self._show(reading, valid_seconds)
        self._resting_until = (
            self._clock() + rest_seconds if rest_seconds > self._poll_seconds else 0.0
        )
        return self._poll_seconds

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _answers(self) -> bool:
        try:
            self._redis.ping()
        except (RedisError, OSError):
            return False
        return True

    def _parts(self) -> dict[str, Callable[[Page, KeepOn], None]]:
        """What is read one after the other; one that cannot be read does not hide the others."""
        return {
            "ledger": self._read_ledger,
            "windows": self._read_windows,
            "workers": self._read_workers,
            "proofs": self._read_proofs,
            "consumers": self._read_consumers,
            "queues": self._read_queues,
            "dead_letters": self._read_dead_letters,
        }

    def _read(self, reading: Reading, keep_on: KeepOn) -> str:
        """Fill the reading; what is remarkable about Redis and what could not be read of it."""
        reading.remark = self._read_info(reading.page)
        missing: dict[str, str] = {}
        for part, read in self._parts().items():
            # A part of its own, so that half of one is never shown.
            piece = Page()
            try:
                read(piece, keep_on)
            except (RedisConnectionError, RedisTimeoutError):
                raise
            except (RedisError, ValueError, TypeError, KeyError, AttributeError) as error:
                self._failures[part] += 1
                missing[part] = f"{type(error).__name__}: {error}"[:_DETAIL_CHARS]
                if part not in self._missing:
                    self._telemetry.emit("ledger_incomplete", part=part, error=missing[part])
            else:
                reading.page.add(piece)
        reading.missing = self._missing = missing
        remarks = [reading.remark] if reading.remark else []
        remarks += [f"{part} cannot be read: {why}" for part, why in missing.items()]
        return "; ".join(remarks)

    def _read_info(self, telemetry: Page) -> str:
        try:
            info: Any = self._redis.info("memory", "persistence", "stats")
        except NoPermissionError as error:
            return f"its memory cannot be read: {error}"
        if "acl_access_denied_auth" in info:
            refused = int(info["acl_access_denied_auth"])
            telemetry.inc("etl_redis_logins_refused_total", refused)
        if info.get("aof_enabled"):
            for operation, key in _AOF_STATUS.items():
                telemetry.set("etl_redis_aof_ok", float(info[key] == "ok"), operation=operation)
        telemetry.inc("etl_redis_evicted_keys_total", int(info["evicted_keys"]))
        unsafe = eviction_by(info)
        telemetry.set("etl_redis_may_evict", float(unsafe is not None))
        used, most = int(info["used_memory"]), int(info.get("maxmemory", 0))
        telemetry.set("etl_redis_memory_used_bytes", used)
        if not most:
            return ""
        telemetry.set("etl_redis_memory_max_bytes", most)
        full = f"its memory is full: {used} of {most} bytes" if used >= most else None
        return "; ".join(filter(None, (full, unsafe)))

    def _read_ledger(self, telemetry: Page, keep_on: KeepOn) -> None:
        began = self._clock()
        audit = self._ledger.audit()
        self._audit_seconds = self._clock() - began
        telemetry.set("etl_redis_audit_seconds", self._audit_seconds)
        publish_audit(telemetry, audit)
        self._reading.audit = audit

    def _read_windows(self, telemetry: Page, keep_on: KeepOn) -> None:
        # Read before the feeds, which may join them meanwhile.
        parts = by_feed(self._backfills.parts())
        feeds = self._windows.status()
        publish_feeds(telemetry, feeds, parts)
        due: Any = self._redis.hlen(self._keys.seals_due)
        telemetry.set("etl_seals_due", due)
        backfills = running(self._backfills.all())
        gaps = gaps_of(self._windows, (name for name, feed in feeds.items() if feed.gaps))
        reading = self._reading
        reading.feeds, reading.parts = feeds, parts
        reading.backfills, reading.gaps = backfills, gaps

    def _read_workers(self, telemetry: Page, keep_on: KeepOn) -> None:
        self._reading.workers = self._workers.alive()

    def _read_proofs(self, telemetry: Page, keep_on: KeepOn) -> None:
        if self._clock() >= self._proofs_due:
            self._proofs = self._proof_record.read()
            self._proofs_due = self._clock() + PROOFS_EVERY_SECONDS
        self._reading.proofs = self._proofs

    def _read_consumers(self, telemetry: Page, keep_on: KeepOn) -> None:
        for stream, stage in _READERS.items():
            consumers = self._consumers(stream)
            workers = [one for one in consumers if one["name"] != RELEASED.encode()]
            pending = sum(int(one["pending"]) for one in consumers)
            delayed = pending - sum(int(one["pending"]) for one in workers)
            alive = sum(int(one["idle"]) <= self._silent_seconds * 1000 for one in workers)
            telemetry.set("etl_stream_pending_entries", pending, stream=stream)
            telemetry.set("etl_stream_delayed_entries", delayed, stream=stream)
            telemetry.set("etl_workers", alive, stage=stage)

    def _consumers(self, stream: str) -> list[Any]:
        """The consumers of a stream's group; a stream that nobody has read yet has none."""
        try:
            found: Any = self._redis.xinfo_consumers(self._keys.stream(stream), GROUP)
        except ResponseError as error:
            if "no such key" in str(error) or "NOGROUP" in str(error):
                return []
            raise
        return list(found)

    def _read_queues(self, telemetry: Page, keep_on: KeepOn) -> None:
        namespace = self._keys.namespace
        for queue, jobs in queue_lengths(self._redis, namespace).items():
            for state, count in jobs.items():
                telemetry.set("etl_rq_jobs", count, queue=queue, state=state)
        seconds, _ = self._redis.time()
        alive = workers_alive(self._redis, namespace, float(seconds), self._silent_seconds)
        telemetry.set("etl_workers", alive, stage=EXTRACTOR)

    def _read_dead_letters(self, telemetry: Page, keep_on: KeepOn) -> None:
        counts = self._dead_letters.read(keep_on)
        for (stage, reason), count in (counts or {}).items():
            telemetry.set("etl_dead_letter_entries", count.entries, stage=stage, reason=reason)
            telemetry.set("etl_dead_letter_samples", count.samples, stage=stage, reason=reason)
        only_counted = dict.fromkeys(counts or {}, 0) | self._dead_letters.only_counted()
        for (stage, reason), samples in only_counted.items():
            telemetry.set("etl_dead_letter_counted_samples", samples, stage=stage, reason=reason)
