"""RQ's SimpleWorker, made to live in one of our services.

It runs jobs in the main thread of this process, so that metrics stay in one place. A job names a
function of the worker's own table; nothing else in this process can be run through Redis. Of what
RQ would do for a job beside that nothing is left: no registries, results, callbacks, dependents.
Signals are the service's business; RQ's heartbeat, for which it comes here every three seconds, is
where this process shows that it lives and notices that it should stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.suspension import WORKERS_SUSPENDED
from rq.timeouts import TimerDeathPenalty
from rq.utils import now
from rq.worker_registration import clean_worker_registry

from common.runtime.telemetry import Telemetry
from services.extractor.foreign_jobs import remove_foreign_jobs
from services.extractor.job_table import TableJob, TableQueue

# RQ waits for a job for its time-to-live less 15 seconds.
WORKER_TTL_SECONDS = 18
# RQ gives several around each job, of three commands each; it lives for a minute without any.
HEARTBEAT_EVERY_SECONDS = 5.0
MAINTENANCE_INTERVAL_SECONDS = 60

JobTable = Mapping[str, Callable[..., None]]


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
            queue_class=TableQueue,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self._table = table
        self._stop_event = stop
        self._tick = tick
        self._telemetry = telemetry
        self._suspended = False
        self._beat_at = float("-inf")

    def reorder_queues(self, reference_queue: Queue) -> None:
        """Give what else waits a turn between two jobs of planning.

        Where planning takes longer than the time between two ticks, the next one always waits
        already: by priority alone nothing would be extracted any more. Live windows come first,
        and of what is older one job.
        """
        name = reference_queue.name.rpartition("-")[2].partition("_")[0]
        if name == "plan":
            self._ordered_queues = sorted(self.queues, key=lambda queue: queue == reference_queue)
        elif name != "live":
            self._ordered_queues = self.queues[:]

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run what the job calls, if it is in the table, and delete the job.

        One whose worker dies with it expires; what it was to do is found by the next.
        """
        if not isinstance(job, TableJob) or job.call is None or job.call[0] not in self._table:
            reason = getattr(job, "refused", None) or "its function is not in the table"
            self._telemetry.emit("job_refused", queue=queue.name, job=job.id, reason=reason)
        else:
            name, arguments = job.call
            # For whoever looks at RQ's workers: RQ itself says when they are idle again.
            self.connection.hset(self.key, mapping={"state": "busy", "current_job": job.id})
            try:
                self._table[name](*arguments)
            except Exception as error:
                # A defect; the next job must run all the same.
                self._telemetry.emit(
                    "job_failed", job=name, error_type=type(error).__name__, error=str(error)
                )
        if isinstance(job, TableJob):
            job.remove()

    def heartbeat(self, *_args: Any, **_options: Any) -> None:
        """Tick, leave the loop when the service stops, and give RQ's own now and then."""
        self._tick()
        if self._stop_event.is_set():
            raise StopRequested
        if time.monotonic() - self._beat_at < HEARTBEAT_EVERY_SECONDS:
            return
        with self.connection.pipeline(transaction=False) as pipe:
            super().heartbeat(pipeline=pipe)
            pipe.execute()
        self._beat_at = time.monotonic()

    def run_maintenance_tasks(self) -> None:
        """Forget workers that died, remove what is not ours, and look for a suspension.

        RQ's own would retry, call back and enqueue whatever its registries name.
        """
        self._report_suspension()
        for queue in self.queues:
            clean_worker_registry(queue)
            for state, count in remove_foreign_jobs(self.connection, queue.name).items():
                reason = f"{count} in the registry {state}, which no job of ours enters"
                self._telemetry.emit("job_refused", queue=queue.name, job="", reason=reason)
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def _report_suspension(self) -> None:
        suspended = bool(self.connection.exists(WORKERS_SUSPENDED))
        if suspended and not self._suspended:
            self._telemetry.emit("suspension_ignored", key=WORKERS_SUSPENDED)
        self._suspended = suspended

    def check_for_suspension(self, burst: bool) -> None:
        """Whoever shares this Redis may suspend workers of their own; ours go on."""

    def get_redis_server_version(self) -> tuple[int, int, int]:
        """Not asked for: a user of Redis may lack the right, and nothing here depends on it."""
        return 7, 0, 0

    def _install_signal_handlers(self) -> None:
        """The service has installed its own."""

    def subscribe(self) -> None:
        """No remote commands: nothing but its service stops or steers this worker."""

    def unsubscribe(self) -> None:
        """Nothing was subscribed."""

    def procline(self, message: str) -> None:
        """The process keeps its own name."""
