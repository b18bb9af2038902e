"""What time the seals in a real influxd speak of, however many pages they are read in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from common.config import load_settings
from etlctl.coverage.seals import FeedSeals
from services.verifier.connect import sink_of
from tests.integration.etlctl.coverage.world import HOUR_MS, START_MS, World

Read = Callable[..., list[tuple[float, float]]]
UNKNOWN = "unknown"
REPLAY = ",part=replay"


@pytest.fixture
def read(world: World) -> Iterator[Read]:
    """Reads in pages of so many seals; hours since the start."""
    world.run()  # writes the configuration
    sink = sink_of(load_settings(world.folder / "etl.yaml"), "hot")

    def ranges(
        page_seals: int, first: float = -100, last: float = 1_000
    ) -> list[tuple[float, float]]:
        bounds = [round(START_MS + hour * HOUR_MS) for hour in (first, last)]
        found = FeedSeals(sink, world.database, "raw", "hot", page_seals).ranges(
            bounds[0], bounds[1]
        )
        return [((start - START_MS) / HOUR_MS, (end - START_MS) / HOUR_MS) for start, end in found]

    with closing(sink):
        yield ranges


pages = pytest.mark.parametrize("page_seals", [3, 4, 5, 1_000])


@pages
def test_neighbours_become_one_range(world: World, read: Read, page_seals: int) -> None:
    world.seal_windows([(hour, hour + 1) for hour in range(20) if hour not in (5, 13)])
    assert read(page_seals) == [(0, 5), (6, 13), (14, 20)]


@pages
def test_of_a_window_that_was_loaded_again_in_part_only_that_part_is_sealed(
    world: World, read: Read, page_seals: int
) -> None:
    world.seal_windows([(0, 3), (3, 6), (6, 9), (9, 12)])
    world.seal(4, 5)
    assert read(page_seals) == [(0, 3), (4, 5), (6, 12)]


@pytest.mark.parametrize("page_seals", [8, 9, 1_000])  # no fewer than it has others beside it
def test_a_long_window_takes_the_place_of_short_ones(
    world: World, read: Read, page_seals: int
) -> None:
    """Its seal is the last in time, and the newest; without a digest it says nothing of all."""
    world.seal_windows([(hour, hour + 1) for hour in range(6)])
    world.seal(1, 5.5, digest=UNKNOWN)
    world.seal(6, 7)
    assert read(page_seals) == [(0, 1), (6, 7)]
    world.seal(1, 5.5)
    assert read(page_seals) == [(0, 5.5), (6, 7)]


@pages
def test_a_window_whose_digest_is_unknown_is_not_sealed(
    world: World, read: Read, page_seals: int
) -> None:
    world.seal(0, 1)
    world.seal(1, 2, digest=UNKNOWN)
    world.seal(2, 3)
    world.seal(2, 3, digest=UNKNOWN, tags=REPLAY)
    world.seal(3, 4)
    world.seal(3, 4, tags=REPLAY)
    assert read(page_seals) == [(0, 1), (3, 4)]


@pages
def test_only_windows_with_a_part_in_the_range_are_read(
    world: World, read: Read, page_seals: int
) -> None:
    world.seal_windows([(hour, hour + 1) for hour in range(40)])
    ((first, last),) = read(page_seals, 10.5, 12.5)
    assert first == 10
    assert 13 <= last <= 13 + 2 * page_seals


def test_seals_of_others_are_not_ours(world: World, read: Read) -> None:
    world.seal(0, 1)
    world.seal_windows([(1, 2)], pipeline="another")
    assert read(1_000) == [(0, 1)]


def test_what_was_replayed_of_a_window_without_a_seal_is_no_seal_of_it(
    world: World, read: Read
) -> None:
    world.seal(0, 1, tags=REPLAY)
    assert read(1_000) == []
