"""Isolation: exactly the bad lines are found, whatever the sink says about them, in few posts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.state.verdict import Pause, Retry
from services.loader.isolate import Interrupted, Isolation, Lines, Refusal, quoted_lines
from services.loader.responses import Kind, Outcome

CUT_MS = 1_005_000  # within a shard
SHARD_MS = 10_000


@dataclass
class Points:
    """A sink that judges lines by their sets; ``words`` says how it speaks of refused ones."""

    bad: set[bytes] = field(default_factory=set)
    words: Callable[[list[bytes], list[bytes]], str] = lambda bad, lines: "no"
    atomic: bool = False  # as 2.x with unparsable lines: one bad line and nothing is written
    counts: bool = False
    old: Callable[[Sequence[bytes]], set[bytes]] = lambda lines: set()
    max_bytes: int | None = None
    broken: set[bytes] = field(default_factory=set)  # the server fails when it sees one
    written: set[bytes] = field(default_factory=set)
    posts: list[list[bytes]] = field(default_factory=list)

    def __call__(self, lines: Sequence[bytes]) -> Outcome:
        assert lines, "an empty post tells nothing"
        self.posts.append(list(lines))
        if self.broken.intersection(lines):
            return Outcome(Kind.FAILED, "boom", "server_error", 500)
        if self.max_bytes is not None and sum(len(line) + 1 for line in lines) > self.max_bytes:
            return Outcome(Kind.TOO_LARGE, "too large", "too_large", 413)
        old = self.old(lines)
        young = [line for line in lines if line not in old]
        bad = [line for line in young if line in self.bad]
        if bad:
            if not self.atomic:
                self.written.update(set(young) - self.bad)
            return Outcome(
                Kind.POINTS,
                self.words(bad, list(lines)),
                status=400,
                dropped=len(bad) if self.counts else None,
            )
        self.written.update(young)
        if old:
            dropped = len(old) if self.counts else None
            return Outcome(Kind.RETENTION, "too old", status=422, dropped=dropped)
        return Outcome(Kind.WRITTEN, "", status=204)


def names_all(bad: list[bytes], _: list[bytes]) -> str:
    return "\n".join(f"unable to parse '{line.decode()}': no" for line in bad)


def names_first(bad: list[bytes], _: list[bytes]) -> str:
    return f"unable to parse '{bad[0].decode()}': no"


def names_good(bad: list[bytes], lines: list[bytes]) -> str:
    good = [line for line in lines if line not in bad]
    return names_all(good[: len(good) // 2 + 1], lines)


def names_one_good(bad: list[bytes], lines: list[bytes]) -> str:
    return names_all([line for line in lines if line not in bad][:1], lines)


def names_everything(_: list[bytes], lines: list[bytes]) -> str:
    return names_all([*lines, b"and a stranger"], lines)


SINKS: dict[str, Callable[[set[bytes]], Points]] = {
    "2.x unparsable": lambda bad: Points(bad, words=names_all, atomic=True),
    "1.x unparsable": lambda bad: Points(bad, words=names_all),
    "2.x conflict": lambda bad: Points(bad, counts=True),
    "first named only": lambda bad: Points(bad, words=names_first),
    "says nothing": lambda bad: Points(bad, atomic=True),
    "names good lines": lambda bad: Points(bad, words=names_good, atomic=True),
}


def text_of(count: int) -> list[bytes]:
    return [b"m,n=%d value=%d %d" % (i % 3, i, CUT_MS + i) for i in range(count)]


def halvings(bad: int, lines: int) -> int:
    """Posts that plain halving takes at the most, and a few for words that did not hold."""
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
    told: list[int] = []
    Isolation(found, post, bad=told.append).run(post(text) if first_posted else None)
    rejected = {
        line for line, fate in zip(text, found.fate, strict=True) if fate == Refusal.REJECTED
    }
    assert rejected == bad
    assert post.written == set(text) - bad
    assert found.fate.count(Refusal.WRITTEN) == len(text) - len(bad)
    assert found.words.keys() == {i for i, line in enumerate(text) if line in bad}
    assert sum(told) == len(bad)
    assert len(post.posts) <= halvings(len(bad), len(text))


def test_a_sink_that_names_everything_is_not_believed() -> None:
    text = text_of(64)
    post = Points({text[10]}, words=names_everything, atomic=True)
    found = Lines(list(text))
    Isolation(found, post).run()
    assert [i for i, fate in enumerate(found.fate) if fate == Refusal.REJECTED] == [10]


@pytest.mark.parametrize("lines", [1_000, 10_000, 100_000])
@pytest.mark.parametrize("bad_lines", [1, 3, 10])
def test_the_cost_is_k_log_n(lines: int, bad_lines: int) -> None:
    text = text_of(lines)
    bad = set(random.Random(lines + bad_lines).sample(text, bad_lines))
    silent, naming = Points(bad, atomic=True), Points(bad, words=names_all, atomic=True)
    for post in (silent, naming):
        found = Lines(list(text))
        Isolation(found, post).run()
        assert found.fate.count(Refusal.REJECTED) == bad_lines
    assert len(silent.posts) <= halvings(bad_lines, lines)
    # The whole, the rest, the named together, and two of them alone.
    assert len(naming.posts) <= 5


def test_a_whole_measurement_in_conflict_costs_a_few_posts() -> None:
    text = text_of(10_000)
    post = Points(set(text[3_000:7_000]), counts=True)
    found = Lines(list(text))
    Isolation(found, post).run()
    assert found.fate.count(Refusal.REJECTED) == 4_000
    assert len(post.posts) <= 8 * ceil(log2(10_000))


def conflict(name: str) -> Callable[[list[bytes], list[bytes]], str]:
    words = f'field type conflict: input field "value" on measurement "{name}" is type float'
    return lambda bad, lines: words


def test_the_measurement_that_is_in_conflict_is_tried_by_itself() -> None:
    text = text_of(10_000)
    for i in range(0, 10_000, 10):
        text[i] = b"in\\ conflict\\,here,n=%d value=1 %d" % (i, CUT_MS)
    post = Points(set(text[::10]), counts=True, words=conflict("in conflict,here"))
    found = Lines(list(text))
    Isolation(found, post).run()
    assert found.fate.count(Refusal.REJECTED) == 1_000
    # The whole, the rest, the measurement, two lines of it alone.
    assert len(post.posts) == 5


@pytest.mark.parametrize("name", ["m", "other", "nowhere"])
def test_a_measurement_named_wrongly_costs_two_posts(name: str) -> None:
    text = text_of(512)
    text[100:356] = [b"other,n=%d value=1 %d" % (i, CUT_MS) for i in range(256)]
    bad = {text[0], text[511]}
    post, plain = Points(bad, counts=True, words=conflict(name)), Points(bad, counts=True)
    for sink in (post, plain):
        found = Lines(list(text))
        Isolation(found, sink).run()
        assert [i for i, fate in enumerate(found.fate) if fate == Refusal.REJECTED] == [0, 511]
    assert len(post.posts) <= len(plain.posts) + 2


def test_a_sink_that_names_a_good_line_is_believed_once() -> None:
    text = text_of(512)
    bad = {text[0], text[300], text[511]}
    naming, plain = Points(bad, words=names_one_good, atomic=True), Points(bad, atomic=True)
    for sink in (naming, plain):
        Isolation(Lines(list(text)), sink).run()
    assert len(naming.posts) <= len(plain.posts) + 2


def test_each_line_has_the_words_about_itself() -> None:
    text = text_of(20)
    post = Points({text[4], text[9], text[15]}, words=names_all, atomic=True)
    found = Lines(list(text))
    Isolation(found, post).run()
    assert found.words == {i: f"unable to parse '{text[i].decode()}': no" for i in (4, 9, 15)}


# -- age ----------------------------------------------------------------------------------------


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
    for line, fate in zip(text, found.fate, strict=True):
        if stamped(line) >= CUT_MS:
            assert fate == (Refusal.REJECTED if line in bad else Refusal.WRITTEN)
        else:
            assert fate != Refusal.OPEN
            assert fate != Refusal.REJECTED or line in bad
            assert fate != Refusal.WRITTEN or old is by_shard
        if fate == Refusal.WRITTEN:
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
    expired = {line for line, fate in zip(text, found.fate, strict=True) if fate == Refusal.EXPIRED}
    assert expired == old(text)
    assert found.fate.count(Refusal.WRITTEN) == len(text) - len(expired)
    assert len(post.posts) <= 6


def test_a_count_of_the_old_that_is_wrong_is_not_believed() -> None:
    text = [b"m,n=%d value=1 %d" % (i, CUT_MS + i - 40) for i in range(100)]
    post = Points(counts=True, old=strictly)

    def boasting(lines: Sequence[bytes]) -> Outcome:
        outcome = post(lines)
        return replace(outcome, dropped=len(lines)) if outcome.dropped else outcome

    found = Lines(list(text))
    Isolation(found, boasting).run()
    assert list(found.fate) == [Refusal.EXPIRED] * 40 + [Refusal.WRITTEN] * 60


def test_lines_without_a_timestamp_do_not_confuse_the_order() -> None:
    text = [
        b"m value=1",
        b"m value=2 x",
        *(b"m,n=1 value=1 %d" % (CUT_MS - i) for i in range(1, 9)),
    ]
    post = Points({text[1]}, counts=True, old=lambda lines: strictly(set(lines) - set(text[:2])))
    found = Lines(list(text))
    Isolation(found, post).run()
    assert list(found.fate) == [Refusal.WRITTEN, Refusal.REJECTED, *[Refusal.EXPIRED] * 8]


# -- size ---------------------------------------------------------------------------------------


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
    for line, fate in zip(text, found.fate, strict=True):
        assert fate == (Refusal.TOO_LARGE if len(line) + 1 > max_bytes else Refusal.WRITTEN)


# -- what the server fails at -------------------------------------------------------------------


def gave_up(outcome: Outcome) -> Interrupted:
    return Interrupted(Retry(1.0, outcome.words))


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
        with pytest.raises(Interrupted):
            search.run()
        assert set(found.fate) == {Refusal.OPEN}
        return
    try:
        search.run()
    except Interrupted:
        # Only where nothing at all could be written is the sink itself in doubt.
        assert not post.written
        return
    for line, fate in zip(text, found.fate, strict=True):
        wanted = (
            Refusal.FAILED
            if line in broken
            else Refusal.REJECTED
            if line in bad
            else Refusal.WRITTEN
        )
        assert fate == wanted


def test_a_sink_that_is_down_blames_no_line() -> None:
    text = text_of(1_000)
    post = Points(broken=set(text))
    found = Lines(list(text))
    with pytest.raises(Interrupted) as caught:
        Isolation(found, post, give_up=gave_up).run()
    assert caught.value.verdict == Retry(1.0, "boom")
    assert set(found.fate) == {Refusal.OPEN}
    assert len(post.posts) <= ceil(log2(1_000)) + 4


def test_a_single_line_is_not_blamed_while_nothing_is_taken() -> None:
    text = text_of(1)
    found = Lines(list(text))
    with pytest.raises(Interrupted):
        Isolation(found, Points(broken=set(text)), give_up=gave_up).run()
    assert set(found.fate) == {Refusal.OPEN}


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_lines_that_are_hopeless_are_blamed_together(count: int) -> None:
    text = text_of(count)
    post = Points(broken=set(text))
    found = Lines(list(text))
    Isolation(found, post, give_up=lambda _: None).run()
    assert set(found.fate) == {Refusal.FAILED}
    assert len(found.words) == count
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
    assert set(found.fate) == {Refusal.WRITTEN}


# -- interruptions ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(case=refusals(), patience=st.integers(2, 7))
def test_an_interrupted_search_goes_on_where_it_was(
    case: tuple[list[bytes], set[bytes]], patience: int
) -> None:
    text, bad = case
    sink = Points(bad, atomic=True)
    found = Lines(list(text))
    left = 0

    def shaky(lines: Sequence[bytes]) -> Outcome:
        nonlocal left
        if left == 0:
            raise Interrupted(Pause("away"))
        left -= 1
        return sink(lines)

    for _ in range(1000):
        before = bytes(found.fate)
        left = patience
        try:
            Isolation(found, shaky).run()
            break
        except Interrupted:
            known = [(was, now) for was, now in zip(before, found.fate, strict=True) if was]
            assert all(was == now for was, now in known)
    rejected = {
        line for line, fate in zip(text, found.fate, strict=True) if fate == Refusal.REJECTED
    }
    assert rejected == bad
    assert sink.written == set(text) - bad


def test_too_many_bad_lines_end_the_search() -> None:
    text = text_of(1_000)
    post = Points(set(text), atomic=True)
    found = Lines(list(text))
    count = 0

    def enough(lines: int) -> None:
        nonlocal count
        count += lines
        if count > 10:
            raise Interrupted(Pause("too many"))

    with pytest.raises(Interrupted):
        Isolation(found, post, bad=enough).run()
    assert count == 11
    assert len(post.posts) < 60


# -- joining, splitting, quoting ----------------------------------------------------------------


@given(st.lists(st.lists(st.sampled_from([0, 1, 3]), max_size=6), max_size=5))
def test_lines_of_several_entries_are_joined_and_split_again(fates: list[list[int]]) -> None:
    parts = [
        Lines(
            [b"%d.%d" % (p, i) for i in range(len(fate))],
            bytearray(fate),
            {i: f"{p}.{i}" for i, f in enumerate(fate) if f == Refusal.REJECTED},
        )
        for p, fate in enumerate(fates)
    ]
    whole = Lines.joined(parts)
    assert whole.text == [line for part in parts for line in part.text]
    again = whole.split(len(part.text) for part in parts)
    assert [(p.text, p.fate, p.words) for p in again] == [(p.text, p.fate, p.words) for p in parts]


def test_lines_are_read_out_of_the_sinks_words() -> None:
    words = (
        "partial write: unable to parse 'it's a 'line': x': missing fields\n"
        "unable to parse '': empty\n"
        "something else\n"
        "unable to parse 'm,a=b value=zzz 1': invalid boolean dropped=0"
    )
    assert quoted_lines(words) == {
        "it's a 'line': x": "unable to parse 'it's a 'line': x': missing fields",
        "": "unable to parse '': empty",
        "m,a=b value=zzz 1": "unable to parse 'm,a=b value=zzz 1': invalid boolean dropped=0",
    }
    assert quoted_lines("unable to parse 'x") == {}
