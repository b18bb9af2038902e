"""Starts the extractor: ``python -m services.extractor --config PATH``."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from common.runtime.early_signals import end_at_once

    end_at_once(reads_again=True)

import random
import threading
import time
from collections.abc import Callable, Sequence

from redis import Redis
from redis.exceptions import RedisError

from common.config import Settings
from common.exit_codes import ExitCode
from common.runtime.backoff import Backoff
from common.runtime.readiness.dependency_watch import Dependency, probe_every_seconds, watch
from common.runtime.readiness.identity_guard import IdentityGuard
from common.runtime.readiness.redis_check import check_redis
from common.runtime.readiness.redis_watch import RedisWatch
from common.runtime.service import Service, run
from common.runtime.telemetry import Telemetry
from common.runtime.wiring import consumer_name
from common.samples.series import SeriesEncoder
from common.state.keys import Keys
from common.state.redis_client import SOCKET_TIMEOUT_SECONDS, connect_as_set
from common.state.scripts import Scripts
from common.state.windows import WindowSet
from services.extractor.aof import AofHealer
from services.extractor.extract import Extractor, SourceState
from services.extractor.history import LOWEST_TIMESTAMP_METRIC, NOT_REPORTED, SourceHistory
from services.extractor.jobs import Jobs
from services.extractor.planner import Planner
from services.extractor.planning_pace import PlanningPace
from services.extractor.pressure import BackPressure
from services.extractor.prometheus import PrometheusClient
from services.extractor.push.serve import PushServer
from services.extractor.recheck import Rechecker
from services.extractor.remote_read.doubt import Doubt
from services.extractor.scheduler import Scheduler
from services.extractor.server_watch import ServerWatch
from services.extractor.source.clock import SourceClock
from services.extractor.source.older_history import OlderHistory
from services.extractor.source.settling import SettleCheck
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan, plans_of
from services.extractor.worker import JobTable, Worker

# A feed that nobody planned for so long belongs to no configuration that still runs.
CLOSE_AFTER_INTERVALS = 10
CLOSE_AFTER_AT_LEAST_SECONDS = 120.0
PLAN_AT_MOST_EVERY_SECONDS = 5.0
PLAN_AT_LEAST_EVERY_SECONDS = 0.25
# How long Prometheus may take to tell its clock until it counts as away.
WATCH_TIMEOUT_SECONDS = 5.0
# Of `pipeline.drain_seconds`: how long a request in hand is waited for.
DRAIN_SHARE = 0.5
REDIS_BACKOFF = Backoff(base_seconds=0.2, max_seconds=5.0, shortest_seconds=0.1)


def main(service: Service) -> ExitCode:
    """Plan, lease and extract until the service stops."""
    settings, telemetry = service.settings, service.telemetry
    pipeline = settings.pipeline
    redis = connect_as_set(pipeline)
    check_redis(service, redis)

    def on_remark(query: str, remark: str) -> None:
        telemetry.emit("query_remark", promql=query, remark=remark)

    source = PrometheusClient(settings.extract, on_remark=on_remark, on_doubt=_on_doubt(telemetry))
    clock = _source_clock(service, redis, source)

    def on_servers(servers: int) -> None:
        telemetry.set("etl_source_servers", servers)
        if servers > 1:
            telemetry.emit("source_alternates", servers=servers)

    history = SourceHistory(
        source,
        lambda: on_remark(LOWEST_TIMESTAMP_METRIC, NOT_REPORTED),
        now_ms=clock.check,
        on_servers=on_servers,
        reconnect=source.close,
        older=OlderHistory(source.answers_at),
    )
    scheduler = Scheduler(redis, Keys(pipeline.redis_namespace))
    every_seconds = min(
        PLAN_AT_MOST_EVERY_SECONDS, max(PLAN_AT_LEAST_EVERY_SECONDS, pipeline.interval_seconds / 4)
    )
    plans = plans_of(settings)
    pace = PlanningPace(
        plans, pipeline.interval_seconds, every_seconds, settings.extract.recheck_after_seconds
    )
    jobs = _jobs(service, redis, scheduler, source, history, clock, plans, pace)
    service.set_ready("scheduler", False, "nothing was queued yet")
    service.set_ready("pipeline", False, "not checked yet")
    watched = _watched_source(settings)
    watch(watched, probe_every_seconds(pipeline), service.stop, service.set_ready)

    def on_scheduled(name: str, ok: bool, detail: str) -> None:
        service.set_ready(name, ok, detail, 3 * (every_seconds + SOCKET_TIMEOUT_SECONDS))

    planning = threading.Thread(
        target=scheduler.plan_at_each_tick,
        args=(every_seconds, service.stop, telemetry, on_scheduled),
        kwargs={"wanted": pace.wanted},
        name="planning-tick",
        daemon=True,
    )
    planning.start()
    stopping = threading.Thread(target=_stop_reading, args=(service, source), daemon=True)
    stopping.start()
    healing = threading.Thread(
        target=AofHealer(redis, telemetry).run,
        args=(service.stop,),
        name="append-only-file",
        daemon=True,
    )
    healing.start()
    port = settings.extract.push.port
    pushed = PushServer(service, port, plans, jobs.pressure) if port is not None else None
    try:
        with RedisWatch(service, consumer_name("extractor")):
            _work(service, redis, scheduler, jobs)
    finally:
        planning.join(timeout=REDIS_BACKOFF.max_seconds)
        healing.join(timeout=REDIS_BACKOFF.max_seconds)
        if pushed is not None:
            pushed.close()
        source.close()
        redis.close()
    return ExitCode.OK


def _watched_source(settings: Settings) -> Dependency:
    """Prometheus, over a connection that no query keeps busy."""
    timeout_seconds = min(settings.extract.timeout_seconds, WATCH_TIMEOUT_SECONDS)
    source = PrometheusClient(settings.extract.model_copy(update={"timeout": timeout_seconds}))
    return Dependency("prometheus", source.clock_reading, 2 * timeout_seconds)


def _on_doubt(telemetry: Telemetry) -> Callable[[str, Doubt], None]:
    """Counts the windows that could not be read by remote read, and says it once for each cause."""
    told: set[tuple[str, str]] = set()

    def on_doubt(query: str, doubt: Doubt) -> None:
        reason = doubt.reason
        telemetry.inc("etl_remote_read_fallbacks_total", reason=reason)
        if (query, reason) not in told:
            told.add((query, reason))
            telemetry.emit("remote_read_fallback", query=query, reason=reason, error=str(doubt))

    return on_doubt


def _stop_reading(service: Service, source: PrometheusClient) -> None:
    """Once the service stops, give the request in hand some time, and end it then.

    What it has read is extracted again; waiting longer would only miss the drain deadline.
    """
    service.stop.wait()
    time.sleep(service.settings.pipeline.drain_seconds * DRAIN_SHARE)
    source.stop()


def packer(settings: Settings) -> EntryBuilder:
    """How blocks become entries: colliding series meet, where labels can make any collide."""
    may_collide = settings.transform.relabel or settings.extract.labels
    identities = SeriesEncoder.from_settings(settings).keys if may_collide else None
    return EntryBuilder(settings.extract.entry_samples, identities)


def _source_clock(service: Service, redis: Redis, source: PrometheusClient) -> SourceClock:
    telemetry = service.telemetry
    return SourceClock(
        source.clock_reading,
        others={"redis": Scripts(redis).now_ms},
        show=lambda clock, ahead_seconds: telemetry.set(
            "etl_source_clock_difference_seconds", ahead_seconds, clock=clock
        ),
        on_jump=lambda seconds: telemetry.emit("source_clock_jumped", seconds=round(seconds, 3)),
        tolerance_seconds=service.settings.extract.clock_tolerance_seconds,
        show_held_back=lambda seconds: telemetry.set("etl_planning_held_back_seconds", seconds),
        on_ahead=lambda source_ms, ahead_seconds: telemetry.emit(
            "source_clock_ahead", source_ms=source_ms, ahead_seconds=round(ahead_seconds, 3)
        ),
    )


def _jobs(
    service: Service,
    redis: Redis,
    scheduler: Scheduler,
    source: PrometheusClient,
    history: SourceHistory,
    clock: SourceClock,
    plans: Sequence[Plan],
    pace: PlanningPace,
) -> Jobs:
    settings, telemetry = service.settings, service.telemetry
    pipeline, extract = settings.pipeline, settings.extract
    windows = WindowSet(
        redis,
        Keys(pipeline.redis_namespace),
        lease_seconds=extract.window_lease_seconds,
        max_open=extract.max_open_windows,
    )

    def on_source(state: SourceState) -> None:
        service.set_ready("extraction", state.ok, state.reason)

    close_after_seconds = max(
        CLOSE_AFTER_AT_LEAST_SECONDS, CLOSE_AFTER_INTERVALS * pipeline.interval_seconds
    )
    planner = Planner(
        plans,
        windows,
        history,
        telemetry,
        close_after_seconds=close_after_seconds,
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
            believed_ms=clock.believed_ms,
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
        server=ServerWatch(redis, telemetry, service.set_ready),
        windows=windows,
        scheduler=scheduler,
        pace=pace,
        pressure=BackPressure(windows, pipeline, telemetry, service.set_ready),
        telemetry=telemetry,
        stop=service.stop,
        tick=service.tick,
        on_source=on_source,
    )


def _work(service: Service, redis: Redis, scheduler: Scheduler, jobs: Jobs) -> None:
    """Run RQ workers, one after the other, until the service stops."""
    rng, failures = random.Random(), 0
    guard = IdentityGuard(redis, service.settings, service.telemetry)
    while not service.stop.is_set():
        try:
            reason = guard.reason()
            service.set_ready("pipeline", reason is None, reason or "")
            if reason is not None:
                _wait(service, REDIS_BACKOFF.max_seconds)
                continue
            worker = Worker(
                list(scheduler.queues.values()),
                redis,
                _guarded(service, jobs.table(), guard),
                service.stop,
                service.tick,
                consumer_name("extractor"),
                service.telemetry,
            )
            # It ends by itself when Redis fails it.
            failures = 0 if worker.work(logging_level=None) else failures + 1
        except RedisError as error:
            failures += 1
            guard.doubt()
            service.set_ready("pipeline", False, str(error))
            service.telemetry.emit("redis_unavailable", stage="extractor", error=str(error))
        _wait(service, REDIS_BACKOFF.seconds(failures, rng))


def _guarded(service: Service, table: JobTable, guard: IdentityGuard) -> JobTable:
    """The same functions, which do nothing while the namespace is another pipeline's."""

    def is_ours() -> bool:
        try:
            reason = guard.reason()
        except RedisError as error:
            service.set_ready("pipeline", False, str(error))
            service.telemetry.emit("redis_unavailable", stage="extractor", error=str(error))
            return False
        service.set_ready("pipeline", reason is None, reason or "")
        return reason is None

    def guarded(function: Callable[..., None]) -> Callable[..., None]:
        def run(*args: str) -> None:
            if is_ours():
                function(*args)

        return run

    return {name: guarded(function) for name, function in table.items()}


def _wait(service: Service, seconds: float) -> None:
    """Wait until then, or until the service stops; it lives meanwhile."""
    deadline = time.monotonic() + seconds
    while (left_seconds := deadline - time.monotonic()) > 0:
        service.tick()
        if service.stop.wait(min(left_seconds, 1.0)):
            return


if __name__ == "__main__":
    run("extractor", main)
