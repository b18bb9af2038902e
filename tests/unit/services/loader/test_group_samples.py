"""How many samples are grouped for one post: fewer once a body was too large, then more again."""

from __future__ import annotations

import pytest

from common.state.verdict import Entry, Settle
from services.loader.batch import GROW_SECONDS
from services.loader.responses import Kind, Outcome
from tests.doubles.loading import Bench, dead, entry, lines

TOO_LARGE = Outcome(Kind.TOO_LARGE, "points batch is too large", "too_large", 413)


class World(Bench):
    """A sink that takes at most so many lines, and none longer than so many bytes."""

    def __init__(self) -> None:
        super().__init__(group_samples=1000)
        self.most_lines = 10**9
        self.refused = 0
        self.sink.judge = self.judge
        self.number = 0

    def judge(self, text: list[bytes]) -> Outcome | None:
        if len(text) <= self.most_lines and all(len(line) < 2000 for line in text):
            return None
        self.refused += 1
        return TOO_LARGE

    def entries(self) -> list[Entry]:
        """Ten of a hundred samples, which fit into one group."""
        self.number += 10
        return [entry(str(n), lines(100, f"m{n}")) for n in range(self.number, self.number + 10)]

    def posted_after(self, entries: list[Entry]) -> list[int]:
        """How many lines the posts had that this took."""
        self.sink.bodies.clear()
        assert self.handle(*entries) == [Settle(loaded=100)] * 10
        return [len(text) for text in self.sink.posted]


def test_what_was_too_large_once_is_posted_again_after_a_while() -> None:
    world = World()
    world.most_lines = 120
    for _ in range(6):
        world.posted_after(world.entries())
    assert world.posted_after(world.entries()) == [100] * 10
    world.most_lines = 10**9
    assert world.posted_after(world.entries()) == [100] * 10, "not at once"
    for _ in range(4):
        world.clock.pass_(GROW_SECONDS)
        latest = world.posted_after(world.entries())
    assert latest == [1000]


def test_a_sink_that_never_takes_as_much_is_asked_now_and_then() -> None:
    world = World()
    world.most_lines = 500
    for _ in range(60):
        world.clock.pass_(GROW_SECONDS / 10)
        world.posted_after(world.entries())
    assert 1 < world.refused <= 1 + 6
    assert world.posted_after(world.entries()) == [500, 500]


@pytest.mark.parametrize("times", [1, 5])
def test_one_line_that_is_too_large_makes_no_group_smaller(times: int) -> None:
    world = World()
    for _ in range(times):
        *others, last = world.entries()
        long = b"m,n=1 value=1 1" + b"0" * 2000
        *loaded, verdict = world.handle(*others, entry(last.id, [*lines(99, "k"), long]))
        assert loaded == [Settle(loaded=100)] * 9
        assert [one.reason for one in dead(verdict)] == ["too_large"]
    assert world.posted_after(world.entries()) == [1000]
