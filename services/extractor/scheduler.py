"""What is scheduled: RQ jobs that name a function of ours and say what it is to do.

Which windows there are is decided by the scripts in Redis. A job that is lost, doubled or late
therefore costs nothing but time: the next one finds what was left. Job ids carry a token of their
own or the moment they are for, and results are not kept.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from redis import Redis
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from common.runtime.lasting import Lasting
from common.runtime.telemetry import Telemetry
from common.state.keys import Keys
from services.extractor.job_table import QUEUES, QueueName, TableJob, TableQueue

# Jobs of one queue that wait at a time; more would only find nothing to do.
MOST_WAITING = 4
JOB_TTL_SECONDS = 60
# Within so long extractors that schedule planning at the same moment mean the same turn.
SAME_MOMENT_SECONDS = 0.25


class Scheduler:
    """Puts jobs into RQ's queues; each of several sources has its own."""

    def __init__(self, redis: Redis, keys: Keys, source: str = "") -> None:
        self._redis = redis
        self._keys = keys
        self._of_source = f"_{source}" if source else ""
        self.queues = {
            name: TableQueue(
                f"{keys.namespace}-{name}{self._of_source}",
                connection=redis,
                job_class=TableJob,
                serializer=JSONSerializer,
            )
            for name in QUEUES
        }

    def schedule(self, name: QueueName, jobs: int, *, busy: int = 0) -> None:
        """Make sure that up to ``jobs`` jobs wait in a queue, and no more than there are workers.

        A job goes on until nothing is left, so a second one for the same worker finds nothing.
        ``busy``: workers that are at it already.
        """
        if jobs <= 0:
            return
        queue = self.queues[name]
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.llen(queue.key)
            pipe.scard(WORKERS_BY_QUEUE_KEY % queue.name)
            waiting, workers = pipe.execute()
        for _ in range(min(jobs, MOST_WAITING, max(1, workers) - busy) - waiting):
            self._enqueue(name, str(self._redis.incr(self._keys.token)))

    def schedule_plan(self, moment: int) -> None:
        """Have windows planned, once for each moment however many extractors schedule it.

        Where a turn of planning waits already, another one behind it would find nothing more.
        """
        if not self.waiting("plan"):
            self._enqueue("plan", f"at-{moment}")

    def plan_at_each_tick(
        self,
        every_seconds: float,
        stop: threading.Event,
        telemetry: Telemetry,
        set_ready: Callable[[str, bool, str], None],
        wall_clock: Callable[[], float] = time.time,
        wanted: Callable[[], bool] = lambda: True,
        sooner_seconds: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Schedule planning whenever the wall clock passes a multiple of ``every_seconds``.

        Unless it is not ``wanted`` then. ``sooner_seconds``: after how long it will be wanted.

        ``set_ready`` gets the check ``scheduler``: where nothing can be queued nothing is planned.
        """
        failing = Lasting()
        while not stop.is_set():
            try:
                if wanted():
                    # No number of the tick: its turn may go on when a head moves before the next.
                    self.schedule_plan(int(wall_clock() / SAME_MOMENT_SECONDS))
                set_ready("scheduler", True, "")
            # Whatever it is: nothing would be planned any more if this thread died of it.
            except Exception as error:
                if failing.again(str(error)):
                    telemetry.emit("scheduling_failed", error=str(error))
                else:
                    telemetry.inc("etl_scheduler_errors_total")
                set_ready("scheduler", False, str(error))
            stop.wait(min(every_seconds - wall_clock() % every_seconds, sooner_seconds()))

    def waiting(self, *names: QueueName) -> bool:
        """Whether a job waits in one of the queues."""
        return any(self.queues[name].count for name in names)

    def _enqueue(self, name: QueueName, token: str) -> None:
        function, arguments = QUEUES[name]
        try:
            self.queues[name].enqueue_call(
                function,
                args=arguments,
                timeout=-1,
                result_ttl=0,
                failure_ttl=0,
                ttl=JOB_TTL_SECONDS,
                job_id=f"{_id_of(self._keys.namespace)}-{name}{self._of_source}-{token}",
                unique=True,
            )
        except DuplicateJobError:
            return


def _id_of(namespace: str) -> str:
    """A namespace as a part of job ids, which hold no dot; two namespaces never become one."""
    return namespace.replace("_", "__").replace(".", "_-")
