"""The entries of one call to the handler, which bucket each is for, and how they are grouped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf

from common.config.load import LoadSettings
from common.errors import WireError
from common.samples.bucket_of_key import mark_of_bucket
from common.samples.gzip_join import mark_of
from common.state.verdict import Entry, Retry, Verdict
from services.loader import payload
from services.loader.buckets.other import OtherBuckets
from services.loader.lines import Lines
from services.loader.responses import Outcome

BUCKETS_CHECK = "sink_buckets"

# A body that is too large again costs a few posts.
GROW_SECONDS = 300.0


@dataclass
class Destinations:
    """The bucket of the tier, or the one of ``load.bucket_from`` that the transformer marked the
    entry with. What is marked with a bucket that is not configured any more is for the tier's.

    Dead letters of lines have no mark when they are replayed, and were perhaps made before the
    setting was: each of their lines goes where its label says now.
    """

    settings: LoadSettings
    set_ready: Callable[[str, bool, str], None]
    clock: Callable[[], float] = time.monotonic
    # Those that only some series are for.
    others: OtherBuckets = field(init=False)

    def __post_init__(self) -> None:
        bucket_from = self.settings.bucket_from
        self._of_key = None if bucket_from is None else bucket_from.of_key
        self._by_mark = {mark_of_bucket(n): n for n in (bucket_from.names if bucket_from else ())}
        tiers = {tier.bucket for tier in self.settings.tiers.values()}
        names = tuple(name for name in self._by_mark.values() if name not in tiers)
        self.others = OtherBuckets(names, self.settings.backoff_max_seconds, self.clock)

    def route(self, batch: Batch) -> None:
        """Give each entry its bucket, or the verdict that it waits for one."""
        for entry in batch.entries:
            bucket = self._of(entry)
            if bucket is None:
                reason = f"no bucket is configured for tier {entry.tier!r}"
                batch.verdicts[entry.id] = Retry(self.settings.backoff_max_seconds, reason)
            elif (wait := self.others.waiting(bucket)) is not None:
                batch.verdicts[entry.id] = wait
            else:
                batch.buckets[entry.id] = bucket

    def _of(self, entry: Entry) -> str | None:
        """None: of its tier no bucket is configured."""
        tiers = self.settings.tiers
        tier = next((one for name, one in tiers.items() if name == entry.tier), None)
        if tier is None:
            return None
        if entry.tier != "hot" or self._of_key is None:
            return tier.bucket
        lines = self._lines_of_replayed(entry)
        return next(iter(lines), self._by_mark.get(mark_of(entry.payload), tier.bucket))

    def parts(self, entry: Entry) -> list[Entry]:
        """The entry, or one for each bucket that its lines are for."""
        lines = self._lines_of_replayed(entry)
        if len(lines) < 2:
            return [entry]
        return [
            replace(
                entry,
                payload=payload.encode(some),
                samples=len(some),
                payload_key=f"{entry.payload_key} {bucket}",  # what is remembered goes by it
                digest="",
            )
            for bucket, some in lines.items()
        ]

    def _lines_of_replayed(self, entry: Entry) -> dict[str, list[bytes]]:
        """The lines for each bucket; none where the entry goes by its mark, or is unreadable."""
        of_key, found = self._of_key, dict[str, list[bytes]]()
        if of_key is None or entry.tier != "hot" or b"replayed" not in entry.fields:
            return found
        if mark_of(entry.payload):
            return found
        with suppress(WireError):
            for line in payload.decode(entry.payload, entry.samples):
                bucket = of_key(line) or self.settings.tiers["hot"].bucket
                found.setdefault(bucket, []).append(line)
        return found

    def look(self, probe: Callable[[str], Outcome]) -> None:
        """Probe one of the others, and tell which of them take nothing: all else flows."""
        if self.others.names:
            said = self.others.look(probe)
            remark = f"what is for another bucket waits: {said}" if said else ""
            self.set_ready(BUCKETS_CHECK, True, remark)


@dataclass(slots=True)
class Group:
    """Entries of one bucket that are posted together, until ``deadline_seconds`` of the clock.

    ``known`` holds, by entry id, what is known of the lines of entries that were inflated, and the
    lines themselves while the group is searched.
    ``suspect``: the server fails at this (single) entry again and again while others pass; its
    posts search for what the server fails at.
    """

    bucket: str
    deadline_seconds: float = inf
    entries: list[Entry] = field(default_factory=list)
    known: dict[str, Lines] = field(default_factory=dict)
    suspect: bool = False
    samples: int = 0
    payload_bytes: int = 0

    @property
    def ids(self) -> list[str]:
        """Ids of the entries."""
        return [entry.id for entry in self.entries]

    def add(self, entry: Entry) -> None:
        """Take an entry in."""
        self.entries.append(entry)
        self.samples += entry.samples
        self.payload_bytes += len(entry.payload)


@dataclass
class GroupSamples:
    """How many samples are grouped at most: fewer once a body was too large, then more again.

    Each time so much passed without one that was, twice as many are tried.
    """

    most: int
    clock: Callable[[], float] = time.monotonic
    _now: int = field(init=False)
    _grow_at_seconds: float = field(default=inf, init=False)

    def __post_init__(self) -> None:
        self._now = self.most

    @property
    def now(self) -> int:
        """What the next groups may have."""
        if self.clock() >= self._grow_at_seconds:
            self._set(2 * self._now)
        return self._now

    def too_large(self, samples: int) -> None:
        """So many were too large for the sink."""
        self._set(min(self._now, samples // 2))

    def _set(self, samples: int) -> None:
        self._now = max(1, min(samples, self.most))
        self._grow_at_seconds = self.clock() + GROW_SECONDS


@dataclass(kw_only=True)
class Groups:
    """Fills groups with entries as they come, up to limits; an entry is never split."""

    max_samples: int
    max_bytes: int
    deadline_seconds: float
    all: list[Group] = field(default_factory=list, init=False)
    _growing: dict[str, Group] = field(default_factory=dict, init=False)

    def add(self, bucket: str, entry: Entry) -> None:
        """Put an entry beside others of its bucket, if they have room for it."""
        group = self._growing.get(bucket)
        if (
            group is None
            or group.samples + entry.samples > self.max_samples
            or group.payload_bytes + len(entry.payload) > self.max_bytes
        ):
            group = self._growing[bucket] = Group(bucket, self.deadline_seconds)
            self.all.append(group)
        group.add(entry)

    def alone(self, bucket: str, entry: Entry, lines: Lines | None, *, suspect: bool) -> None:
        """Give an entry a post of its own."""
        group = Group(bucket, self.deadline_seconds, suspect=suspect)
        group.add(entry)
        if lines is not None:
            group.known[entry.id] = lines
        self.all.append(group)


class Batch:
    """Entries, their verdicts by id as they come in, and the count of lines found bad.

    ``probing``: the loader is paused because too much was rejected, and this batch is the probe.
    ``repeated``: ids of entries that were settled before, and are here again because that could
    not be carried out (the dead letters are at their cap). They were counted then.
    ``interrupted``: a search in it is to go on later, so lines without a verdict say nothing.
    """

    def __init__(
        self, entries: Sequence[Entry], *, probing: bool, repeated: Collection[str] = ()
    ) -> None:
        self.entries = entries
        self.verdicts: dict[str, Verdict] = {}
        self.buckets: dict[str, str] = {}  # by id
        self.probing = probing
        self.repeated = frozenset(repeated)
        self.samples = sum(entry.samples for entry in entries if entry.id not in self.repeated)
        self.interrupted = False
        self.bad = 0
        self._lock = threading.Lock()

    @property
    def open(self) -> list[tuple[Entry, str]]:
        """The entries without a verdict, and the bucket of each."""
        return [(one, self.buckets[one.id]) for one in self.entries if one.id not in self.verdicts]

    def add_bad(self, lines: int, ids: Collection[str] = ()) -> None:
        """More bad lines, of the entries with these ids if they are known; from any thread."""
        if ids and self.repeated.issuperset(ids):
            return
        with self._lock:
            self.bad += lines
