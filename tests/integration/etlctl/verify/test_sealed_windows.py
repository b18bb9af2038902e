"""Which windows a range has a part of, by seals in a real influxd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from common.config import load_settings
from services.verifier.connect import sink_of
from services.verifier.sealed.seals import SealReader
from services.verifier.sealed.windows import sealed_windows, whole_windows
from tests.integration.etlctl.verify.sealing import WINDOW_MS, Sealer
from tests.integration.etlctl.verify.world import World


@pytest.fixture
def sealer(world: World) -> Sealer:
    made = Sealer(world)
    made.seal_all([])
    return made


@pytest.fixture
def reader(world: World) -> Iterator[SealReader]:
    with closing(sink_of(load_settings(world.config()), "hot")) as sink:
        yield SealReader(sink, world.namespace, "raw", "hot")


def test_a_range_is_widened_to_the_windows_that_it_has_a_part_of(
    sealer: Sealer, reader: SealReader
) -> None:
    second, third, fifth = (sealer.bounds[number] for number in (1, 2, 4))
    ranges = [(second[1] - 1, third[0] + 1), (fifth[0] + 1000, fifth[0] + 2000)]
    assert whole_windows(reader, ranges, 0, ()) == [(second[0], third[1]), fifth]
    assert whole_windows(reader, [second], 0, ()) == [second], "its neighbours only touch it"


def test_a_window_that_the_source_has_in_part_is_left(sealer: Sealer, reader: SealReader) -> None:
    second, third = sealer.bounds[1:3]
    ranges = [(second[1] - 1000, third[0] + 1000)]
    assert whole_windows(reader, ranges, second[0] + 1, ()) == [(second[1] - 1000, third[1])]


def test_only_what_holds_counts(sealer: Sealer, reader: SealReader) -> None:
    second = sealer.bounds[1]
    newer = (second[0] + WINDOW_MS // 2, second[1])
    sealer.seal(newer, [])
    ranges = [(newer[0] + 1, newer[0] + 2)]
    assert whole_windows(reader, ranges, 0, ()) == [newer]
    assert [(one.start_ms, one.end_ms) for one in sealed_windows(reader, second)] == [newer]


def test_without_seals_ranges_are_as_they_were(reader: SealReader) -> None:
    assert whole_windows(reader, [(70_000, 70_001), (1, 2)], 0, ()) == [(1, 2), (70_000, 70_001)]


def test_near_ranges_are_one(reader: SealReader) -> None:
    assert whole_windows(reader, [(5, 9), (1, 2)], 0, ()) == [(1, 9)]
    assert whole_windows(reader, [], 0, ()) == []


def test_a_window_whose_seal_is_not_in_the_sink_yet_is_known_otherwise(
    reader: SealReader,
) -> None:
    unsealed = [(1000, 2000), (2000, 3000), (100_000, 200_000)]
    assert whole_windows(reader, [(1500, 1600)], 0, unsealed) == [(1000, 2000)]
    assert whole_windows(reader, [(1500, 1600)], 1001, unsealed) == [(1500, 1600)]
