"""What is refused again and again costs no search each time, and is noticed when it is taken."""

from __future__ import annotations

from typing import Any

import pytest

from common.state.verdict import Pause, Settle
from services.loader.refused_before import (
    NOT_TRIED,
    REFUSED_ENTRIES,
    TRY_EVERY_SECONDS,
)
from services.loader.responses import Kind, Outcome
from tests.doubles.influx_engine import Engine
from tests.doubles.loading import BUCKET, NOW_MS, Bench, dead, entry, lines

CONFLICT = [b"typed,n=%d value=1.5 %d" % (n, NOW_MS) for n in range(10)]

REFUSED = Outcome(Kind.POINTS, "no", "points", 400)


class World(Bench):
    """A bucket in which the measurement ``typed`` has another type."""

    def __init__(self) -> None:
        super().__init__(max_rejected_share=1.0)
        self.handle(entry("0", [b"typed value=1i %d" % NOW_MS]))
        self.count = 0

    def load(self, text: list[bytes], **fields: Any) -> tuple[Settle, int]:
        """The verdict about an entry, and how many posts it took."""
        self.count += 1
        before = len(self.sink.bodies)
        (verdict,) = self.handle(entry(str(self.count), text, **fields))
        assert isinstance(verdict, Settle)
        return verdict, len(self.sink.bodies) - before

    def refuse(self, times: int = REFUSED_ENTRIES) -> None:
        for _ in range(times):
            verdict, posts = self.load([*lines(90), *CONFLICT])
            assert (verdict.loaded, posts > 1) == (90, True)

    def heal(self) -> None:
        self.engine.buckets[BUCKET] = Engine(BUCKET).buckets[BUCKET]


def test_what_was_refused_before_is_set_aside_and_the_rest_is_loaded_by_one_post() -> None:
    world = World()
    world.refuse()

    verdict, posts = world.load([*lines(90), *CONFLICT])

    assert (verdict.loaded, posts) == (90, 1)
    (letter,) = verdict.dead
    assert (letter.reason, letter.samples, letter.measurement) == ("rejected", 10, "typed")
    assert letter.payload == b"".join(line + b"\n" for line in CONFLICT)
    assert "already exists as type integer" in letter.detail
    assert letter.detail.endswith(NOT_TRIED)
    assert world.metric("etl_sink_untried_samples_total") == 10


def test_an_entry_of_nothing_else_is_settled_without_a_post() -> None:
    world = World()
    world.refuse()

    verdict, posts = world.load(CONFLICT)

    assert (posts, sum(letter.samples for letter in verdict.dead)) == (0, 10)


def test_other_fields_of_the_measurement_are_not_set_aside() -> None:
    world = World()
    world.refuse()

    verdict, _ = world.load([b"typed,n=1 other=1 %d" % NOW_MS])

    assert (verdict.loaded, list(verdict.dead)) == (1, [])


def test_it_is_tried_now_and_then_so_a_sink_that_healed_is_noticed() -> None:
    world = World()
    world.refuse()
    world.heal()
    assert world.load(CONFLICT)[1] == 0

    world.clock.pass_(TRY_EVERY_SECONDS)

    assert world.load(CONFLICT) == (Settle(loaded=10), 1)
    assert world.load(CONFLICT) == (Settle(loaded=10), 1)


def test_a_try_that_is_refused_costs_one_entry() -> None:
    world = World()
    world.refuse()
    world.clock.pass_(TRY_EVERY_SECONDS)

    assert world.load(CONFLICT)[1] > 0
    assert world.load(CONFLICT)[1] == 0


def test_what_an_operator_replays_is_tried() -> None:
    world = World()
    world.refuse()
    world.heal()

    assert world.load(CONFLICT, fields={b"replayed": b"1"}) == (Settle(loaded=10), 1)
    assert world.load(CONFLICT)[0] == Settle(loaded=10)


@pytest.mark.parametrize("other", [{"query": "other"}, {"tier": "warm"}, {"bucket": "other"}])
def test_it_is_known_of_one_query_tier_and_bucket_only(other: dict[str, Any]) -> None:
    world = World()
    world.refuse()

    one = entry("9", CONFLICT, **{name: said for name, said in other.items() if name != "bucket"})
    known = world.handler._refused_before.mark(one, other.get("bucket", BUCKET), None)

    assert known is None


def test_measurements_of_which_some_lines_are_taken_are_always_tried() -> None:
    world = World()
    text = [b"m value=oops %d" % NOW_MS, *lines(5)]
    for _ in range(2 * REFUSED_ENTRIES):
        verdict, posts = world.load(text)
        assert (verdict.loaded, posts > 1) == (5, True)
        assert NOT_TRIED not in dead(verdict)[0].detail


def test_after_a_pause_nothing_is_set_aside_for_what_the_sick_sink_said() -> None:
    bench = Bench(max_rejected_share=0.5, rejected_share_min_samples=100)
    bench.handle(entry("0", [b"typed value=1i %d" % NOW_MS]))
    for number in range(REFUSED_ENTRIES):
        bench.handle(entry(f"a{number}", [*lines(90), *CONFLICT]))
    bench.engine.buckets[BUCKET] = Engine(BUCKET).buckets[BUCKET]
    bench.sink.judge = lambda _: REFUSED
    (sick,) = bench.handle(entry("sick", lines(500)))
    assert isinstance(sick, Pause)
    bench.sink.judge = None
    bench.clock.pass_(10)
    assert bench.handle(entry("sick", lines(500))) == [Settle(loaded=500)]

    assert bench.handle(entry("b", [*lines(90), *CONFLICT])) == [Settle(loaded=100)]
