"""RQ's SimpleWorker, made to live in one of our services.

It runs jobs in the main thread of this process, so that metrics stay in one place. Signals are the
service's business; RQ's heartbeat, which it gives at least once a second, is where this process
shows that it lives and notices that it should stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty

# RQ waits for a job for its time-to-live less 15 seconds.
WORKER_TTL_SECONDS = 16
MAINTENANCE_INTERVAL_SECONDS = 60


class Worker(SimpleWorker):
    """A worker that stops on an event and never touches signals."""

    max_connection_wait_time = 5.0
    death_penalty_class = TimerDeathPenalty

    def __init__(
        self,
        queues: Sequence[Queue],
        redis: Redis,
        stop: threading.Event,
        tick: Callable[[], None],
        name: str,
    ) -> None:
        super().__init__(
            list(queues),
            name=name,
            connection=redis,
            worker_ttl=WORKER_TTL_SECONDS,
            maintenance_interval=MAINTENANCE_INTERVAL_SECONDS,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self._stop_event = stop
        self._tick = tick

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Tick, and leave the loop when the service stops."""
        self._tick()
        if self._stop_event.is_set():
            raise StopRequested
        super().heartbeat(*args, **kwargs)

    def _install_signal_handlers(self) -> None:
        """The service has installed its own."""

    def subscribe(self) -> None:
        """No remote commands: nothing but its service stops or steers this worker."""

    def unsubscribe(self) -> None:
        """Nothing was subscribed."""

    def procline(self, message: str) -> None:
        """The process keeps its own name."""


def work(
    make: Callable[[], Worker],
    stop: threading.Event,
    wait: Callable[[int], None],
    on_error: Callable[[RedisError], None],
) -> None:
    """Run workers until stopped; one that Redis failed is replaced after ``wait(attempt)``."""
    attempt = 0
    while not stop.is_set():
        try:
            worked = make().work(logging_level=None)
            attempt = 0 if worked else attempt + 1
        except RedisError as error:
            attempt += 1
            on_error(error)
        if not stop.is_set():
            wait(attempt)
