"""The test application: metrics of the requests that it pretends to serve."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from random import Random

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.simulator.traffic import Request, Traffic

# A machine that slept is not made to serve what it missed.
_LONGEST_CATCH_UP_SECONDS = 60.0
_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class TestApplication:
    """Counts the traffic of a model into ``registry``; safe to advance from several threads.

    ``clock`` gives seconds since the epoch and must not go backwards.
    """

    __test__ = False  # pytest, it is not one of yours

    def __init__(
        self,
        traffic: Traffic,
        random: Random,
        clock: Callable[[], float],
        registry: CollectorRegistry,
    ) -> None:
        self._traffic = traffic
        self._random = random
        self._clock = clock
        self._lock = threading.Lock()
        self._requests_total = Counter(
            "http_requests",
            "Requests answered, by outcome.",
            ("method", "handler", "status"),
            registry=registry,
        )
        self._duration = Histogram(
            "http_request_duration_seconds",
            "How long requests took to answer.",
            ("method", "handler"),
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "http_requests_in_flight", "Requests begun and not answered yet.", registry=registry
        )
        # Every series exists from the start: a rate over a series that appears misses its first
        # step.
        for route in traffic.routes:
            self._duration.labels(route.method, route.handler)
            for status in route.statuses:
                self._requests_total.labels(route.method, route.handler, status)
        self._begin(clock())

    def _begin(self, now_seconds: float) -> None:
        self._now_seconds = now_seconds
        self._coming = self._traffic.requests(now_seconds, self._random)
        self._next = next(self._coming)
        # (end, order of beginning, request): the order decides between equal ends.
        self._open: list[tuple[float, int, Request]] = []
        self._begun = 0

    def advance(self) -> None:
        """Serves everything up to now."""
        with self._lock:
            now_seconds = self._clock()
            if now_seconds - self._now_seconds > _LONGEST_CATCH_UP_SECONDS:
                self._begin(now_seconds)
            self._now_seconds = max(self._now_seconds, now_seconds)
            while self._next.start_seconds <= now_seconds:
                heapq.heappush(self._open, (self._next.end_seconds, self._begun, self._next))
                self._begun += 1
                self._next = next(self._coming)
            while self._open and self._open[0][0] <= now_seconds:
                self._answer(heapq.heappop(self._open)[2])
            self._in_flight.set(len(self._open))

    def _answer(self, request: Request) -> None:
        self._requests_total.labels(request.method, request.handler, request.status).inc()
        self._duration.labels(request.method, request.handler).observe(request.duration_seconds)
