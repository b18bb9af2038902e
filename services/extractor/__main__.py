"""Starts the extractor: ``python -m services.extractor --config PATH``."""

from __future__ import annotations

import random
import threading
import time

from redis import Redis
from redis.exceptions import RedisError

from common.config import Settings
from common.exit_codes import ExitCode
from common.runtime.backoff import Backoff
from common.runtime.service import Service, run
from common.runtime.wiring import consumer_name
from common.samples.series import SeriesEncoder
from common.state.keys import Keys
from common.state.redis_client import connect_as_set
from common.state.windows import WindowSet
from services.extractor.aof import AofHealer
from services.extractor.extract import Extractor, SourceState
from services.extractor.history import LOWEST_TIMESTAMP_METRIC, NOT_REPORTED, SourceHistory
from services.extractor.jobs import Jobs
from services.extractor.planner import Planner
from services.extractor.pressure import BackPressure
from services.extractor.prometheus import PrometheusClient
from services.extractor.recheck import Rechecker
from services.extractor.scheduler import Scheduler
from services.extractor.source_checks.clock_limit import ClockLimit
from services.extractor.source_checks.settling import SettleCheck
from services.extractor.staging import EntryBuilder
from services.extractor.windows import plans_of
from services.extractor.worker import Worker

# A feed that nobody planned for so long belongs to no configuration that still runs.
CLOSE_AFTER_INTERVALS = 10
CLOSE_AFTER_AT_LEAST_SECONDS = 120.0
PLAN_AT_MOST_EVERY_SECONDS = 5.0
PLAN_AT_LEAST_EVERY_SECONDS = 0.25
REDIS_BACKOFF = Backoff(base_seconds=0.2, max_seconds=5.0, shortest_seconds=0.1)


def main(service: Service) -> ExitCode:
    """Plan, lease and extract until the service stops."""
    settings, telemetry = service.settings, service.telemetry
    pipeline = settings.pipeline
    redis = connect_as_set(pipeline)

    def on_remark(query: str, remark: str) -> None:
        telemetry.emit("query_remark", promql=query, remark=remark)

    source = PrometheusClient(settings.extract, on_remark=on_remark)
    history = SourceHistory(source, lambda: on_remark(LOWEST_TIMESTAMP_METRIC, NOT_REPORTED))
    scheduler = Scheduler(redis, Keys(pipeline.redis_namespace))
    jobs = _jobs(service, redis, scheduler, source, history)
    service.set_ready("prometheus", False, "not checked yet")
    service.set_ready("redis", False, "not checked yet")
    every_seconds = min(
        PLAN_AT_MOST_EVERY_SECONDS, max(PLAN_AT_LEAST_EVERY_SECONDS, pipeline.interval_seconds / 4)
    )
    planning = threading.Thread(
        target=scheduler.plan_at_each_tick,
        args=(every_seconds, service.stop, telemetry),
        name="planning-tick",
        daemon=True,
    )
    planning.start()
    try:
        _work(service, redis, scheduler, jobs)
    finally:
        planning.join(timeout=REDIS_BACKOFF.max_seconds)
        source.close()
        redis.close()
    return ExitCode.OK


def packer(settings: Settings) -> EntryBuilder:
    """How blocks become entries: colliding series meet, where relabelling can make any collide."""
    identities = SeriesEncoder.from_settings(settings).keys if settings.transform.relabel else None
    return EntryBuilder(settings.extract.entry_samples, identities)


def _jobs(
    service: Service,
    redis: Redis,
    scheduler: Scheduler,
    source: PrometheusClient,
    history: SourceHistory,
) -> Jobs:
    settings, telemetry = service.settings, service.telemetry
    pipeline, extract = settings.pipeline, settings.extract
    plans = plans_of(settings)
    windows = WindowSet(
        redis,
        Keys(pipeline.redis_namespace),
        lease_seconds=extract.window_lease_seconds,
        max_open=extract.max_open_windows,
    )

    def on_source(state: SourceState) -> None:
        service.set_ready("prometheus", state.ok, state.reason)

    close_after_seconds = max(
        CLOSE_AFTER_AT_LEAST_SECONDS, CLOSE_AFTER_INTERVALS * pipeline.interval_seconds
    )
    planner = Planner(
        plans,
        windows,
        history,
        telemetry,
        close_after_seconds=close_after_seconds,
        limited_ms=ClockLimit(extract.clock_tolerance_seconds, telemetry).limited_ms,
        on_check=SettleCheck(plans, source.scrape_settings, telemetry),
    )
    return Jobs(
        plans=plans,
        planner=planner,
        extractor=Extractor(
            windows,
            source.read,
            history,
            packer(settings),
            extract,
            telemetry,
            on_source=on_source,
            tick=service.tick,
        ),
        rechecker=Rechecker(
            windows,
            source.count_in,
            source.read,
            history,
            telemetry,
            extract.recheck_after_seconds,
            planner.origin_ms,
        ),
        aof_healer=AofHealer(redis, telemetry),
        windows=windows,
        scheduler=scheduler,
        pressure=BackPressure(windows, pipeline, telemetry, service.set_ready),
        telemetry=telemetry,
        stop=service.stop,
        tick=service.tick,
        on_source=on_source,
    )


def _work(service: Service, redis: Redis, scheduler: Scheduler, jobs: Jobs) -> None:
    """Run RQ workers, one after the other, until the service stops."""
    rng, failures = random.Random(), 0
    while not service.stop.is_set():
        try:
            worker = Worker(
                list(scheduler.queues.values()),
                redis,
                jobs.table(),
                service.stop,
                service.tick,
                consumer_name("extractor"),
                service.telemetry,
            )
            service.set_ready("redis", True)
            # It ends by itself when Redis fails it.
            failures = 0 if worker.work(logging_level=None) else failures + 1
        except RedisError as error:
            failures += 1
            service.set_ready("redis", False, str(error))
            service.telemetry.emit("redis_unavailable", stage="extractor", error=str(error))
        _wait(service, REDIS_BACKOFF.seconds(failures, rng))


def _wait(service: Service, seconds: float) -> None:
    """Wait until then, or until the service stops; it lives meanwhile."""
    deadline = time.monotonic() + seconds
    while (left_seconds := deadline - time.monotonic()) > 0:
        service.tick()
        if service.stop.wait(min(left_seconds, 1.0)):
            return


if __name__ == "__main__":
    run("extractor", main)
