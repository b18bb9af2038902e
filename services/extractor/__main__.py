"""Starts the extractor: ``python -m services.extractor --config PATH``."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from common import lean_imports
    from common.runtime.early_signals import end_at_once

    end_at_once(reads_again=True)
    lean_imports.begin()

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial

from redis import Redis
from redis.exceptions import RedisError

from common.exit_codes import ExitCode
from common.runtime.backoff import Backoff
from common.runtime.readiness.identity_guard import IdentityGuard
from common.runtime.readiness.redis_check import check_redis
from common.runtime.readiness.redis_watch import RedisWatch
from common.runtime.service import Service, run
from common.runtime.wiring import consumer_name
from common.state.connection.redis_client import connect_as_set, wake
from services.extractor.aof import AofHealer
from services.extractor.one_source import JointTick, OneSource, windows_of
from services.extractor.pressure import BackPressure
from services.extractor.windows import plans_of
from services.extractor.worker import JobTable, Worker

# Of `pipeline.drain_seconds`: how long a request in hand is waited for.
DRAIN_SHARE = 0.5
REDIS_BACKOFF = Backoff(base_seconds=0.2, max_seconds=5.0, shortest_seconds=0.1)


def main(service: Service) -> ExitCode:
    """Plan, lease and extract until the service stops."""
    settings, telemetry = service.settings, service.telemetry
    redis = connect_as_set(settings.pipeline)
    check_redis(service, redis)
    each = settings.each_source
    ticks = JointTick((one.extract.source for one in each), service.tick)
    windows = windows_of(settings, redis)
    pressure = BackPressure(windows, settings.pipeline, telemetry, service.set_ready)
    plans = plans_of(settings)
    feeds = [plan.feed.name for plan in plans]
    sources = [
        OneSource(service, one, redis, pressure, feeds, ticks.of(one.extract.source))
        for one in each
    ]
    service.set_ready("pipeline", False, "not checked yet")
    for source in sources:
        source.start()
    stopping = threading.Thread(target=_stop_reading, args=(service, redis, sources), daemon=True)
    stopping.start()
    watch = RedisWatch(service, consumer_name("extractor"))
    healing = threading.Thread(
        target=AofHealer(redis, telemetry, answered=watch.answered).run,
        args=(service.stop,),
        name="append-only-file",
        daemon=True,
    )
    healing.start()
    work = partial(_work, service, redis, IdentityGuard(redis, settings, telemetry))
    port = settings.extract.push.port
    pushed = None
    if port is not None:
        from services.extractor.push.serve import PushServer  # most configurations take no pushes

        pushed = PushServer(service, port, plans, pressure)
    try:
        with watch:
            if len(sources) == 1:
                work(sources[0])
            else:
                _work_each(service, sources, work)
    finally:
        for source in sources:
            source.close(REDIS_BACKOFF.max_seconds)
        healing.join(timeout=REDIS_BACKOFF.max_seconds)
        if pushed is not None:
            pushed.close()
        redis.close()
    return ExitCode.OK


def _work_each(
    service: Service, sources: Sequence[OneSource], work: Callable[[OneSource], None]
) -> None:
    """Work on each source in a thread of its own; raise what one of them raises."""
    with ThreadPoolExecutor(len(sources), thread_name_prefix="source") as pool:
        working = [pool.submit(work, source) for source in sources]
        ended, _ = wait(working, return_when=FIRST_EXCEPTION)
        service.stop.set()  # or the others would be waited for
    for one in ended:
        one.result()


def _stop_reading(service: Service, redis: Redis, sources: Sequence[OneSource]) -> None:
    """Once the service stops, wait for no job; requests in hand have some time, and end then.

    What they have read is extracted again; waiting longer would only miss the drain deadline.
    """
    service.stop.wait()
    wake(redis)
    time.sleep(service.settings.pipeline.drain_seconds * DRAIN_SHARE)
    for source in sources:
        source.stop_reading()


def _work(service: Service, redis: Redis, guard: IdentityGuard, source: OneSource) -> None:
    """Run RQ workers, one after the other, until the service stops."""
    rng, failures, tick = random.Random(), 0, source.tick
    while not service.stop.is_set():
        try:
            reason = guard.reason()
            service.set_ready("pipeline", reason is None, reason or "")
            if reason is not None:
                _wait(service, tick, REDIS_BACKOFF.max_seconds)
                continue
            worker = Worker(
                list(source.scheduler.queues.values()),
                redis,
                _guarded(service, source.jobs.table(), guard),
                service.stop,
                tick,
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
        _wait(service, tick, REDIS_BACKOFF.seconds(failures, rng))


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


def _wait(service: Service, tick: Callable[[], None], seconds: float) -> None:
    """Wait until then, or until the service stops; it lives meanwhile."""
    deadline = time.monotonic() + seconds
    while (left_seconds := deadline - time.monotonic()) > 0:
        tick()
        if service.stop.wait(min(left_seconds, 1.0)):
            return


if __name__ == "__main__":
    run("extractor", main)
