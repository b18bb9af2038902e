"""The order of the demo: set up, let it run, stop planning, drain, compare, report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any, Self

from redis.exceptions import RedisError

from common.config import Query, Settings, TierName, load_settings
from common.errors import StackError
from common.state.keys import feed_of
from common.state.ledger import Audit, Ledger
from common.state.windows import FeedStatus, WindowSet
from devtools import PROJECT_ROOT
from devtools.demo.report import DemoReport
from devtools.demo.view import View, snapshot
from devtools.servers.processes import stop_together
from devtools.servers.service_process import ServiceProcess
from devtools.servers.stack import PIPELINE, LocalStack, new_run_dir
from devtools.servers.stack_config import Pace, read_config
from devtools.servers.waiting import wait_until
from etlctl.connect import redis_of
from services.verifier.outcome import Outcome
from services.verifier.wiring import connected, verifier

# Two transformers, to show that they share the work.
PROCESSES = {"extractor": 1, "transformer": 2, "loader": 1}
PACE = Pace(scrape_interval_seconds=0.25)
# A minute is too short for the project's own tiers, whose windows are an hour long. An increase
# would read five minutes again for every five seconds.
WARM = {
    "bucket": "health_metrics_5s",
    "resolution": 5,
    "window": 5,
    "aggregates": ["avg", "min", "max", "count", "last"],
}
DRAIN_SECONDS = 60.0
REFRESH_SECONDS = 0.5


def demo_queries() -> list[dict[str, Any]]:
    """The queries of config/etl.yaml at the demo's pace, and the pipeline's own metrics."""
    config = read_config(PROJECT_ROOT / "config" / "etl.yaml")
    queries = [dict(query) for query in config["extract"]["queries"]]
    for query in queries:
        if "step" in query:
            query["step"] = PACE.step_seconds
    return [*queries, {"name": "pipeline", "select": f'{{job=~"{"|".join(PIPELINE)}"}}'}]


class RedisView:
    """What the pipeline's Redis holds: the ledger and the windows."""

    def __init__(self, config_path: Path) -> None:
        settings = load_settings(config_path, environ={}, secrets=("pipeline",))
        redis, keys = redis_of(settings.pipeline)
        self._redis = redis
        self._ledger = Ledger(redis, keys)
        self._windows = WindowSet(redis, keys)

    def audit(self) -> Audit:
        """The ledger at one instant."""
        return self._ledger.audit()

    def feeds(self) -> dict[str, FeedStatus]:
        """The windows at one instant."""
        return self._windows.status()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._redis.close()


