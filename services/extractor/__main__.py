"""Starts the extractor: ``python -m services.extractor --config PATH``."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from redis.exceptions import RedisError

from common.config import Settings
from common.exit_codes import ExitCode
from common.runtime.service import Service, run
from common.runtime.wiring import consumer_name
from common.samples.series import SeriesEncoder
from common.state.keys import Keys
from common.state.redis_client import connect_as_set
from common.state.windows import WindowSet
from services.extractor.aof import AofHealer
from services.extractor.extract import Extractor, SourceState
from services.extractor.jobs import QUEUES, Context, Doorbell, Ringer, install
from services.extractor.planner import Planner
from services.extractor.prometheus import PrometheusClient
from services.extractor.recheck import Rechecker
from services.extractor.staging import EntryBuilder
from services.extractor.windows import plans_of
from services.extractor.worker import Worker, work

# A feed that nobody planned for so long belongs to no configuration that still runs.
CLOSE_AFTER_INTERVALS = 10
CLOSE_AFTER_AT_LEAST_SECONDS = 120.0
RING_AT_MOST_EVERY_SECONDS = 5.0
RING_AT_LEAST_EVERY_SECONDS = 0.25
BACKOFF_SECONDS = (0.1, 5.0)


def main(service: Service) -> ExitCode:
    """Plan, lease and extract until told to stop."""
    settings = service.settings
    pipeline, extract = settings.pipeline, settings.extract
    telemetry = service.telemetry
    redis = connect_as_set(pipeline)
    keys = Keys(pipeline.redis_namespace)
    windows = WindowSet(
        redis,
        keys,
        lease_seconds=extract.window_lease_seconds,
        max_open=extract.max_open_windows,
    )

    def on_source(state: SourceState) -> None:
        service.set_ready("prometheus", state.ok, state.reason)

    def on_remark(query: str, remark: str) -> None:
        telemetry.emit("query_remark", promql=query, remark=remark)

    source = PrometheusClient(extract, on_remark=on_remark)
    plans = plans_of(settings)
    planner = Planner(
        plans,
        windows,
        source,
        telemetry,
        close_after_seconds=max(
            CLOSE_AFTER_AT_LEAST_SECONDS, CLOSE_AFTER_INTERVALS * pipeline.interval_seconds
        ),
    )
    doorbell = Doorbell(redis, keys)
    install(
        Context(
            plans=plans,
            planner=planner,
            extractor=Extractor(
                windows,
                source,
                packer(settings),
                extract,
                telemetry,
                on_source=on_source,
                tick=service.tick,
            ),
            rechecker=Rechecker(windows, source, telemetry),
            aof_healer=AofHealer(redis, telemetry),
            windows=windows,
            doorbell=doorbell,
            pipeline=pipeline,
            telemetry=telemetry,
            stop=service.stop,
            tick=service.tick,
            on_source=on_source,
            set_ready=service.set_ready,
        )
    )
    service.set_ready("prometheus", False, "not asked yet")
    service.set_ready("redis", False, "not asked yet")
    every_seconds = min(
        RING_AT_MOST_EVERY_SECONDS,
        max(RING_AT_LEAST_EVERY_SECONDS, pipeline.interval_seconds / 4),
    )
    ringer = Ringer(doorbell, every_seconds, service.stop, telemetry)
    ringer.start()

    def make() -> Worker:
        worker = Worker(
            [doorbell.queues[name] for name in QUEUES],
            redis,
            service.stop,
            service.tick,
            consumer_name("extractor"),
        )
        service.set_ready("redis", True)
        return worker

    def on_error(error: RedisError) -> None:
        service.set_ready("redis", False, str(error))
        telemetry.emit("redis_unavailable", stage="extractor", error=str(error))

    try:
        work(make, service.stop, _waiter(service), on_error)
    finally:
        ringer.join(timeout=BACKOFF_SECONDS[1])
        source.close()
        redis.close()
    return ExitCode.OK


def packer(settings: Settings) -> EntryBuilder:
    """How blocks become entries: colliding series meet, where relabelling can make any collide."""
    identities = SeriesEncoder.from_settings(settings).keys if settings.transform.relabel else None
    return EntryBuilder(settings.extract.entry_samples, identities)


def _waiter(service: Service) -> Callable[[int], None]:
    rng = random.Random()
    shortest, longest = BACKOFF_SECONDS

    def wait(attempt: int) -> None:
        deadline = time.monotonic() + rng.uniform(
            shortest, min(longest, shortest * 2 ** min(attempt, 16))
        )
        while (left := deadline - time.monotonic()) > 0:
            service.tick()
            if service.stop.wait(min(left, 1.0)):
                return

    return wait


if __name__ == "__main__":
    run("extractor", main)
