"""What is believed of the source's clock, and what is told of it."""

from __future__ import annotations

import pytest

from services.extractor.source.clock import (
    AGREE_AFTER_SECONDS,
    KEPT_SECONDS,
    SHOWN_SECONDS,
    TOLERANCE_SECONDS,
    ClockReading,
    SourceClock,
)

START_MS = 1_700_000_000_000


class World:
    """True time, and clocks that are off by what the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.trip_seconds = 0.0
        self.source_ahead = self.own_ahead = self.redis_ahead = 0.0
        self.date_ahead: float | None = None
        self.readings = 0
        self.shown: dict[str, float] = {}
        self.jumps: list[float] = []
        self.held_back: list[float] = []
        self.ahead: list[tuple[int, float]] = []
        self.clock = SourceClock(
            self._read,
            others={"redis": lambda: self.at(self.redis_ahead)},
            show=self.shown.__setitem__,
            on_jump=self.jumps.append,
            monotonic=lambda: self.seconds,
            own_ms=lambda: self.at(self.own_ahead),
            show_held_back=self.held_back.append,
            on_ahead=lambda *ahead: self.ahead.append(ahead),
        )

    def at(self, ahead_seconds: float) -> int:
        return START_MS + round((self.seconds + ahead_seconds) * 1000)

    def _read(self) -> ClockReading:
        self.readings += 1
        self.seconds += self.trip_seconds / 2
        date_ms = None if self.date_ahead is None else self.at(self.date_ahead) // 1000 * 1000
        reading = ClockReading(self.at(self.source_ahead), date_ms)
        self.seconds += self.trip_seconds / 2
        return reading

    def believed_after(self, seconds: float) -> float:
        """How far ahead of true time the source is believed to be when it is read then."""
        self.seconds += seconds
        return (self.clock.check() - self.at(0)) / 1000


@pytest.fixture
def world() -> World:
    return World()


def test_a_clock_that_is_right_is_believed_at_once(world: World) -> None:
    assert [world.believed_after(5) for _ in range(20)] == [0.0] * 20
    assert world.jumps == []
    assert world.shown == {"own": 0.0, "redis": 0.0}


@pytest.mark.parametrize("own_ahead", [0.0, 3600.0])
def test_a_querier_that_is_ahead_for_seconds_is_never_believed(
    world: World, own_ahead: float
) -> None:
    """Two readings in a row agree on what is wrong, and our own clock may be no help."""
    world.own_ahead = own_ahead
    world.believed_after(0)
    world.source_ahead = 60
    wrong = [world.believed_after(2.5) for _ in range(3)]
    world.source_ahead = 0
    right = [world.believed_after(2.5) for _ in range(3)]
    assert max(*wrong, *right) == 0.0
    assert world.jumps == [60.0]


def test_a_clock_that_was_set_is_believed_once_readings_apart_agree(world: World) -> None:
    world.own_ahead = 3600
    world.believed_after(0)
    world.source_ahead = 60
    believed = [world.believed_after(5) for _ in range(12)]
    late = int(AGREE_AFTER_SECONDS // 5)
    assert believed == [0.0] * late + [60.0] * (12 - late)
    assert world.jumps == [60.0]


def test_one_that_is_seldom_read_is_not_believed_either(world: World) -> None:
    world.own_ahead = 3600
    world.believed_after(0)
    world.source_ahead = 60
    assert world.believed_after(600) == 0.0
    assert world.believed_after(AGREE_AFTER_SECONDS) == 60.0


def test_a_clock_that_goes_back_is_believed_at_once(world: World) -> None:
    world.believed_after(0)
    world.source_ahead = -20
    assert world.believed_after(5) == -20.0
    assert world.jumps == [-20.0]


def test_it_is_never_believed_to_be_ahead_of_our_own_by_more_than_a_tolerance(
    world: World,
) -> None:
    world.source_ahead = 40
    assert [world.believed_after(5) for _ in range(20)] == [TOLERANCE_SECONDS] * 20
    assert world.shown["own"] == 40.0


@pytest.mark.parametrize("tolerance_seconds", [0.0, 5.0, 120.0])
def test_how_far_ahead_of_our_own_it_may_be_is_configured_and_told(
    world: World, tolerance_seconds: float
) -> None:
    world.clock.tolerance_seconds = tolerance_seconds
    world.source_ahead = 40
    believed = min(40.0, tolerance_seconds)
    assert [world.believed_after(5) for _ in range(3)] == [believed] * 3
    assert world.held_back == [40.0 - believed] * 3
    first = [(START_MS + 45_000, 40.0)] if believed < 40 else []
    assert world.ahead == first
    world.source_ahead = 0
    world.believed_after(5)
    assert world.held_back[-1] == 0.0
    world.source_ahead = 40
    world.believed_after(5)
    assert len(world.ahead) == 2 * len(first)


def test_it_is_never_believed_to_be_far_ahead_of_its_responses_date(world: World) -> None:
    world.own_ahead, world.date_ahead, world.source_ahead = 3600, 0, 60
    believed = [world.believed_after(5.25) for _ in range(20)]
    assert max(believed) <= TOLERANCE_SECONDS + 1
    assert min(believed) >= TOLERANCE_SECONDS
    assert world.jumps == []
    assert 58 <= world.shown["date"] <= 60


def test_a_difference_is_shown_for_a_minute(world: World) -> None:
    world.redis_ahead = -3600
    world.believed_after(0)
    assert world.shown == {"own": 0.0, "redis": 3600.0}
    world.redis_ahead = 0
    world.believed_after(SHOWN_SECONDS)
    assert world.shown["redis"] == 3600.0
    world.believed_after(1)
    assert world.shown["redis"] == 0.0


def test_a_slow_response_is_no_difference_and_no_jump(world: World) -> None:
    world.believed_after(0)
    for trip_seconds in (0.0, 20.0, 0.0):
        world.trip_seconds = trip_seconds
        assert world.believed_after(5) <= 0.0
    assert world.shown == {"own": 0.0, "redis": 0.0}
    assert world.jumps == []


@pytest.mark.parametrize("trips_seconds", [(20.0, 0.0), (0.0, 20.0, 20.0, 20.0, 0.0)])
@pytest.mark.parametrize("own_ahead", [0.0, 3600.0])
def test_a_source_that_was_slow_has_not_gone_back_and_was_not_believed_to_be_ahead(
    world: World, trips_seconds: tuple[float, ...], own_ahead: float
) -> None:
    world.own_ahead, world.date_ahead = own_ahead, 0.0
    for trip_seconds in trips_seconds:
        world.trip_seconds = trip_seconds
        world.believed_after(20)
        world.seconds += 1
        # Carried on, not read anew.
        assert world.clock.believed_ms(0) <= world.at(0)
    assert world.clock.believed_ms(0) == world.at(0)
    assert world.jumps == []


def test_a_clock_that_goes_back_is_noticed_after_slow_responses(world: World) -> None:
    world.trip_seconds = 4
    world.believed_after(0)
    world.trip_seconds, world.source_ahead = 0, -20
    assert world.believed_after(5) == -20.0
    assert world.jumps == [-18.0]


def test_the_date_of_a_slow_response_is_no_difference(world: World) -> None:
    """The clock was read as the query came, the response was dated as it went out."""
    reading = ClockReading(world.at(0), (world.at(0) + 20_000) // 1000 * 1000)

    def slowly() -> ClockReading:
        world.seconds += 20
        return reading

    world.clock.read = slowly
    world.clock.check()
    assert world.shown["date"] == 0.0


def test_a_reading_is_carried_on_until_it_is_old_or_not_enough(world: World) -> None:
    assert world.clock.believed_ms(world.at(0)) == world.at(0)
    world.seconds += KEPT_SECONDS
    assert world.clock.believed_ms(world.at(0)) == world.at(0)
    assert world.readings == 1
    assert world.clock.believed_ms(world.at(1)) == world.at(0)
    assert world.readings == 2
    world.seconds += KEPT_SECONDS + 1
    world.clock.believed_ms(world.at(0))
    assert world.readings == 3


def test_it_says_when_the_source_answered_last(world: World) -> None:
    assert world.clock.read_at == float("-inf")
    world.seconds = 7.0
    world.clock.check()
    world.seconds += 5
    assert world.clock.read_at == 7.0
