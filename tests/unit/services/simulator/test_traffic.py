"""The traffic model: seeded, shaped by the day, with slow and failing phases."""

from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile
from random import Random

import pytest

from services.simulator.traffic import ROUTES, Phase, Request, Route, Traffic

DAY_SECONDS = 86_400.0
NOON = 1_700_006_400.0 - 1_700_006_400.0 % DAY_SECONDS + DAY_SECONDS / 2


def between(traffic: Traffic, start: float, end: float, seed: int = 7) -> list[Request]:
    coming = traffic.requests(start, Random(seed))
    return list(takewhile(lambda request: request.start_seconds < end, coming))


def phase_start(traffic: Traffic, wanted: Phase) -> float:
    """The first second of a day that lies in such a phase."""
    return next(NOON + second for second in range(86_400) if traffic.phase(NOON + second) is wanted)


def test_one_seed_makes_one_traffic() -> None:
    first, same, other = (
        list(islice(Traffic(seed).requests(NOON, Random(seed)), 500)) for seed in (1, 1, 2)
    )
    assert first == same
    assert first != other


def test_requests_come_in_order_and_begin_after_the_start() -> None:
    requests = between(Traffic(1), NOON, NOON + 60)
    starts = [request.start_seconds for request in requests]
    assert starts == sorted(starts)
    assert starts[0] > NOON
    assert all(request.duration_seconds > 0 for request in requests)
    assert all(request.end_seconds > request.start_seconds for request in requests)


@pytest.mark.parametrize("day_seconds", [86_400.0, 600.0])
def test_the_rate_follows_the_day(day_seconds: float) -> None:
    traffic = Traffic(1, busiest_rate_per_second=50, day_seconds=day_seconds)
    hours = [traffic.rate_per_second(hour / 24 * day_seconds) for hour in range(24)]
    assert hours.index(max(hours)) == 15
    assert hours.index(min(hours)) == 3
    assert max(hours) == pytest.approx(50)
    assert min(hours) == pytest.approx(15)


@pytest.mark.parametrize("hour", [3, 9, 15])
def test_as_many_requests_come_as_the_rate_says(hour: int) -> None:
    traffic = Traffic(1, busiest_rate_per_second=40)
    start = hour * 3600.0
    count = len(between(traffic, start, start + 600))
    expected = 600 * traffic.rate_per_second(start + 300)
    # Five standard deviations of a Poisson count; the seed is fixed anyway.
    assert abs(count - expected) < 5 * expected**0.5


def test_every_phase_occurs_and_is_known_from_seed_and_time_alone() -> None:
    moments = [NOON + 10 * n for n in range(8640)]
    seen = [Traffic(3).phase(moment) for moment in moments]
    shares = {phase: count / len(seen) for phase, count in Counter(seen).items()}
    assert set(shares) == set(Phase)
    assert shares[Phase.NORMAL] > 0.8
    # Asked in any order, by anyone.
    assert [Traffic(3).phase(moment) for moment in reversed(moments)] == seen[::-1]
    assert [Traffic(4).phase(moment) for moment in moments] != seen


def error_share(requests: list[Request]) -> float:
    return sum(request.status in {"500", "503"} for request in requests) / len(requests)


def median_seconds(requests: list[Request]) -> float:
    durations = sorted(request.duration_seconds for request in requests)
    return durations[len(durations) // 2]


def test_phases_show_in_errors_and_durations() -> None:
    traffic = Traffic(3, busiest_rate_per_second=100)
    samples = {
        phase: between(traffic, begin, begin + 30)
        for phase in Phase
        for begin in [phase_start(traffic, phase)]
    }
    normal = samples[Phase.NORMAL]
    assert error_share(normal) < 0.03
    assert error_share(samples[Phase.FAILING]) > 0.15
    assert error_share(samples[Phase.SLOW]) < 0.03
    assert median_seconds(samples[Phase.SLOW]) > 3 * median_seconds(normal)
    assert median_seconds(samples[Phase.FAILING]) < 2 * median_seconds(normal)


def test_every_route_is_asked_and_answers_with_its_own_statuses() -> None:
    by_route: dict[tuple[str, str], set[str]] = {}
    for request in between(Traffic(1), NOON, NOON + 600):
        by_route.setdefault((request.method, request.handler), set()).add(request.status)
    known = {(route.method, route.handler): set(route.statuses) for route in ROUTES}
    assert set(by_route) == set(known)
    for route, statuses in by_route.items():
        assert statuses <= known[route]


def test_nothing_takes_longer_than_the_applications_time_out() -> None:
    slow = Traffic(1, routes=(Route("GET", "/", 1, 1000.0),))
    assert {request.duration_seconds for request in islice(slow.requests(0, Random(1)), 50)} == {
        30.0
    }
