"""A sink that refuses everything for a moment makes no dead letters of good points."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from common.state.verdict import Pause, Retry, Settle
from services.loader.read_check import check_line
from services.loader.responses import Kind, Outcome, RefusedLine, classify
from services.loader.total_refusal import CONTROL_SECONDS
from tests.doubles.loading import FAILED, NOW_MS, WRITTEN, Bench, dead, entry, lines, payload
from tests.unit.services.loader.test_total_refusal import Stream

OPAQUE = Outcome(Kind.POINTS, "the request was not accepted", "points", 400)
POST_SECONDS = 0.01


class World(Bench):
    """A sink that takes no line of ``bad``, and nothing at all from ``begin`` to ``end``."""

    def __init__(self, post_seconds: float = POST_SECONDS) -> None:
        super().__init__(backoff_max_seconds=2.0)
        self.bad: set[bytes] = set()
        self.begin = self.end = 0.0
        self.refusal = OPAQUE
        # None: as the engine judges it, which parses each line.
        self.otherwise: Outcome | None = None
        self.sink.judge = self.judge
        self.sink.on_write = lambda: self.clock.pass_(post_seconds)

    def judge(self, text: list[bytes]) -> Outcome | None:
        sick = self.begin <= self.clock.now < self.end
        return self.refusal if sick or self.bad.intersection(text) else self.otherwise

    @property
    def controls(self) -> int:
        """How many were posted; their point is of ``etl_read_check``."""
        return sum(line.startswith(b"etl_read_check,") for (line, *_) in self.sink.posted)

    def be_sick(self, after_seconds: float, seconds: float) -> None:
        self.begin = self.clock.now + after_seconds
        self.end = self.begin + seconds


@pytest.mark.parametrize("seed", range(15))
def test_only_the_bad_lines_become_dead_letters_whenever_it_begins_and_ends(seed: int) -> None:
    rng = random.Random(seed)
    world = World()
    world.otherwise = WRITTEN
    if rng.random() < 0.3:
        world.refusal = Outcome(Kind.TOO_LARGE, "too large", "too_large", 413)
    bad_share = rng.choice([0.0, 0.01, 0.2])
    stream = Stream(world)
    number = 0
    for _ in range(8):
        world.be_sick(rng.uniform(0.0, 3.0), rng.uniform(1.5, 20.0))
        while world.clock.now < world.end + 3.0:
            for _ in range(rng.randint(0, 3)):
                text = lines(rng.choice([1, 3, 20, 200]), f"m{number}")
                world.bad.update(line for line in text if rng.random() < bad_share)
                stream.waiting.append(entry(str(number), text))
                number += 1
            stream.step()
    world.begin = world.end = 0.0
    for _ in range(400):
        stream.step()
    assert stream.waiting == []
    letters = [
        line
        for verdict in stream.settled.values()
        for letter in verdict.dead
        for line in letter.payload.splitlines()
    ]
    assert sorted(letters) == sorted(world.bad)


def test_a_small_entry_that_is_refused_with_everything_else_waits() -> None:
    world = World()
    assert world.handle(entry("1", lines(3))) == [Settle(loaded=3)]
    world.be_sick(0.0, 5.0)
    (verdict,) = world.handle(entry("2", lines(3, "k")))
    assert isinstance(verdict, Pause)
    assert OPAQUE.message in verdict.reason
    assert world.metric("etl_sink_pauses_total", cause="refuses_all") == 1
    world.clock.pass_(10.0)
    assert world.handle(entry("2", lines(3, "k"))) == [Settle(loaded=3)]


def test_a_search_that_is_under_way_when_it_begins_settles_nothing() -> None:
    world = World()
    world.handle(entry("1", lines(3)))
    text = lines(100, "k")
    world.bad = {text[60]}
    world.be_sick(12 * POST_SECONDS, 5.0)
    assert isinstance(world.handle(entry("2", text))[0], Pause)
    world.clock.pass_(10.0)
    (verdict,) = world.handle(entry("2", text))
    assert [letter.payload for letter in dead(verdict)] == [text[60] + b"\n"]


def test_a_search_that_is_under_way_when_it_ends_judges_anew() -> None:
    """Nothing was taken since the start: only the search itself tells that the sink came back."""
    world = World()
    world.be_sick(0.0, 20 * POST_SECONDS)
    (verdict,) = world.handle(entry("1", lines(100)))
    assert verdict == Settle(loaded=100)


def test_after_a_start_a_small_entry_waits_until_something_is_taken() -> None:
    world = World()
    text = lines(3)
    world.bad = set(text)
    stream = Stream(world, entry("bad", text))
    for _ in range(10):
        stream.step()
    assert stream.settled == {}
    stream.waiting.append(entry("good", lines(3, "k")))
    for _ in range(30):
        stream.step()
    assert stream.settled["good"] == Settle(loaded=3)
    assert stream.settled["bad"].dead[0].samples == 3
    assert world.metric("etl_sink_paused") == 0


def test_what_was_refused_in_an_earlier_episode_is_no_excuse_in_the_next() -> None:
    """Tried before: 1,001 posts without a pause."""
    world = World()
    world.handle(entry("0", lines(3)))
    stream = Stream(world, *(entry(str(i), lines(200, f"m{i}")) for i in range(1, 9)))
    for _ in range(3):
        world.be_sick(0.0, 60.0)
        world.sink.bodies.clear()
        while world.clock.now < world.end:
            stream.step()
        assert len(world.sink.bodies) < 120
        assert stream.settled == {}
        world.begin = world.end = 0.0
        world.clock.pass_(5.0)
        world.handle(entry("between", lines(3, "b")))
    for _ in range(20):
        stream.step()
    assert stream.settled == {str(i): Settle(loaded=200) for i in range(1, 9)}


@pytest.mark.parametrize("post_seconds", [0.01, 0.3, 3.0])
def test_however_slow_the_sink_a_search_ends_and_the_control_is_cheap(post_seconds: float) -> None:
    world = World(post_seconds)
    world.handle(entry("1", lines(3)))
    text = lines(64, "k")
    world.bad = {text[0], text[63]}
    world.sink.bodies.clear()
    (verdict,) = world.handle(entry("2", text))
    assert {letter.samples for letter in dead(verdict)} == {2}
    posts, controls = len(world.sink.bodies), world.controls
    assert posts - controls <= 2 * (2 * 6 + 1)
    assert controls <= (2 if post_seconds < 0.1 else posts / 2)


def test_a_control_is_posted_where_points_were_taken_lately_of_which_it_is_none() -> None:
    world = World()
    world.handle(entry("1", lines(3)))
    text = lines(3, "k")
    world.bad = set(text)
    for number in range(3):
        world.clock.pass_(CONTROL_SECONDS / 4)
        assert dead(world.handle(entry(f"bad{number}", text))[0])
    world.clock.pass_(CONTROL_SECONDS / 4)
    world.sink.bodies.clear()
    assert isinstance(world.handle(entry("bad", text))[0], Pause)
    assert world.controls == 0


@pytest.mark.parametrize("kind", ["expr", "select"])
def test_the_control_puts_no_older_value_back_in_the_place_of_what_another_loader_wrote(
    kind: str,
) -> None:
    world = World()
    world.handle(entry("1", [b"m value=1.0 1700000000000"], kind=kind))
    newer = [b"m value=2.0 1700000000000"]
    assert world.sink.write("hot", payload(newer)).kind is Kind.WRITTEN
    text = lines(3, "k")
    world.bad = set(text)
    assert dead(world.handle(entry("bad", text))[0]), "the control was taken"
    assert world.controls
    written = {line.split()[0]: line for body in world.sink.posted for line in body}
    assert written[b"m"] == newer[0]


@pytest.mark.parametrize("refuses_ours", [False, True])
def test_a_control_that_the_sink_judges_otherwise_pauses_and_another_line_ends_it(
    refuses_ours: bool,
) -> None:
    world = World()
    first, text = lines(1), lines(3, "k")
    world.handle(entry("1", first))
    world.bad = {*first, *text}
    if refuses_ours:
        world.bad.add(check_line("etl", NOW_MS / 1000))
    stream = Stream(world, entry("bad", text), entry("good", lines(3, "g")))
    for _ in range(15):
        stream.step(1)
    assert stream.settled["good"] == Settle(loaded=3)
    if refuses_ours:  # the check of reading has failed by then, and the loader is not ready
        assert "bad" not in stream.settled
    else:
        assert stream.settled["bad"].dead[0].samples == 3


def test_a_control_at_which_the_server_fails_makes_no_entry_suspect() -> None:
    world = World()
    world.handle(entry("1", lines(3)))
    text = lines(3, "k")
    world.bad = set(text)
    refuse = world.judge
    control = check_line("etl", NOW_MS / 1000)
    world.sink.judge = lambda posted: FAILED if control in posted else refuse(posted)
    assert isinstance(world.handle(entry("2", text))[0], Retry)
    assert world.controls
    assert world.handler.suspects.failures("2") == 0, "nothing of it was in that post"


def test_a_sink_that_names_the_cause_is_not_asked_for_more() -> None:
    world = World()
    world.handle(entry("1", lines(3)))
    text = [*lines(5, "k"), b"k,n=1 value=oops 1700000000000"]
    world.clock.pass_(100.0)
    world.sink.bodies.clear()
    assert dead(world.handle(entry("2", text))[0])
    assert world.controls == 0


@pytest.mark.parametrize(
    ("status", "message", "opaque"),
    [
        (400, "request refused by policy", True),
        (422, "no", True),
        (400, "write buffer error: parsing for line protocol failed", True),
        (413, "points batch is too large", True),
        (400, "unable to parse 'm value=x 1': invalid boolean", False),
        (400, "partial write: whatever dropped=1", False),
        (400, 'field type conflict: input field "v" on measurement "m" is float', False),
        (422, "partial write: dropped 1 points outside retention policy of duration 1h", False),
        (400, "partial write: max-values-per-tag limit exceeded", False),
        (400, "unable to read data: gzip: invalid checksum", False),
        (500, "boom", False),
        (204, "", False),
    ],
)
def test_a_refusal_is_opaque_if_it_names_no_cause(status: int, message: str, opaque: bool) -> None:
    body = json.dumps({"code": "c", "message": message}).encode() if message else b""
    assert classify(status, {}, body, now_seconds=0.0).is_opaque is opaque


def test_a_refusal_that_lists_its_lines_is_not_opaque() -> None:
    listed = RefusedLine(1, "no", Kind.POINTS)
    assert OPAQUE.is_opaque
    assert not replace(OPAQUE, refused_lines=(listed,)).is_opaque


def test_a_line_that_is_to_be_judged_anew_is_tried_once_for_that() -> None:
    world = World()
    world.handle(entry("1", lines(3)))
    world.clock.pass_(100.0)  # so that what is refused without a cause waits for another judgement
    text = lines(3, "k")
    alone: list[bytes] = []

    def judge(posted: list[bytes]) -> Outcome | None:
        alone.extend(posted if len(posted) == 1 else ())
        if posted == text:
            return Outcome(Kind.POINTS, "partial write: odd dropped=3", "points", 400, dropped=3)
        return OPAQUE if posted == text[:1] and alone.count(text[0]) < 3 else WRITTEN

    world.sink.judge = judge
    (verdict,) = world.handle(entry("2", text))
    assert verdict.samples == 3  # type: ignore[union-attr]
    assert [letter.payload for letter in dead(verdict)] == [text[0] + b"\n"]
    assert alone.count(text[0]) == 2
