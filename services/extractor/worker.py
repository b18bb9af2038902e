"""RQ's SimpleWorker, made to live in one of our services.

It runs jobs in the main thread of this process, so that metrics stay in one place. A job names a
function of the worker's own table; nothing else in this process can be run through Redis. Signals
are the service's business; RQ's heartbeat, which it gives at least once a second, is where this
process shows that it lives and notices that it should stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import DeserializationError, StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty

from common.runtime.telemetry import Telemetry

# RQ waits for a job for its time-to-live less 15 seconds.
WORKER_TTL_SECONDS = 16
MAINTENANCE_INTERVAL_SECONDS = 60

JobTable = Mapping[str, Callable[..., None]]


class TableJob(Job):
    """A job whose function its worker has looked up.

    RQ would import whatever a job in Redis names, as its function or to call back.
    """

    function: Callable[..., None] | None = None
    success_callback = failure_callback = stopped_callback = None

    @property
    def func(self) -> Callable[..., None] | None:
        """The function that the worker found in its table."""
        return self.function

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """A job in Redis makes nobody send a request anywhere."""


class Worker(SimpleWorker):
    """A worker that runs ``table``, stops on an event and never touches signals.

    A job that names anything else is reported and deleted.
    """

    max_connection_wait_time = 5.0
    death_penalty_class = TimerDeathPenalty

    def __init__(
        self,
        queues: Sequence[Queue],
        redis: Redis,
        table: JobTable,
        stop: threading.Event,
        tick: Callable[[], None],
        name: str,
        telemetry: Telemetry,
    ) -> None:
        super().__init__(
            list(queues),
            name=name,
            connection=redis,
            worker_ttl=WORKER_TTL_SECONDS,
            maintenance_interval=MAINTENANCE_INTERVAL_SECONDS,
            job_class=TableJob,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self._table = table
        self._stop_event = stop
        self._tick = tick
        self._telemetry = telemetry

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run the job's function, if it is in the table."""
        named = _function_name(job)
        if isinstance(job, TableJob) and named in self._table:
            job.function = self._table[named]
            super().execute_job(job, queue)
            return
        self._telemetry.emit("scheduling_failed", error=f"a job names {named}, which is not ours")
        job.delete()

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


def _function_name(job: Job) -> str:
    """What the job names, in a form fit for a log; an object's method is never ours."""
    try:
        return f"{job.func_name!s:.200}" if job.instance is None else f"{job.instance!r:.200}"
    except (DeserializationError, ValueError, TypeError):
        return "something that is not readable"
