"""The test application: what it counts is what the traffic model said."""

from __future__ import annotations

from itertools import takewhile
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from services.simulator.app import TestApplication
from services.simulator.traffic import ROUTES, Request, Route, Traffic

START = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def expected(traffic: Traffic, seed: int, until: float) -> list[Request]:
    coming = traffic.requests(START, Random(seed))
    return list(takewhile(lambda request: request.start_seconds <= until, coming))


def total(registry: CollectorRegistry, name: str) -> float:
    return sum(
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    )


def test_every_series_is_there_before_the_first_request(
    registry: CollectorRegistry, clock: Clock
) -> None:
    TestApplication(Traffic(1), Random(1), clock, registry)
    for route in ROUTES:
        labels = {"method": route.method, "handler": route.handler}
        for status in route.statuses:
            counted = registry.get_sample_value("http_requests_total", labels | {"status": status})
            assert counted == 0
        assert registry.get_sample_value("http_request_duration_seconds_count", labels) == 0
    assert registry.get_sample_value("http_requests_in_flight") == 0


@pytest.mark.parametrize("step_seconds", [0.05, 1.0, 30.0])
def test_counts_the_same_however_often_it_is_advanced(
    registry: CollectorRegistry, clock: Clock, step_seconds: float
) -> None:
    traffic = Traffic(5, busiest_rate_per_second=50)
    application = TestApplication(traffic, Random(9), clock, registry)
    for _ in range(round(30 / step_seconds)):
        clock.now += step_seconds
        application.advance()
    begun = expected(traffic, 9, clock.now)
    answered = [request for request in begun if request.end_seconds <= clock.now]
    assert len(answered) > 200
    assert total(registry, "http_requests_total") == len(answered)
    assert total(registry, "http_request_duration_seconds_count") == len(answered)
    assert total(registry, "http_request_duration_seconds_sum") == pytest.approx(
        sum(request.duration_seconds for request in answered)
    )
    assert total(registry, "http_requests_in_flight") == len(begun) - len(answered)
    one = answered[0]
    labels = {"method": one.method, "handler": one.handler, "status": one.status}
    same = [r for r in answered if (r.method, r.handler, r.status) == tuple(labels.values())]
    assert registry.get_sample_value("http_requests_total", labels) == len(same)


def test_slow_requests_are_in_flight_until_they_are_answered(
    registry: CollectorRegistry, clock: Clock
) -> None:
    traffic = Traffic(1, busiest_rate_per_second=10, routes=(Route("GET", "/", 1, 1000.0),))
    application = TestApplication(traffic, Random(1), clock, registry)
    clock.now += 20
    application.advance()
    in_flight = total(registry, "http_requests_in_flight")
    assert in_flight == len(expected(traffic, 1, clock.now)) > 0
    assert total(registry, "http_requests_total") == 0
    clock.now += 30
    application.advance()
    assert total(registry, "http_requests_total") == in_flight


def test_a_machine_that_slept_does_not_serve_what_it_missed(
    registry: CollectorRegistry, clock: Clock
) -> None:
    application = TestApplication(Traffic(1), Random(1), clock, registry)
    clock.now += 10
    application.advance()
    before = total(registry, "http_requests_total")
    clock.now += 86_400
    application.advance()
    assert total(registry, "http_requests_total") == before
    clock.now += 10
    application.advance()
    assert before < total(registry, "http_requests_total") < before + 1000


def test_a_clock_that_goes_back_counts_nothing_twice(
    registry: CollectorRegistry, clock: Clock
) -> None:
    application = TestApplication(Traffic(1), Random(1), clock, registry)
    clock.now += 10
    application.advance()
    before = total(registry, "http_requests_total")
    clock.now -= 10
    application.advance()
    assert total(registry, "http_requests_total") == before
