"""Where checking sealed windows begins and ends: ranges, retention, pieces and pages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from common.config import load_settings
from services.verifier.connect import sink_of
from services.verifier.sealed.outcome import Kind, QueryOutcome
from services.verifier.sealed.wiring import checker_of
from tests.integration.etlctl.verify.sealing import WINDOW_MS, Sealer
from tests.integration.etlctl.verify.world import World

Bounds = tuple[int | None, int | None]
OPEN: Bounds = (None, None)


@pytest.fixture
def sealed(world: World) -> World:
    """All windows are sealed and as they were."""
    world.write(world.expected())
    Sealer(world).seal_all(world.expected())
    return world


def check(world: World, bounds: Bounds = OPEN, clock: Iterator[int] | None = None) -> QueryOutcome:
    """The outcome for ``raw``; ``clock`` gives now in ms each time that it is asked."""
    settings = load_settings(world.config())
    with closing(sink_of(settings, "hot")) as sink:
        now_ms = (lambda: next(clock)) if clock else (lambda: time.time_ns() // 1_000_000)
        return checker_of(settings, sink, now_ms).run("raw", *bounds)


def kept(world: World, seconds: int) -> None:
    world.changes["load.tiers"] = {"hot": {"bucket": world.database, "retention": seconds}}


def found(outcome: QueryOutcome) -> dict[Kind, int]:
    return dict(+outcome.windows)


def test_bounds_that_are_not_given_are_those_of_the_windows(sealed: World) -> None:
    outcome = check(sealed)
    assert (outcome.start_ms, outcome.end_ms) == (sealed.start_ms, sealed.end_ms)
    assert (outcome.unsealed, found(outcome)) == ([], {Kind.INTACT: 7})


def test_a_window_that_only_touches_the_range_is_not_in_it(sealed: World) -> None:
    bounds = Sealer(sealed).bounds
    inside = bounds[2][0], bounds[3][1]
    assert found(check(sealed, inside)) == {Kind.INTACT: 2}
    assert found(check(sealed, (inside[0] - 1, inside[1] + 1))) == {Kind.INTACT: 4}
    assert found(check(sealed, (inside[0] + 1, None))) == {Kind.INTACT: 5}
    assert found(check(sealed, (None, inside[0] + 1))) == {Kind.INTACT: 3}


def test_the_range_may_reach_beyond_the_seals(sealed: World) -> None:
    before, after = sealed.start_ms - WINDOW_MS, sealed.end_ms + WINDOW_MS
    outcome = check(sealed, (before, after))
    assert outcome.unsealed == [(before, sealed.start_ms), (sealed.end_ms, after)]
    outcome = check(sealed, (sealed.end_ms + 1, after))
    assert (outcome.unsealed, found(outcome)) == ([(sealed.end_ms + 1, after)], {})
    outcome = check(sealed, (sealed.end_ms + 1, None))
    assert (outcome.unsealed, outcome.end_ms) == ([], None)
    outcome = check(sealed, (None, sealed.start_ms))
    assert (outcome.unsealed, found(outcome)) == ([], {})


def test_what_was_replayed_of_no_known_window_seals_nothing(sealed: World) -> None:
    Sealer(sealed).seal((sealed.end_ms, sealed.end_ms + 60_000), [], ",part=replay")
    outcome = check(sealed)
    assert (outcome.unsealed, outcome.end_ms) == ([], sealed.end_ms)


def test_time_that_the_sink_has_forgotten_need_not_be_sealed(sealed: World) -> None:
    kept(sealed, 3_600)
    first, second, *_ = Sealer(sealed).bounds
    forgotten_ms = first[0] - 120_000
    clock = iter([forgotten_ms + 3_600_000] * 1000)
    outcome = check(sealed, (first[0] - WINDOW_MS, second[1]), clock)
    assert outcome.unsealed == [(forgotten_ms, first[0])]

    clock = iter([forgotten_ms + 3_600_000] * 1000)
    sealed.changes["pipeline.redis_namespace"] = "nobody"
    outcome = check(sealed, (first[0] - WINDOW_MS, second[1]), clock)
    assert outcome.unsealed == [(forgotten_ms, second[1])]

    after_ms = sealed.end_ms + 2 * WINDOW_MS
    clock = iter([sealed.end_ms + WINDOW_MS + 3_600_000] * 1000)
    sealed.changes.pop("pipeline.redis_namespace")
    outcome = check(sealed, (None, after_ms), clock)
    assert outcome.unsealed == [(sealed.end_ms + WINDOW_MS, after_ms)]
    assert found(outcome) == {Kind.EXPIRED: 7}


def test_what_expires_while_it_is_read_is_expired_and_no_damage(sealed: World) -> None:
    kept(sealed, 3_600)
    third = Sealer(sealed).bounds[2]
    sealed.influx.query('DELETE FROM "load"', database=sealed.database)
    early_ms, late_ms = sealed.start_ms - 1 + 3_600_000, third[0] + 1 + 3_600_000

    def clock() -> Iterator[int]:
        yield early_ms
        while True:
            yield late_ms

    assert found(check(sealed, OPEN, clock())) == {Kind.EXPIRED: 3, Kind.THINNED: 3, Kind.INTACT: 1}


@pytest.mark.parametrize("piece_points", [1, 100_000])
@pytest.mark.parametrize("page_seals", [2, 3, 4])
def test_pieces_and_pages_change_nothing(
    sealed: World, monkeypatch: Any, piece_points: int, page_seals: int
) -> None:
    bounds = Sealer(sealed).bounds
    sealer = Sealer(sealed, sealed_ms=1_800_000_000_000)
    series = [("load", (("host", f"h{n}"), ("job", "app"))) for n in range(3)]
    at_ms = bounds[1][1]
    points = [(one, at_ms, 1.5) for one in series]
    sealed.write(points)
    # More series within one millisecond than a piece may have; and what is replayed of each.
    sealer.seal((at_ms - 1, at_ms), [])
    sealer.seal(
        (at_ms - 1, at_ms),
        [*points, *(p for p in sealed.expected() if p[1] == at_ms)],
        ",part=replay",
    )
    sealer.seal((bounds[1][0], at_ms - 1), sealed.expected())
    monkeypatch.setattr("services.verifier.sealed.wiring.PIECE_POINTS", piece_points)
    monkeypatch.setattr("services.verifier.sealed.seals._PAGE_SEALS", page_seals)
    outcome = check(sealed)
    assert (found(outcome), outcome.unsealed) == ({Kind.INTACT: 8}, [])
    assert outcome.points == len(sealed.expected()) + 3


def test_a_window_longer_than_a_day_takes_the_place_of_all_before(
    sealed: World, monkeypatch: Any
) -> None:
    monkeypatch.setattr("services.verifier.sealed.seals._PAGE_SEALS", 2)
    start_ms, end_ms = sealed.start_ms - 3 * 86_400_000, sealed.end_ms + 60_000
    Sealer(sealed, sealed_ms=1_800_000_000_000).seal((start_ms, end_ms), sealed.expected())
    outcome = check(sealed)
    assert (outcome.start_ms, outcome.end_ms) == (start_ms, end_ms)
    assert found(outcome) == {Kind.INTACT: 1}
