"""Isolation of lines that are too old, and of lines that the server fails at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import ceil, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.state.verdict import Retry
from services.loader.admission import NotNow
from services.loader.isolate import Isolation
from services.loader.lines import Lines, LineStatus
from services.loader.responses import Outcome
from tests.doubles.judging_sink import (
    CUT_MS,
    SHARD_MS,
    Points,
    text_of,
)

# -- age ---------------------------------------------------------------------------------------


def stamped(line: bytes) -> int:
    return int(line.rsplit(b" ", 1)[1])


def strictly(lines: Iterable[bytes]) -> set[bytes]:
    return {line for line in lines if stamped(line) < CUT_MS}


def by_shard(lines: Sequence[bytes]) -> set[bytes]:
    """As real influxd: an old point passes if a young one of the same post opened its shard."""
    open_ = {stamped(line) // SHARD_MS for line in lines if stamped(line) >= CUT_MS}
    return {line for line in strictly(lines) if stamped(line) // SHARD_MS not in open_}


@st.composite
def ages(draw: st.DrawFn) -> list[bytes]:
    offsets = draw(st.lists(st.integers(-3 * SHARD_MS, 3 * SHARD_MS), min_size=1, max_size=120))
    return [b"m,n=%d value=1 %d" % (i, CUT_MS + off) for i, off in enumerate(offsets)]


@pytest.mark.parametrize("old", [strictly, by_shard])
@pytest.mark.parametrize("counts", [True, False])
@settings(max_examples=60, deadline=None)
@given(text=ages(), data=st.data())
def test_old_lines_expire_young_ones_are_written_and_bad_ones_rejected(
    old: Callable[[Sequence[bytes]], set[bytes]],
    counts: bool,
    text: list[bytes],
    data: st.DataObject,
) -> None:
    bad = set(data.draw(st.lists(st.sampled_from(text), max_size=4)))
    post = Points(bad, counts=counts, old=old)
    found = Lines(list(text))
    Isolation(found, post).run(post(text))
    for line, status in zip(text, found.status, strict=True):
        if stamped(line) >= CUT_MS:
            assert status == (LineStatus.REJECTED if line in bad else LineStatus.WRITTEN)
        else:
            assert status != LineStatus.OPEN
            assert status != LineStatus.REJECTED or line in bad
            assert status != LineStatus.WRITTEN or old is by_shard
        if status == LineStatus.WRITTEN:
            assert line in post.written


@pytest.mark.parametrize("old", [strictly, by_shard])
def test_age_costs_a_few_posts_whatever_the_size(
    old: Callable[[Sequence[bytes]], set[bytes]],
) -> None:
    text = [b"m,n=%d value=1 %d" % (i % 50, CUT_MS + (i * 37) % 60_000 - 30_000)
            for i in range(20_000)]  # fmt: skip
    post = Points(counts=True, old=old)
    found = Lines(list(text))
    Isolation(found, post).run()
    expired = {
        line
        for line, status in zip(text, found.status, strict=True)
        if status == LineStatus.EXPIRED
    }
    assert expired == old(text)
    assert found.status.count(LineStatus.WRITTEN) == len(text) - len(expired)
    assert len(post.posts) <= 6


def test_a_count_of_the_old_that_is_wrong_is_not_believed() -> None:
    text = [b"m,n=%d value=1 %d" % (i, CUT_MS + i - 40) for i in range(100)]
    post = Points(counts=True, old=strictly)

    def boasting(lines: Sequence[bytes]) -> Outcome:
        outcome = post(lines)
        return replace(outcome, dropped=len(lines)) if outcome.dropped else outcome

    found = Lines(list(text))
    Isolation(found, boasting).run()
    assert list(found.status) == [LineStatus.EXPIRED] * 40 + [LineStatus.WRITTEN] * 60


def test_lines_without_a_timestamp_do_not_confuse_the_order() -> None:
    text = [
        b"m value=1",
        b"m value=2 x",
        *(b"m,n=1 value=1 %d" % (CUT_MS - i) for i in range(1, 9)),
    ]
    post = Points({text[1]}, counts=True, old=lambda lines: strictly(set(lines) - set(text[:2])))
    found = Lines(list(text))
    Isolation(found, post).run()
    assert list(found.status) == [
        LineStatus.WRITTEN,
        LineStatus.REJECTED,
        *[LineStatus.EXPIRED] * 8,
    ]


# -- what the server fails at ------------------------------------------------------------------


def gave_up() -> NotNow:
    return Retry(1.0, "boom")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(2, 120))
def test_lines_the_server_fails_at_are_found(data: st.DataObject, count: int) -> None:
    text = text_of(count)
    broken = set(data.draw(st.lists(st.sampled_from(text), min_size=1, max_size=3)))
    bad = set(data.draw(st.lists(st.sampled_from(text), max_size=2))) - broken
    post = Points(bad, broken=broken)
    found = Lines(list(text))
    search = Isolation(found, post, give_up=gave_up)
    if broken == set(text):
        assert search.run() == gave_up()
        assert set(found.status) == {LineStatus.OPEN}
        return
    if search.run() is not None:
        # Only where nothing at all could be written is the sink itself in doubt.
        assert not post.written
        return
    for line, status in zip(text, found.status, strict=True):
        wanted = (
            LineStatus.FAILED
            if line in broken
            else LineStatus.REJECTED
            if line in bad
            else LineStatus.WRITTEN
        )
        assert status == wanted


def test_a_sink_that_is_down_blames_no_line() -> None:
    text = text_of(1_000)
    post = Points(broken=set(text))
    found = Lines(list(text))
    assert Isolation(found, post, give_up=gave_up).run() == gave_up()
    assert set(found.status) == {LineStatus.OPEN}
    assert len(post.posts) <= ceil(log2(1_000)) + 4


def test_a_single_line_is_not_blamed_while_nothing_is_taken() -> None:
    text = text_of(1)
    found = Lines(list(text))
    assert Isolation(found, Points(broken=set(text)), give_up=gave_up).run() == gave_up()
    assert set(found.status) == {LineStatus.OPEN}


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_lines_that_are_hopeless_are_blamed_together(count: int) -> None:
    text = text_of(count)
    post = Points(broken=set(text))
    found = Lines(list(text))
    Isolation(found, post, give_up=lambda: None).run()
    assert set(found.status) == {LineStatus.FAILED}
    assert len(found.messages) == count
    assert len(post.posts) <= 14


def test_a_line_that_fails_only_once_is_written_after_all() -> None:
    text = text_of(4)
    post = Points(broken={text[2]})

    def recovering(lines: Sequence[bytes]) -> Outcome:
        if list(lines) == [text[2]]:
            outcome = post(lines)
            post.broken.clear()
            return outcome
        return post(lines)

    found = Lines(list(text))
    Isolation(found, recovering, give_up=gave_up).run()
    assert set(found.status) == {LineStatus.WRITTEN}
