"""Whether Redis serves this process; while it does, the process tells its readiness there."""

from __future__ import annotations

import contextlib
import threading
import time

from redis.exceptions import RedisError

from common.config import PipelineSettings
from common.runtime.readiness.dependency_watch import Dependency, probe_every_seconds, watch
from common.runtime.service import Service
from common.state.connection.redis_client import SOCKET_TIMEOUT_SECONDS, connect_as_set
from common.state.keys import Keys
from common.state.workers import Workers

# How often a process tells its readiness when that has not changed.
REPORT_EVERY_SECONDS = 15.0
# Of a worker's metrics, those that the status page shows.
REPORTED = (
    "etl_records_total",
    "etl_current_rate_records_per_second",
    "etl_avg_processing_time_seconds",
    "etl_uptime_seconds",
    "etl_sink_post_duration_seconds_sum",
    "etl_sink_post_duration_seconds_count",
    "etl_dead_letters_max",
    "etl_circuit_state",
)


class RedisWatch:
    """The check ``redis`` of a service, for as long as the ``with`` lasts."""

    def __init__(self, service: Service, worker: str) -> None:
        pipeline: PipelineSettings = service.settings.pipeline
        self._service = service
        self._worker = worker
        self._redis = connect_as_set(pipeline)
        self._workers = Workers(self._redis, Keys(pipeline.redis_namespace))
        # More often than other dependencies: what changes here is told at once.
        self._every_seconds = probe_every_seconds(pipeline) / 2
        self._answered_at = float("-inf")
        self._ended = threading.Event()
        self._began = False
        self._told: tuple[object, ...] | None = None
        self._told_at = float("-inf")

    def __enter__(self) -> RedisWatch:
        dependency = Dependency("redis", self._probe, SOCKET_TIMEOUT_SECONDS)
        self._thread = watch(dependency, self._every_seconds, self._ended, self._service.set_ready)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=SOCKET_TIMEOUT_SECONDS)
        with contextlib.suppress(RedisError):
            self._workers.forget(self._worker)
        self._redis.close()

    def answered(self) -> None:
        """Redis has just served this process; it is not probed for a while."""
        self._answered_at = time.monotonic()

    def _probe(self) -> None:
        """Raises :class:`RedisError` while Redis does not serve us."""
        if time.monotonic() - self._answered_at > self._every_seconds:
            self._redis.ping()
        # A Redis without memory, or a user who may not write this key, is no reason to be unready:
        # the loader frees memory. `etlctl status` says that this worker is silent.
        with contextlib.suppress(RedisError):
            if not self._began:
                self._workers.forget_dead()
                self._began = True
            checks = self._service.health.checks()
            # That Redis is away is what nobody reads here; the first report comes before the check.
            failing = {name: one.detail for name, one in checks.items() if not one.ok}
            failing.pop("redis", None)
            ready = not failing and len(checks) > 1
            config = self._service.config
            said = (ready, failing, config.digest, config.content, config.refused)
            now = time.monotonic()
            if said != self._told or now - self._told_at >= REPORT_EVERY_SECONDS:
                self._told = None  # until it is known to have arrived
                figures = self._service.telemetry.values(REPORTED)
                self._workers.report(
                    self._worker,
                    self._service.name,
                    ready,
                    failing,
                    figures,
                    config=config.digest,
                    read=config.content,
                    refused=config.refused,
                )
                self._told, self._told_at = said, now
