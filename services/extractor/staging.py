"""Grouping the series of a window into raw entries of a good size.

Without relabelling, two series of a response are two series at the sink, and they are grouped as
they come. Relabelling can make them one, and so can carrying native histograms; what collides must
then meet in one entry, because that is where the collision is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import QueryTooLarge
from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples

# From a query's kind and name and its label sets to what each becomes at the sink: a series key, or
# anything else than bytes for one that never gets there or collides with none.
Identities = Callable[[str, str, Sequence[bytes]], Sequence[object]]

# Label sets of one entry, before compression: long labels must not make an entry huge.
ENTRY_LABEL_BYTES = 16 << 20
# What is held of a window that has to be grouped: 16 bytes for each sample, and the labels.
MAX_GROUPED_SAMPLES = 2_000_000
MAX_GROUPED_LABEL_BYTES = 64 << 20
# Of samples to be rolled up an entry holds so many times more: few points become of them, and most
# of the cost would be what every entry costs, however little it holds.
ROLLUP_ENTRIES = 5
# Series that are remembered while a window streams by, 8 bytes each.
MAX_IDENTITIES = 2_000_000

# The fingerprint of a series that collides with no other.
NO_IDENTITY = 0


class CollisionAcrossEntries(Exception):
    """A series collides with one whose entry was already handed out.

    The window must be begun anew, ``grouped``; nothing that was handed out may be used.
    """


@dataclass
class EntryBuilder:
    """Turns the blocks of a window into entries of at most ``entry_samples`` samples.

    Series stay whole where they fit; one that is longer is cut in time. With ``identities``, series
    of equal identity share an entry; together they are cut in time, all at the same times, if they
    are longer than an entry (samples of one timestamp stay together even if they exceed it). For a
    rollup nothing is cut, whatever its length. ``joined``: the names of the queries whose series
    may be of equal identity; None = all.
    """

    entry_samples: int
    identities: Identities | None = None
    _: KW_ONLY
    joined: Collection[str] | None = None
    entry_label_bytes: int = ENTRY_LABEL_BYTES
    max_grouped_samples: int = MAX_GROUPED_SAMPLES
    max_grouped_label_bytes: int = MAX_GROUPED_LABEL_BYTES
    max_identities: int = MAX_IDENTITIES

    def __call__(
        self, blocks: Iterable[Samples], origin: Origin, *, grouped: bool = False
    ) -> Iterator[SampleBatch]:
        """The entries of a window, each handed out as soon as it is full.

        Streams: it holds one entry, and raises :class:`CollisionAcrossEntries` when that was not
        enough. With ``grouped`` it holds all of the window that has an identity, and raises
        :class:`~common.errors.QueryTooLarge` when that does not fit.
        """
        packing = self.begin(origin, grouped=grouped)
        for block in blocks:
            yield from packing.add(block)
        yield from packing.end()

    def begin(self, origin: Origin, *, grouped: bool = False) -> Packing:
        """The same for blocks that are handed over one by one."""
        return Packing(self, origin, grouped=grouped)


class Packing:
    """The entries of one window, while its blocks arrive; :class:`EntryBuilder` explains it."""

    def __init__(self, build: EntryBuilder, origin: Origin, *, grouped: bool) -> None:
        self._build, self._origin = build, origin
        is_joined = build.joined is None or origin.query in build.joined
        self._identities = build.identities if is_joined else None
        entry_samples = build.entry_samples * (1 if origin.rollup is None else ROLLUP_ENTRIES)
        self._entries = _Entries(origin, entry_samples, build.entry_label_bytes)
        self._grouped = grouped and self._identities is not None
        self._groups: dict[bytes, list[Samples]] = {}
        self._samples = self._label_bytes = 0
        if self._identities is not None and not grouped:
            self._entries.seen = SeenIdentities(build.max_identities)

    def add(self, block: Samples) -> Iterator[SampleBatch]:
        """Take a block; the entries that are full by now."""
        if self._identities is None:
            yield from self._entries.add_each(block)
            return
        keys = self._identities(self._origin.kind, self._origin.query, block.series)
        if self._grouped:
            alone = np.array([not isinstance(key, bytes) for key in keys], np.bool_)
            self._group(block.of_series(~alone), [key for key in keys if isinstance(key, bytes)])
            yield from self._entries.add_each(block.of_series(alone))
        else:
            yield from self._entries.add_each(block, fingerprints(keys))

    def end(self) -> Iterator[SampleBatch]:
        """The entries that are left."""
        for parts in self._groups.values():
            yield from self._entries.add_whole(Samples.join(parts))
        yield from self._entries.flush()

    def _group(self, block: Samples, keys: Sequence[bytes]) -> None:
        """Put the series of a block to those of the same identity."""
        build = self._build
        self._samples += len(block)
        self._label_bytes += _label_bytes(block)
        if (
            self._samples > build.max_grouped_samples
            or self._label_bytes > build.max_grouped_label_bytes
        ):
            raise QueryTooLarge(
                f"series that become one at the sink lie far apart in more than "
                f"{build.max_grouped_samples} samples of {self._origin.query}"
            )
        ends = block.ends
        for index, key in enumerate(keys):
            self._groups.setdefault(key, []).append(block.part(index, index + 1, ends))


def fingerprints(identities: Iterable[object]) -> NDArray[np.int64]:
    """A hash of each identity, ``NO_IDENTITY`` for those that are no bytes.

    Different identities may share a hash: whoever takes them for equal must be right all the same.
    """
    return np.array(
        [hash(key) or 1 if isinstance(key, bytes) else NO_IDENTITY for key in identities], np.int64
    )


class SeenIdentities:
    """Which series were already handed out: a set of fingerprints, 8 bytes each."""

    def __init__(self, max_identities: int) -> None:
        self._known = np.empty(0, np.int64)
        self._max_identities = max_identities

    def any(self, prints: NDArray[np.int64]) -> bool:
        """Whether one of ``prints`` is in the set."""
        wanted = prints[prints != NO_IDENTITY]
        if not len(self._known) or not len(wanted):
            return False
        places = np.searchsorted(self._known, wanted)
        places[places == len(self._known)] = 0
        return bool((self._known[places] == wanted).any())

    def add(self, prints: NDArray[np.int64]) -> None:
        """Put ``prints`` into the set; raises :class:`QueryTooLarge` when it is full."""
        both = np.concatenate((self._known, np.sort(prints[prints != NO_IDENTITY])))
        if len(both) > self._max_identities:
            raise QueryTooLarge(
                f"more than {self._max_identities} series in one window, which may become one"
            )
        # Two sorted runs: a stable sort merges them.
        self._known = np.sort(both, kind="stable")


class _Entries:
    """Fills one entry after the other."""

    def __init__(self, origin: Origin, entry_samples: int, entry_label_bytes: int) -> None:
        self.seen: SeenIdentities | None = None
        self._origin = origin
        self._entry_samples = entry_samples
        self._entry_label_bytes = entry_label_bytes
        # The series that was taken last, into whichever entry.
        self._last_series = b""
        # Whether another label set of its entry has the same identity.
        self._last_is_shared = False
        self._begin()

    def _begin(self) -> None:
        self._parts: list[Samples] = []
        self._prints: list[NDArray[np.int64]] = []
        self._samples = 0
        self._label_bytes = 0

    def add_each(
        self, block: Samples, prints: NDArray[np.int64] | None = None
    ) -> Iterator[SampleBatch]:
        """Take the series of ``block``, as many into each entry as fit."""
        sample_ends = block.ends
        label_ends = np.cumsum([len(labels) for labels in block.series])
        first = 0
        while first < len(block.series):
            sample_room = self._entry_samples - self._samples
            label_room = self._entry_label_bytes - self._label_bytes
            last = min(
                _that_fit(sample_ends, first, sample_room), _that_fit(label_ends, first, label_room)
            )
            if last == first and self._parts:
                yield from self.flush()
                continue
            # One that no entry can hold is taken alone, to be cut.
            last = max(last, first + 1)
            part = block.part(first, last, sample_ends)
            part_prints = _NO_PRINTS if prints is None else prints[first:last]
            self._check(part, part_prints)
            yield from self._take(part, part_prints)
            first = last

    def add_whole(self, group: Samples) -> Iterator[SampleBatch]:
        """Take ``group`` into one entry, or cut it in time if it is longer than an entry."""
        if (
            self._samples + len(group) > self._entry_samples
            or self._label_bytes + _label_bytes(group) > self._entry_label_bytes
        ):
            yield from self.flush()
        yield from self._take(group, _NO_PRINTS)

    def flush(self) -> Iterator[SampleBatch]:
        """Hand out the entry that is being filled, if it holds anything."""
        if not self._parts:
            return
        entry = Samples.join(self._parts)
        if self.seen is not None:
            self.seen.add(np.concatenate(self._prints))
        self._begin()
        yield SampleBatch(self._origin, entry)

    def _check(self, part: Samples, prints: NDArray[np.int64]) -> None:
        if self.seen is None:
            return
        # A long series goes on in the next entry: it does not collide with itself.
        goes_on = part.series[0] == self._last_series
        if self.seen.any(prints[1:] if goes_on else prints):
            raise CollisionAcrossEntries
        if goes_on and self._last_is_shared and self.seen.any(prints[:1]):
            raise CollisionAcrossEntries
        if not goes_on or len(part.series) > 1:
            self._last_is_shared = self._shares_last(part, prints)
        self._last_series = part.series[-1]

    def _shares_last(self, part: Samples, prints: NDArray[np.int64]) -> bool:
        """Whether the entry, with ``part``, has the last series' identity under other labels."""
        last = prints[-1]
        if last == NO_IDENTITY:
            return False
        pairs = (*zip(self._parts, self._prints, strict=True), (part, prints))
        return any(
            block.series[index] != part.series[-1]
            for block, of_block in pairs
            for index in np.flatnonzero(of_block == last).tolist()
        )

    def _take(self, block: Samples, prints: NDArray[np.int64]) -> Iterator[SampleBatch]:
        # What a rollup joins must not be parted.
        if len(block) <= self._entry_samples or self._origin.rollup is not None:
            self._put(block, prints)
            return
        for piece in _cut_in_time(block, self._entry_samples):
            yield from self.flush()
            self._put(piece, prints)

    def _put(self, block: Samples, prints: NDArray[np.int64]) -> None:
        self._parts.append(block)
        self._prints.append(prints)
        self._samples += len(block)
        self._label_bytes += _label_bytes(block)


_NO_PRINTS = np.empty(0, np.int64)


def _label_bytes(block: Samples) -> int:
    return sum(map(len, block.series))


def _that_fit(ends: NDArray[np.int64], first: int, room: int) -> int:
    """Up to where the items from ``first`` on fit into ``room``; ``ends`` are running sums."""
    begin = int(ends[first - 1]) if first else 0
    return max(first, int(np.searchsorted(ends, begin + room, "right")))


def _cut_in_time(block: Samples, samples: int) -> Iterator[Samples]:
    """Pieces of at most ``samples`` samples, all series cut at the same times.

    Samples of one timestamp are not parted, even if they are more.
    """
    times_ms = np.sort(block.timestamps_ms)
    first = 0
    while first < len(times_ms):
        last = len(times_ms)
        if last - first > samples:
            last = int(np.searchsorted(times_ms, times_ms[first + samples], "left"))
        if last == first:
            last = int(np.searchsorted(times_ms, times_ms[first], "right"))
        later = block.timestamps_ms >= times_ms[first]
        yield block.where(later & (block.timestamps_ms <= times_ms[last - 1]))
        first = last
