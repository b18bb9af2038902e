"""Reading what was leased: windows of one query that cover the same time are read at once.

Each tier of a query is a feed of its own, and all are made of the same samples. What a worker has
leased of them is read by one request, from the beginning of the earliest to the end of the latest;
of each block that arrives every window takes what it would have been given alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from common.config import Query
from common.errors import LeaseLost, QueryTooLarge, SourceError
from common.samples.batch import Origin, SampleBatch, columns_of
from common.samples.columns import Samples
from common.samples.digest import Digest
from common.source.remote_read.doubt import Doubt
from common.state.windows import Staged, Window, WindowSet
from services.extractor.rollup_blocks import whole_series, with_last_before
from services.extractor.staging import CollisionAcrossEntries, EntryBuilder, Packing
from services.extractor.windows import Plan, floor_to

# What is held of a window until its commit.
MOST_HELD_BYTES = 1 << 20


@dataclass(slots=True)
class Read:
    """What was read of a window so far; of its ``samples``, ``histograms`` are not carried.

    ``lead_ins`` of them lie before the window. ``surplus``: how many more than the source counts
    native histograms became in it. ``digest`` is that of an ``expr``: raw samples are compared by
    their number alone.
    """

    staged: list[Staged] = field(default_factory=list)
    samples: int = 0
    histograms: int = 0  # native ones
    lead_ins: int = 0
    surplus: int = 0
    digest: Digest = field(default_factory=Digest)
    first_ms: int | None = None  # of its samples
    replica: str = ""  # the one that it was read from, of a source that has some

    @property
    def in_source(self) -> int:
        """How many raw samples of the window the source counts."""
        return self.samples - self.lead_ins - self.surplus

    def saw(self, block: Samples) -> None:
        """Note the first sample of all, and count the histograms, which no entry will hold."""
        for times_ms in (block.timestamps_ms, block.histograms_ms):
            if len(times_ms):
                first_ms = int(times_ms.min())
                self.first_ms = first_ms if self.first_ms is None else min(self.first_ms, first_ms)
        self.histograms += len(block.histograms_ms)
        self.samples += len(block.histograms_ms)


@dataclass(slots=True, eq=False)
class Taken:
    """A window that this worker has leased, with its plan, and where its feed began.

    ``lost``: it is somebody else's by now. ``failure``: why it cannot be committed, though the
    source has answered. ``committed``: what was staged of it is on its way.
    """

    plan: Plan
    window: Window
    origin_ms: int
    read: Read = field(default_factory=Read)
    lost: bool = False
    failure: SourceError | None = None
    committed: bool = False

    @property
    def whole_ms(self) -> int:
        """Where its first bucket begins, if it is one of a rollup.

        A window that was cut for another resolution may begin within a bucket.
        """
        start_ms, rollup = self.window.start_ms, self.plan.rollup
        return start_ms if rollup is None else floor_to(start_ms, rollup.resolution_ms)

    @property
    def from_ms(self) -> int:
        """Where what it needs begins."""
        rollup = self.plan.rollup
        return max(0, self.whole_ms - rollup.lead_in_ms) if rollup else self.window.start_ms

    @property
    def needs(self) -> tuple[int, int, int, int, bool]:
        """What it takes of a block depends on nothing else."""
        window, is_rollup = self.window, self.plan.rollup is not None
        return self.from_ms, self.whole_ms, window.start_ms, window.end_ms, is_rollup

    def part(self, block: Samples) -> Samples:
        """What of a block it would have been given alone."""
        window, plan = self.window, self.plan
        block = block.after(self.from_ms).up_to(window.end_ms)
        return block if plan.rollup is None else with_last_before(block, self.whole_ms)

    def saw(self, part: Samples) -> None:
        """Note what an entry of it will not tell."""
        self.read.saw(part)
        start_ms = self.window.start_ms
        if self.plan.rollup is not None:
            self.read.lead_ins += int(np.count_nonzero(part.timestamps_ms <= start_ms))
        self.read.surplus += int(np.count_nonzero(part.surplus_ms > start_ms))
        if self.plan.query.kind == "expr":
            self.read.digest.add(part.after(start_ms))


@dataclass
class _Alike:
    """Windows that are given the same samples, which are packed once."""

    taken: list[Taken]
    packing: Packing
    collided: bool = False

    def add(self, block: Samples) -> Iterator[SampleBatch]:
        part = self.taken[0].part(block)
        for one in self.taken:
            one.saw(part)
        yield from self.packing.add(part)


@dataclass
class WindowReader:
    """Reads windows and stages their entries as they are decoded.

    ``read`` gives a query's samples of ``(start_ms, end_ms]`` in blocks, as they arrive; staged
    entries are kept for ``keep_seconds``. ``tick``: a long window is work, not a standstill.
    ``replica``: which replica of the source ``read`` has read from last. ``read_whole``: what reads
    in its place where it can be read in parts as well, of a source of several replicas.
    """

    windows: WindowSet
    read: Callable[[Query, int, int], Iterable[Samples]]
    pack: EntryBuilder
    keep_seconds: float
    tick: Callable[[], None]
    replica: Callable[[], str] = lambda: ""
    read_whole: Callable[[Query, int, int], Iterable[Samples]] | None = None

    def stage(self, taken: Sequence[Taken]) -> None:
        """Stage the entries of windows of one query, which is read once.

        What concerns one window alone is noted there. Raises :class:`common.errors.SourceError`,
        :class:`common.errors.LeaseLost` when none of them is ours any more, and
        :class:`redis.exceptions.RedisError`.
        """
        for one in self._stage_trusted(taken, grouped=False):
            # Two series became one by relabelling and sat in different entries.
            self.windows.discard(one.read.staged)
            one.read = Read()
            try:
                self._stage_trusted([one], grouped=True)
            except SourceError as error:
                one.failure = error
            except LeaseLost:
                one.lost = True

    def _stage_trusted(self, taken: Sequence[Taken], *, grouped: bool) -> list[Taken]:
        """As :meth:`_stage`; what was staged before a doubt is discarded, and read by JSON."""
        while True:
            try:
                return self._stage(taken, grouped=grouped)
            except Doubt:
                for one in taken:
                    self.windows.discard(one.read.staged)
                    one.read, one.failure = Read(), None

    def _stage(self, taken: Sequence[Taken], *, grouped: bool) -> list[Taken]:
        """Those of which series of one identity have parted."""
        start_ms = min(one.from_ms for one in taken)
        end_ms = max(one.window.end_ms for one in taken)
        first = taken[0]
        in_parts = len(taken) > 1 or first.plan.middle_ms(first.window) is not None
        read = self.read_whole if self.read_whole and in_parts else self.read
        blocks = read(first.plan.query, start_ms, end_ms)
        for one in taken:
            one.read.replica = self.replica()
        if any(one.plan.rollup for one in taken):
            blocks = whole_series(blocks)
        groups: dict[object, list[Taken]] = {}
        for one in taken:
            groups.setdefault(one.needs, []).append(one)
        all_alike = [
            _Alike(group, self.pack.begin(_origin(group[0]), grouped=grouped))
            for group in groups.values()
        ]
        for block in blocks:
            self.tick()
            if all(one.lost for one in taken):
                feed = taken[0].plan.feed.name
                raise LeaseLost(f"{feed}: the window was leased to another worker")
            for alike in all_alike:
                self._put(alike, alike.add(block))
        for alike in all_alike:
            self._put(alike, alike.packing.end(), may_hold=len(taken) == 1)
        return [one for alike in all_alike if alike.collided for one in alike.taken]

    def _put(
        self, alike: _Alike, entries: Iterator[SampleBatch], *, may_hold: bool = False
    ) -> None:
        """Stage entries for each window that is still to be committed.

        The only entry of a short window, which ``may_hold`` says, goes along with its commit.
        """
        alike.taken = [one for one in alike.taken if not one.lost and one.failure is None]
        if alike.collided or not alike.taken:
            return
        try:
            for batch in entries:
                columns = columns_of(batch.samples)
                for one in alike.taken:
                    payload = replace(batch, origin=_origin(one)).encode(columns)
                    if may_hold and not one.read.staged and len(payload) <= MOST_HELD_BYTES:
                        staged = self.windows.hold(payload, len(batch))
                    else:
                        staged = self.windows.stage(payload, len(batch), self.keep_seconds)
                    one.read.staged.append(staged)
                    one.read.samples += len(batch)
        except CollisionAcrossEntries:
            alike.collided = True
        except QueryTooLarge as error:
            for one in alike.taken:
                one.failure = error


def _origin(one: Taken) -> Origin:
    feed, window = one.plan.feed, one.window
    bounds_ms = window.start_ms, window.end_ms
    return Origin(feed.query, feed.kind, feed.tier, window.id, *bounds_ms, one.plan.rollup)
