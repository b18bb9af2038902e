"""Which instants are asked for, and how often."""

from __future__ import annotations

from common.config import Query
from services.extractor.history import NO_SAMPLES_MS
from services.extractor.source.older_history import KEPT_SECONDS, PROBES, OlderHistory

QUERY = Query(name="q", select="m")
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


class World:
    def __init__(self, held_until_ms: int = 0) -> None:
        self.seconds = 0.0
        self.asked: list[int] = []
        self.held_until_ms = held_until_ms
        self.older = OlderHistory(self._answers_at, lambda: self.seconds)

    def _answers_at(self, query: Query, time_ms: int) -> bool:
        self.asked.append(time_ms)
        return time_ms <= self.held_until_ms

    def reaches_back(self, from_ms: int, lowest_ms: int) -> bool:
        return self.older.reaches_back(QUERY, from_ms, lowest_ms, NOW_MS)


def test_instants_come_closer_to_the_lowest_timestamp() -> None:
    world = World()
    assert not world.reaches_back(NOW_MS - 64 * HOUR_MS, NOW_MS)
    assert [(NOW_MS - ms) // HOUR_MS for ms in world.asked] == [64, 32, 16, 8, 4, 2]


def test_the_first_answer_will_do() -> None:
    world = World(held_until_ms=NOW_MS - 20 * HOUR_MS)
    assert world.reaches_back(NOW_MS - 64 * HOUR_MS, NOW_MS)
    assert len(world.asked) == 1


def test_an_answer_stands_for_a_minute() -> None:
    world = World()
    for _ in range(3):
        assert not world.reaches_back(NOW_MS - HOUR_MS, NOW_MS)
    assert len(world.asked) == PROBES
    world.seconds += KEPT_SECONDS + 1
    world.held_until_ms = NOW_MS
    assert world.reaches_back(NOW_MS - HOUR_MS, NOW_MS)


def test_that_nothing_was_found_says_nothing_of_time_before() -> None:
    """Backlog is extracted newest first, and a store may lack what is newest."""
    world = World(held_until_ms=NOW_MS - 20 * HOUR_MS)
    assert not world.reaches_back(NOW_MS - HOUR_MS, NOW_MS)
    assert world.reaches_back(NOW_MS - 64 * HOUR_MS, NOW_MS)
    asked = len(world.asked)
    assert world.reaches_back(NOW_MS - 80 * HOUR_MS, NOW_MS)
    assert len(world.asked) == asked


def test_nothing_is_asked_where_nothing_lies_before() -> None:
    world = World(held_until_ms=NOW_MS)
    assert not world.reaches_back(NOW_MS, NOW_MS - HOUR_MS)
    assert not world.reaches_back(NOW_MS, NOW_MS)
    assert world.asked == []


def test_a_source_that_holds_nothing_is_asked_about_the_past() -> None:
    world = World()
    assert not world.reaches_back(NOW_MS - HOUR_MS, NO_SAMPLES_MS)
    assert max(world.asked) < NOW_MS
