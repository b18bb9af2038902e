"""Whether Redis serves this process; while it does, the process tells its readiness there."""

from __future__ import annotations

import contextlib
import threading

from redis.exceptions import RedisError

from common.config import PipelineSettings
from common.runtime.readiness.dependency_watch import Dependency, probe_every_seconds, watch
from common.runtime.service import Service
from common.state.keys import Keys
from common.state.redis_client import SOCKET_TIMEOUT_SECONDS, connect_as_set
from common.state.workers import Workers


class RedisWatch:
    """The check ``redis`` of a service, for as long as the ``with`` lasts."""

    def __init__(self, service: Service, worker: str) -> None:
        pipeline: PipelineSettings = service.settings.pipeline
        self._service = service
        self._worker = worker
        self._redis = connect_as_set(pipeline)
        self._workers = Workers(self._redis, Keys(pipeline.redis_namespace))
        self._every_seconds = probe_every_seconds(pipeline)
        self._ended = threading.Event()
        self._began = False

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

    def _probe(self) -> None:
        """Raises :class:`RedisError` while Redis does not serve us."""
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
            self._workers.report(self._worker, self._service.name, ready, failing)
