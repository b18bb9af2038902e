"""Isolation: exactly the bad lines are found, whatever the sink says about them, in few posts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import ceil, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.state.verdict import Pause
from services.loader.admission import NotNow
from services.loader.isolate import Isolation
from services.loader.lines import Lines, LineStatus
from services.loader.responses import Outcome
from tests.doubles.judging_sink import (
    CUT_MS,
    SINKS,
    Points,
    names_all,
    names_everything,
    names_one_good,
    text_of,
)


def halvings(bad: int, lines: int) -> int:
    """Posts that plain halving takes at the most, and a few for messages that were wrong."""
    return 2 * bad * (ceil(log2(lines)) + 1) + 6 if lines > 1 else 2


@st.composite
def refusals(draw: st.DrawFn) -> tuple[list[bytes], set[bytes]]:
    text = text_of(draw(st.integers(1, 200)))
    shape = draw(st.sampled_from(["few", "run", "many", "all"]))
    if shape == "few":
        bad = draw(st.lists(st.sampled_from(text), min_size=1, max_size=6))
    elif shape == "run":
        first = draw(st.integers(0, len(text) - 1))
        bad = text[first : first + draw(st.integers(1, 40))]
    elif shape == "many":
        rng = random.Random(draw(st.integers(0, 999)))
        bad = [line for line in text if rng.random() < 0.5] or text[:1]
    else:
        bad = text
    return text, set(bad)


@pytest.mark.parametrize("sink", SINKS.values(), ids=SINKS)
@settings(max_examples=60, deadline=None)
@given(case=refusals(), first_posted=st.booleans())
def test_exactly_the_bad_lines_are_rejected_and_all_others_written(
    sink: Callable[[set[bytes]], Points], case: tuple[list[bytes], set[bytes]], first_posted: bool
) -> None:
    text, bad = case
    post = sink(bad)
    found = Lines(list(text))
    reported: list[int] = []
    Isolation(found, post, bad=reported.append).run(post(text) if first_posted else None)
    rejected = {
        line
        for line, status in zip(text, found.status, strict=True)
        if status == LineStatus.REJECTED
    }
    assert rejected == bad
    assert post.written == set(text) - bad
    assert found.status.count(LineStatus.WRITTEN) == len(text) - len(bad)
    assert found.messages.keys() == {i for i, line in enumerate(text) if line in bad}
    assert sum(reported) == len(bad)
    assert len(post.posts) <= halvings(len(bad), len(text))


def test_a_sink_that_names_everything_is_not_believed() -> None:
    text = text_of(64)
    post = Points({text[10]}, message=names_everything, atomic=True)
    found = Lines(list(text))
    Isolation(found, post).run()
    assert [i for i, status in enumerate(found.status) if status == LineStatus.REJECTED] == [10]


@pytest.mark.parametrize("lines", [1_000, 10_000, 100_000])
@pytest.mark.parametrize("bad_lines", [1, 3, 10])
def test_the_cost_is_k_log_n(lines: int, bad_lines: int) -> None:
    text = text_of(lines)
    bad = set(random.Random(lines + bad_lines).sample(text, bad_lines))
    silent, naming = Points(bad, atomic=True), Points(bad, message=names_all, atomic=True)
    for post in (silent, naming):
        found = Lines(list(text))
        Isolation(found, post).run()
        assert found.status.count(LineStatus.REJECTED) == bad_lines
    assert len(silent.posts) <= halvings(bad_lines, lines)
    # The whole, the rest, the named together, and two of them alone.
    assert len(naming.posts) <= 5


def test_a_whole_measurement_in_conflict_costs_a_few_posts() -> None:
    text = text_of(10_000)
    post = Points(set(text[3_000:7_000]), counts=True)
    found = Lines(list(text))
    Isolation(found, post).run()
    assert found.status.count(LineStatus.REJECTED) == 4_000
    assert len(post.posts) <= 8 * ceil(log2(10_000))


def conflict(name: str) -> Callable[[list[bytes], list[bytes]], str]:
    message = f'field type conflict: input field "value" on measurement "{name}" is type float'
    return lambda bad, lines: message


def test_the_measurement_that_is_in_conflict_is_tried_by_itself() -> None:
    text = text_of(10_000)
    for i in range(0, 10_000, 10):
        text[i] = b"in\\ conflict\\,here,n=%d value=1 %d" % (i, CUT_MS)
    post = Points(set(text[::10]), counts=True, message=conflict("in conflict,here"))
    found = Lines(list(text))
    Isolation(found, post).run()
    assert found.status.count(LineStatus.REJECTED) == 1_000
    # The whole, the rest, the measurement, two lines of it alone.
    assert len(post.posts) == 5


@pytest.mark.parametrize("name", ["m", "other", "nowhere"])
def test_a_measurement_named_wrongly_costs_two_posts(name: str) -> None:
    text = text_of(512)
    text[100:356] = [b"other,n=%d value=1 %d" % (i, CUT_MS) for i in range(256)]
    bad = {text[0], text[511]}
    post, plain = Points(bad, counts=True, message=conflict(name)), Points(bad, counts=True)
    for sink in (post, plain):
        found = Lines(list(text))
        Isolation(found, sink).run()
        assert [i for i, status in enumerate(found.status) if status == LineStatus.REJECTED] == [
            0,
            511,
        ]
    assert len(post.posts) <= len(plain.posts) + 2


def test_a_sink_that_names_a_good_line_is_believed_once() -> None:
    text = text_of(512)
    bad = {text[0], text[300], text[511]}
    naming, plain = Points(bad, message=names_one_good, atomic=True), Points(bad, atomic=True)
    for sink in (naming, plain):
        Isolation(Lines(list(text)), sink).run()
    assert len(naming.posts) <= len(plain.posts) + 2


def test_each_line_has_the_message_about_itself() -> None:
    text = text_of(20)
    post = Points({text[4], text[9], text[15]}, message=names_all, atomic=True)
    found = Lines(list(text))
    Isolation(found, post).run()
    assert found.messages == {i: f"unable to parse '{text[i].decode()}': no" for i in (4, 9, 15)}


# -- size --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=80),
    max_bytes=st.integers(40, 400),
)
def test_what_is_too_large_is_halved_down_to_lines_that_are(
    sizes: list[int], max_bytes: int
) -> None:
    text = [b"m,n=%d v=%s 1" % (i, b"1" * size) for i, size in enumerate(sizes)]
    post = Points(max_bytes=max_bytes)
    found = Lines(list(text))
    Isolation(found, post).run()
    for line, status in zip(text, found.status, strict=True):
        assert status == (LineStatus.TOO_LARGE if len(line) + 1 > max_bytes else LineStatus.WRITTEN)


# -- interruptions -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(case=refusals(), patience=st.integers(2, 7))
def test_an_interrupted_search_goes_on_where_it_was(
    case: tuple[list[bytes], set[bytes]], patience: int
) -> None:
    text, bad = case
    sink = Points(bad, atomic=True)
    found = Lines(list(text))
    left = 0

    def shaky(lines: Sequence[bytes]) -> Outcome | NotNow:
        nonlocal left
        if left == 0:
            return Pause("away")
        left -= 1
        return sink(lines)

    for _ in range(1000):
        before = bytes(found.status)
        left = patience
        verdict = Isolation(found, shaky).run()
        known = [(was, now) for was, now in zip(before, found.status, strict=True) if was]
        assert all(was == now for was, now in known)
        if verdict is None:
            break
        assert verdict == Pause("away")
    rejected = {
        line
        for line, status in zip(text, found.status, strict=True)
        if status == LineStatus.REJECTED
    }
    assert rejected == bad
    assert sink.written == set(text) - bad


def test_too_many_bad_lines_end_the_search() -> None:
    text = text_of(1_000)
    post = Points(set(text), atomic=True)
    found = Lines(list(text))
    count = 0

    def enough(lines: int) -> NotNow | None:
        nonlocal count
        count += lines
        return Pause("too many") if count > 10 else None

    assert Isolation(found, post, bad=enough).run() == Pause("too many")
    assert count == 11
    assert len(post.posts) < 60
