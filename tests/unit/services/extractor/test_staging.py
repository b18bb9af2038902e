"""Entries of a window: nothing lost, nothing doubled, what collides together, bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import QueryTooLarge
from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.samples.rollup import Rollup
from services.extractor.staging import (
    CollisionAcrossEntries,
    EntryBuilder,
    SeenIdentities,
    fingerprints,
)

ORIGIN = Origin("app", "select", "hot", "w1", 0, 60_000)

Sample = tuple[bytes, int, float]


def labels_of(number: int) -> bytes:
    return b'{"n":"%d"}' % number


def block_of(series: Sequence[tuple[bytes, Sequence[int]]], first_value: int = 0) -> Samples:
    """Series with their timestamps; values count up."""
    times = [time for _, series_times in series for time in series_times]
    return Samples(
        tuple(labels for labels, _ in series),
        np.array([len(series_times) for _, series_times in series], np.int64),
        np.array(times, np.int64),
        np.arange(first_value, first_value + len(times), dtype=np.float64),
    )


def samples_of(batches: Sequence[Samples | SampleBatch]) -> list[Sample]:
    found = []
    for each_batch in batches:
        batch = each_batch.samples if isinstance(each_batch, SampleBatch) else each_batch
        assert int(batch.counts.sum()) == len(batch.timestamps_ms) == len(batch.values)
        assert (batch.counts > 0).all()
        each = np.repeat(np.arange(len(batch.series)), batch.counts)
        found += [
            (batch.series[index], time, value)
            for index, time, value in zip(
                each.tolist(), batch.timestamps_ms.tolist(), batch.values.tolist(), strict=True
            )
        ]
    return found


def last_digit(kind: str, query: str, series: Sequence[bytes]) -> list[object]:
    """Series become one when their numbers end alike; those that end with 9 are dropped."""
    assert (kind, query) == ("select", "app")
    return [None if labels[-3:-2] == b"9" else labels[-3:-2] for labels in series]


@st.composite
def windows(draw: st.DrawFn) -> list[Samples]:
    """Blocks of distinct series, some of them cut over several blocks as the decoder does."""
    blocks: list[Samples] = []
    number = value = 0
    for _ in range(draw(st.integers(0, 5))):
        series: list[tuple[bytes, Sequence[int]]] = []
        for _ in range(draw(st.integers(0, 5))):
            times = [1_000 * n for n in range(draw(st.integers(1, 12)))]
            parts = draw(st.integers(1, 3)) if len(times) > 3 else 1
            size = -(-len(times) // parts)
            for begin in range(0, len(times), size):
                if begin:
                    blocks.append(block_of(series, value))
                    value += len(blocks[-1])
                    series = []
                series.append((labels_of(number), times[begin : begin + size]))
            number += 1
        blocks.append(block_of(series, value))
        value += len(blocks[-1])
    return blocks


@settings(max_examples=60, deadline=None)
@given(blocks=windows(), entry_samples=st.integers(1, 20))
def test_without_relabelling_all_samples_stream_in_order(
    blocks: list[Samples], entry_samples: int
) -> None:
    entries = list(EntryBuilder(entry_samples)(blocks, ORIGIN))
    assert samples_of(entries) == samples_of(blocks)
    assert all(0 < len(entry) <= entry_samples for entry in entries)
    assert all(entry.origin is ORIGIN for entry in entries)


def test_entries_to_be_rolled_up_are_larger() -> None:
    blocks = [block_of([(labels_of(number), [1_000, 2_000])], number) for number in range(10)]
    origin = replace(ORIGIN, rollup=Rollup.of(60_000, ["avg"]))
    assert [len(entry) for entry in EntryBuilder(2)(blocks, origin)] == [10, 10]


@settings(max_examples=100, deadline=None)
@given(blocks=windows(), entry_samples=st.integers(1, 40))
def test_what_collides_meets_in_one_entry_or_asks_to_begin_anew(
    blocks: list[Samples], entry_samples: int
) -> None:
    build = EntryBuilder(entry_samples, last_digit)
    try:
        entries = list(build(blocks, ORIGIN))
        assert samples_of(entries) == samples_of(blocks)
        assert all(0 < len(entry) <= entry_samples for entry in entries)
        _check_meetings(entries)
    except CollisionAcrossEntries:
        plain = list(EntryBuilder(entry_samples)(blocks, ORIGIN))
        with pytest.raises(AssertionError):
            _check_meetings(plain)
    grouped = list(build(blocks, ORIGIN, grouped=True))
    assert sorted(samples_of(grouped)) == sorted(samples_of(blocks))
    _check_meetings(grouped)
    # More than an entry holds only where one timestamp alone is more.
    for entry in grouped:
        assert len(entry) <= max(entry_samples, len(entry.samples.series))


def _check_meetings(entries: Sequence[SampleBatch]) -> None:
    """No two entries hold different series of one identity at the same time of theirs."""
    where: dict[tuple[object, int], tuple[int, bytes]] = {}
    for number, entry in enumerate(entries):
        for labels, time, _ in samples_of([entry]):
            (identity,) = last_digit("select", "app", [labels])
            if identity is not None:
                known = where.setdefault((identity, time), (number, labels))
                assert known[0] == number


def test_colliding_series_far_apart_are_noticed_as_soon_as_the_second_one_comes() -> None:
    read = 0

    def blocks() -> Iterator[Samples]:
        nonlocal read
        for number in (1, 2, 3, 4, 11, 5, 6, 7):
            read += 1
            yield block_of([(labels_of(number), range(10))])

    with pytest.raises(CollisionAcrossEntries):
        list(EntryBuilder(20, last_digit)(blocks(), ORIGIN))
    assert read == 5


def test_only_queries_whose_series_may_be_joined_pay_for_it() -> None:
    blocks = [block_of([(labels_of(number), range(10))]) for number in (1, 2, 3, 11)]
    with pytest.raises(CollisionAcrossEntries):
        list(EntryBuilder(20, last_digit, joined={"app", "b"})(blocks, ORIGIN))
    for grouped in (False, True):
        entries = EntryBuilder(20, last_digit, joined={"b"})(blocks, ORIGIN, grouped=grouped)
        assert samples_of(list(entries)) == samples_of(blocks)


def test_series_without_identity_never_collide() -> None:
    blocks = [block_of([(labels_of(10 * n + 9), range(10))]) for n in range(9)]
    entries = list(EntryBuilder(10, last_digit)(blocks, ORIGIN))
    assert samples_of(entries) == samples_of(blocks)
    assert len(list(EntryBuilder(10, last_digit)(blocks, ORIGIN, grouped=True))) == 9


def test_a_long_series_that_comes_in_parts_does_not_collide_with_itself() -> None:
    blocks = [block_of([(labels_of(1), range(n, n + 10))]) for n in range(0, 100, 10)]
    entries = list(EntryBuilder(25, last_digit)(blocks, ORIGIN))
    assert samples_of(entries) == samples_of(blocks)
    blocks.append(block_of([(labels_of(21), range(3))]))
    with pytest.raises(CollisionAcrossEntries):
        list(EntryBuilder(25, last_digit)(blocks, ORIGIN))


def test_entries_are_filled_with_whole_series() -> None:
    block = block_of([(labels_of(n), range(240)) for n in range(1_000)])
    entries = list(EntryBuilder(60_000)([block], ORIGIN))
    assert [len(entry) for entry in entries] == [60_000] * 4
    entries = list(EntryBuilder(59_999)([block], ORIGIN))
    assert [len(entry) for entry in entries] == [249 * 240] * 4 + [4 * 240]


def test_an_entry_is_handed_out_before_the_next_is_read() -> None:
    read = 0

    def blocks() -> Iterator[Samples]:
        nonlocal read
        for number in range(100):
            read += 1
            yield block_of([(labels_of(number), range(10))])

    entries = EntryBuilder(30)(blocks(), ORIGIN)
    for number in range(1, 30):
        next(entries)
        assert read == 3 * number + 1


def test_long_labels_make_small_entries() -> None:
    long = [(b'{"a":"%s%d"}' % (b"x" * 65_536, n), range(2)) for n in range(10)]
    build = EntryBuilder(60_000, entry_label_bytes=200_000)
    entries = list(build([block_of(long)], ORIGIN))
    assert [len(entry.samples.series) for entry in entries] == [3, 3, 3, 1]
    # One label set that is longer than that has an entry of its own.
    entries = list(EntryBuilder(60_000, entry_label_bytes=10)([block_of(long)], ORIGIN))
    assert [len(entry.samples.series) for entry in entries] == [1] * 10
    build = EntryBuilder(60_000, lambda kind, query, series: [b"x"] * len(series))
    assert len(list(build([block_of(long)], ORIGIN, grouped=True))) == 1


def test_a_window_too_large_to_be_grouped_is_to_be_split() -> None:
    blocks = [block_of([(labels_of(n), range(100))]) for n in range(100)]
    build = EntryBuilder(1_000, last_digit, max_grouped_samples=5_000)
    with pytest.raises(QueryTooLarge, match="more than 5000 samples of app"):
        list(build(blocks, ORIGIN, grouped=True))
    build = EntryBuilder(1_000, last_digit, max_grouped_label_bytes=100)
    with pytest.raises(QueryTooLarge, match="of app"):
        list(build(blocks, ORIGIN, grouped=True))


def test_what_cannot_collide_is_not_held_when_a_window_is_grouped() -> None:
    pair = [block_of([(labels_of(number), range(10))]) for number in (1, 11)]
    apart = [block_of([(labels_of(10 * n + 9), range(10))]) for n in range(9)]
    blocks = [pair[0], *apart, pair[1]]
    entries = EntryBuilder(20, last_digit, max_grouped_samples=20)
    found = list(entries(blocks, ORIGIN, grouped=True))
    assert sorted(samples_of(found)) == sorted(samples_of(blocks))
    _check_meetings(found)


def test_more_series_than_can_be_remembered_are_to_be_split() -> None:
    blocks = [block_of([(b'{"n":"%d"}' % n, [1])]) for n in range(100)]
    build = EntryBuilder(10, lambda kind, query, series: list(series), max_identities=50)
    with pytest.raises(QueryTooLarge, match="more than 50 series"):
        list(build(blocks, ORIGIN))


def test_a_window_without_samples_has_no_entries() -> None:
    blocks = [replace(Samples.empty(), histograms_ms=np.array([5])), Samples.empty()]
    for identities in (None, last_digit):
        for grouped in (False, True):
            assert not list(EntryBuilder(10, identities)(blocks, ORIGIN, grouped=grouped))


@given(st.lists(st.lists(st.binary(max_size=2)), max_size=6), st.binary(max_size=2))
def test_seen_identities_are_a_set(groups: list[list[bytes]], wanted: bytes) -> None:
    seen = SeenIdentities(1_000)
    for group in groups:
        seen.add(fingerprints([*group, None]))
    assert seen.any(fingerprints([wanted])) == any(wanted in group for group in groups)
    assert not seen.any(fingerprints([None]))


def test_a_long_series_leaves_no_partner_behind() -> None:
    """One that shares its first entry with another of its identity, and goes on in the next."""
    partner = block_of([(labels_of(11), range(5, 15))])
    long = [block_of([(labels_of(1), range(n, n + 10))]) for n in range(0, 50, 10)]
    for blocks in ([partner, *long], [Samples.join([partner, long[0]]), *long[1:]]):
        with pytest.raises(CollisionAcrossEntries):
            list(EntryBuilder(25, last_digit)(blocks, ORIGIN))
        (first, *_) = EntryBuilder(25, last_digit)(blocks, ORIGIN, grouped=True)
        assert {labels_of(1), labels_of(11)} == set(first.samples.series)