class Demo:
    """One demo. Setting ``stop`` ends the time of moving numbers early; what follows still runs."""

    def __init__(
        self,
        view: View,
        *,
        run_seconds: float,
        stop: threading.Event,
        run_dir: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view = view
        self._run_seconds = run_seconds
        self._stop = stop
        self._run_dir = run_dir
        self._clock = clock

    def run(self) -> DemoReport:
        """Raises an :class:`~common.errors.EtlError` when a step fails; nothing is left running."""
        began = self._clock()
        with self._view.steps("Setting up") as progress:
            stack = LocalStack(
                self._run_dir or new_run_dir("demo"),
                progress=progress,
                pace=PACE,
                config_overrides={
                    "extract": {"queries": demo_queries()},
                    "load": {"tiers": {"warm": WARM}},
                },
            )
            try:
                stack.start()
                stack.start_services(PROCESSES)
            except BaseException:
                stack.stop()
                raise
        try:
            return self._run(stack, self._clock() - began)
        finally:
            self._view.say("Stopping everything.")
            stack.stop()

    def _run(self, stack: LocalStack, setup_seconds: float) -> DemoReport:
        processes = {"simulator": 1, **stack.process_counts}
        with RedisView(stack.config_path) as state:
            began = self._clock()
            self._watch(stack, state, began)
            seconds = self._clock() - began
            ranges = self._drain(stack, state, began)
            audit = state.audit()
        self._view.say("Reading Prometheus and InfluxDB back, comparing point by point …")
        outcomes = self._compare(stack.config_path, ranges)
        return DemoReport(seconds, setup_seconds, outcomes, audit, processes)

    def _watch(self, stack: LocalStack, state: RedisView, began: float) -> None:
        """Show the numbers until the time is over or somebody wants to stop."""
        length = f"for {self._run_seconds:g} s" if self._run_seconds else "until Ctrl-C"
        with self._view.numbers(f"Running {length}; logs are in {stack.log_dir}") as show:
            while True:
                elapsed_seconds = self._clock() - began
                _must_run(*stack.all_services())
                show(snapshot(state.audit(), state.feeds(), elapsed_seconds))
                rest_seconds = self._run_seconds - elapsed_seconds if self._run_seconds else inf
                if rest_seconds <= 0 or self._stop.wait(min(REFRESH_SECONDS, rest_seconds)):
                    return

    def _drain(
        self, stack: LocalStack, state: RedisView, began: float
    ) -> dict[str, tuple[int, int]]:
        """Let what is planned arrive, then stop planning and let the rest arrive.

        Returns by feed the time ``(start_ms, end_ms]`` that is loaded to the last sample.
        """
        planned_ms = {name: feed.head_ms for name, feed in state.feeds().items()}
        settings = load_settings(stack.config_path, environ={})
        names = [feed_of(query.name, tier) for tier, query in _queries(settings)]
        with self._view.numbers("Stopping: letting what is planned arrive") as show:

            def shown() -> tuple[Audit, dict[str, FeedStatus]]:
                _must_run(*stack.services["transformer"], *stack.services["loader"])
                audit, feeds = state.audit(), state.feeds()
                show(snapshot(audit, feeds, self._clock() - began))
                return audit, feeds

            def arrived() -> bool:
                # A very short demo may end before anything was planned: then wait for some of it.
                feeds = shown()[1]
                return feeds.keys() >= set(names) and all(
                    feed.loaded_watermark_ms >= max(planned_ms.get(name, 0), feed.origin_ms + 1)
                    for name, feed in feeds.items()
                )

            def drained() -> bool:
                audit, feeds = shown()
                unsettled = any(feed.unsettled for feed in feeds.values())
                return not unsettled and not audit.total.in_flight

            wait_until(
                arrived, deadline_seconds=DRAIN_SECONDS, what="loading what was planned",
                poll_seconds=REFRESH_SECONDS,
            )  # fmt: skip
            stop_together(stack.services["extractor"])
            wait_until(
                drained, deadline_seconds=DRAIN_SECONDS, what="emptying the streams",
                poll_seconds=REFRESH_SECONDS,
            )  # fmt: skip
        return {
            name: (feed.origin_ms, feed.loaded_watermark_ms) for name, feed in state.feeds().items()
        }

    def _compare(
        self, config_path: Path, ranges: Mapping[str, tuple[int, int]]
    ) -> dict[str, Outcome]:
        """Each query over its own range, by tier: their windows do not end at the same time."""

        def no_redis(error: RedisError) -> None:
            raise StackError(f"Redis cannot be read: {error}")

        settings = load_settings(config_path, environ={})
        found: dict[str, Outcome] = {}
        for tier, query in _queries(settings):
            with connected(settings, (query.name,), no_redis, tier) as parts:
                of_query = verifier(parts).run(*ranges[feed_of(query.name, tier)])
            whole = found.setdefault(tier, of_query)
            if whole is not of_query:
                whole.start_ms = min(whole.start_ms, of_query.start_ms)
                whole.end_ms = max(whole.end_ms, of_query.end_ms)
                whole.results += of_query.results
        return found


def _queries(settings: Settings) -> list[tuple[TierName, Query]]:
    """Every query of every tier that holds it."""
    return [
        (tier, query)
        for tier in settings.load.tiers
        for query in settings.extract.queries
        if query.is_in(tier)
    ]


def _must_run(*services: ServiceProcess) -> None:
    """Raise :class:`~common.errors.StackError` with a service's last log lines if one has ended."""
    for service in services:
        if not service.running:
            raise StackError(
                f"{service.name} ended with exit code {service.exit_code};"
                f" the last lines of {service.log_path}:\n{service.log_tail()}"
            )
