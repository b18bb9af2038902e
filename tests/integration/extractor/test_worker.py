"""RQ on real Redis: jobs reach their functions through the worker, and nothing else is run."""

from __future__ import annotations

import json
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis
from rq import Callback, Queue
from rq.serializers import JSONSerializer
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from common.runtime.telemetry import Telemetry
from common.state.connection.redis_client import connect, wake
from common.state.keys import Keys
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from services.extractor.job_table import QUEUES
from services.extractor.scheduler import MOST_WAITING, Scheduler
from services.extractor.worker import WORKER_TTL_SECONDS, JobTable, Worker


class Rig:
    def __init__(self, redis: Redis, namespace: str, source: str = "") -> None:
        self.redis = redis
        self.scheduler = Scheduler(redis, Keys(namespace), source)
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry("extractor", self.registry)
        self.calls: list[tuple[str, ...]] = []

    def record(self, *call: str) -> None:
        self.calls.append(call)

    def table(self) -> JobTable:
        return {
            "plan": lambda: self.record("plan"),
            "recheck": lambda: self.record("recheck"),
            "extract": lambda window_class: self.record("extract", window_class),
            "backfill": lambda: self.record("backfill"),
        }

    def work(self, table: JobTable | None = None) -> None:
        """Run what waits in all queues."""
        worker = Worker(
            list(self.scheduler.queues.values()),
            self.redis,
            self.table() if table is None else table,
            threading.Event(),
            lambda: None,
            "worker",
            self.telemetry,
        )
        worker.work(burst=True, logging_level=None)

    def stranger(self, **options: Any) -> Queue:
        """The live queue, as any program sees it that may write to this Redis."""
        name = self.scheduler.queues["live"].name
        return Queue(name, connection=self.redis, serializer=options.get("serializer"))

    def refused(self) -> float | None:
        return self.registry.get_sample_value("etl_jobs_refused_total")

    def left(self) -> list[bytes]:
        """Keys of jobs and of what became of them."""
        kinds = ("rq:job:*", "rq:results:*", "rq:failed:*", "rq:wip:*", "rq:finished:*")
        return [key for kind in kinds for key in self.redis.scan_iter(kind)]


@pytest.fixture
def rig(redis_client: Redis, redis_namespace: str) -> Rig:
    return Rig(redis_client, redis_namespace)


def test_jobs_run_by_priority_with_their_arguments_and_leave_nothing(rig: Rig) -> None:
    for name in reversed(QUEUES):
        rig.scheduler.schedule(name, 1)

    rig.work()

    extracted = [("extract", "live"), ("extract", "catchup"), ("backfill",)]
    assert rig.calls == [("plan",), ("recheck",), *extracted]
    assert rig.left() == []
    assert not rig.refused()


def test_pipelines_that_share_a_redis_run_their_own_jobs(
    redis_client: Redis, redis_namespace: str
) -> None:
    """One namespace may begin as the other does, or be what a queue of the other is called."""
    names = (redis_namespace, f"{redis_namespace}-live", f"{redis_namespace}2")
    rigs = [Rig(redis_client, name) for name in names]
    for number, rig in enumerate(rigs):
        for name in list(QUEUES)[number:]:
            rig.scheduler.schedule(name, 1)

    for number, rig in enumerate(rigs):
        rig.work()
        assert [len(one.calls) for one in rigs] == [
            len(QUEUES) - other if other <= number else 0 for other in range(len(rigs))
        ]
        assert not rig.refused()
    assert rigs[0].left() == []


def test_sources_of_a_pipeline_have_jobs_of_their_own(
    redis_client: Redis, redis_namespace: str
) -> None:
    """And no pipeline without a name has theirs, whatever its namespace."""
    rigs = [Rig(redis_client, redis_namespace, source) for source in ("", "a", "a_b")]
    rigs += [
        Rig(redis_client, f"{redis_namespace}-plan_a"),
        Rig(redis_client, f"{redis_namespace}_a"),
    ]
    for rig in rigs:
        rig.scheduler.schedule_plan(7)
        rig.scheduler.schedule("live", 1)
    for rig in rigs:
        rig.work()
    assert [rig.calls for rig in rigs] == len(rigs) * [[("plan",), ("extract", "live")]]
    assert not any(rig.refused() for rig in rigs)


def test_many_jobs_cost_one_heartbeat(rig: Rig) -> None:
    """RQ by itself gives four around each, of three round trips."""
    for name in QUEUES:
        rig.scheduler.schedule(name, 1)
    rig.redis.config_resetstat()

    rig.work()

    assert len(rig.calls) == len(QUEUES)
    beats = rig.redis.info("commandstats")["cmdstat_expire"]["calls"]
    # A heartbeat has two, and the worker enters its name.
    assert beats < 2 * len(QUEUES)


def test_no_planning_is_queued_at_a_tick_that_does_not_want_it(rig: Rig) -> None:
    ticks, told, stop = [False, True, False], [], threading.Event()
    queued: list[int] = []

    def wanted() -> bool:
        queued.append(rig.scheduler.queues["plan"].count)
        if len(queued) == len(ticks):
            stop.set()
        return ticks[len(queued) - 1]

    def set_ready(name: str, ok: bool, detail: str) -> None:
        told.append((name, ok))

    rig.scheduler.plan_at_each_tick(0.01, stop, rig.telemetry, set_ready, wanted=wanted)

    assert queued == [0, 0, 1]
    assert rig.scheduler.queues["plan"].count == 1
    assert told == [("scheduler", True)] * len(ticks), "it is ready all the same"


def test_planning_does_not_wait_for_a_tick_where_it_is_wanted_sooner(rig: Rig) -> None:
    stop, seen = threading.Event(), []

    def wanted() -> bool:
        seen.append(1)
        if len(seen) == 3:
            stop.set()
        return True

    rig.scheduler.plan_at_each_tick(
        3600.0, stop, rig.telemetry, lambda *_: None, wanted=wanted, sooner_seconds=lambda: 0.01
    )
    assert len(seen) == 3
    assert rig.scheduler.queues["plan"].count == 1


def test_planning_is_queued_while_a_turn_of_the_same_tick_goes_on(rig: Rig) -> None:
    def at(time: float) -> None:
        stop = threading.Event()
        rig.scheduler.plan_at_each_tick(
            10.0, stop, rig.telemetry, lambda *_: stop.set(), lambda: time
        )

    def plan() -> None:
        rig.record("plan")
        at(101.0)

    at(100.0)
    rig.work({**rig.table(), "plan": plan})
    assert rig.calls == [("plan",), ("plan",)]


def test_two_workers_of_one_process_have_tables_of_their_own(rig: Rig) -> None:
    rig.scheduler.schedule("plan", 1)
    rig.work({"plan": lambda: rig.record("first")})
    rig.scheduler.schedule("plan", 1)
    rig.work({"plan": lambda: rig.record("second")})

    assert rig.calls == [("first",), ("second",)]


def test_a_job_that_names_anything_else_is_refused_reported_and_deleted(
    rig: Rig, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    command = f"touch {touched}"
    strangers = rig.stranger(serializer=JSONSerializer)
    for function in ("os.system", "services.extractor.jobs.Jobs", "builtins.exec", "", "plan "):
        strangers.enqueue_call(function, args=(command,), on_failure=Callback("os.system"))
    unreadable = rig.stranger()  # RQ's default: pickled
    unreadable.enqueue_call("os.system", args=(command,))

    rig.work()

    assert rig.refused() == 6
    assert not touched.exists()
    assert rig.calls == []
    assert rig.left() == []


def test_a_method_of_an_object_is_not_ours_whatever_its_name(rig: Rig) -> None:
    rig.scheduler.schedule("live", 1)
    (id_,) = rig.scheduler.queues["live"].get_job_ids()
    rig.redis.hset(f"rq:job:{id_}", "data", json.dumps(["plan", {"an": "object"}, [], {}]))

    rig.work()

    assert (rig.refused(), rig.calls, rig.left()) == (1, [], [])


_called_back: list[object] = []


def call_back(*_: object) -> None:
    """What RQ would import and call by its name."""
    _called_back.append(_)


def test_a_job_with_a_callback_is_refused(rig: Rig) -> None:
    callback = Callback(f"{__name__}.call_back")
    assert callback.name == f"{__name__}.call_back"
    strangers = rig.stranger(serializer=JSONSerializer)
    strangers.enqueue_call("plan", on_success=callback, on_failure=callback)
    strangers.enqueue_call("extract", on_failure=callback)
    strangers.enqueue_call("plan", on_stopped=callback)

    rig.work()

    assert (rig.calls, rig.refused(), rig.left()) == ([], 3, [])
    assert _called_back == []


def test_nothing_pickled_is_read(rig: Rig, tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Trap:
        def __reduce__(self) -> Any:
            return touched.touch, ()

    rig.scheduler.schedule("live", 1)
    (id_,) = rig.scheduler.queues["live"].get_job_ids()
    rig.redis.hset(
        f"rq:job:{id_}", mapping={"data": pickle.dumps(Trap()), "meta": pickle.dumps(Trap())}
    )

    rig.work()

    assert not touched.exists()
    assert rig.left() == []


def test_a_queue_never_holds_more_jobs_than_find_work(rig: Rig) -> None:
    workers = WORKERS_BY_QUEUE_KEY % rig.scheduler.queues["live"].name
    rig.redis.sadd(workers, *(f"worker-{number}" for number in range(2 * MOST_WAITING)))
    for _ in range(3):
        rig.scheduler.schedule("live", 2)
    assert rig.scheduler.queues["live"].count == 2
    rig.scheduler.schedule("live", 100)
    assert rig.scheduler.queues["live"].count == MOST_WAITING
    assert rig.scheduler.waiting("plan", "live")
    assert not rig.scheduler.waiting("plan")


@pytest.mark.parametrize(("workers", "jobs"), [(0, 1), (1, 1), (2, 2)])
def test_no_more_jobs_wait_than_there_are_workers(rig: Rig, workers: int, jobs: int) -> None:
    """One job does all that is left; a second for the same worker would find nothing."""
    queue = rig.scheduler.queues["live"]
    for number in range(workers):
        rig.redis.sadd(WORKERS_BY_QUEUE_KEY % queue.name, f"worker-{number}")

    for _ in range(2):
        rig.scheduler.schedule("live", 3)

    assert queue.count == jobs
    rig.scheduler.schedule("catchup", 0)
    assert rig.scheduler.queues["catchup"].count == 0


def test_a_tick_is_planned_once_however_many_schedule_it(rig: Rig) -> None:
    for _ in range(3):
        rig.scheduler.schedule_plan(7)
    assert rig.scheduler.queues["plan"].count == 1
    rig.work()
    rig.scheduler.schedule_plan(8)
    rig.work()
    assert rig.calls == [("plan",), ("plan",)]


def test_only_one_planning_waits_however_many_ticks_pass(rig: Rig) -> None:
    for tick in range(20):
        rig.scheduler.schedule_plan(tick)
    assert rig.scheduler.queues["plan"].count == 1


@pytest.mark.parametrize("source", ["", "a_b"])
def test_planning_that_takes_longer_than_a_tick_leaves_each_other_queue_its_turn(
    redis_client: Redis, redis_namespace: str, source: str
) -> None:
    """Whenever it ends, the next one waits already."""
    rig = Rig(redis_client, redis_namespace, source)
    ticks = iter(range(6))

    def plan() -> None:
        rig.record("plan")
        for name in ("live", "catchup", "backfill"):
            rig.scheduler.schedule(name, 1)
        if (tick := next(ticks, None)) is not None:
            rig.scheduler.schedule_plan(tick)

    rig.scheduler.schedule("plan", 1)
    rig.work({**rig.table(), "plan": plan})

    a_turn = [("plan",), ("extract", "live"), ("extract", "catchup")]
    assert rig.calls[: 3 * len(a_turn)] == 3 * a_turn
    assert rig.calls[-1] == ("backfill",)


def test_planning_is_scheduled_at_each_tick_until_the_service_stops(rig: Rig) -> None:
    stop, times = threading.Event(), iter([100.0, 100.5, 101.0, 101.5])

    def wall_clock() -> float:
        rig.work()  # what the tick before has queued
        time = next(times, None)
        if time is None:
            stop.set()
        return 102.0 if time is None else time

    ready: list[tuple[str, bool, str]] = []
    rig.scheduler.plan_at_each_tick(
        0.01, stop, rig.telemetry, lambda *check: ready.append(check), wall_clock
    )

    assert set(ready) == {("scheduler", True, "")}
    assert rig.calls == 3 * [("plan",)]


def test_a_namespace_with_a_dot_can_be_scheduled(redis_client: Redis, redis_namespace: str) -> None:
    rig = Rig(redis_client, f"{redis_namespace}.a_b")
    rig.scheduler.schedule_plan(7)
    rig.scheduler.schedule_plan(7)
    assert rig.scheduler.queues["plan"].count == 1
    rig.work()
    assert rig.calls == [("plan",)]


def test_a_worker_that_is_at_it_already_needs_no_job(rig: Rig) -> None:
    workers = WORKERS_BY_QUEUE_KEY % rig.scheduler.queues["live"].name
    rig.redis.sadd(workers, "a")
    rig.scheduler.schedule("live", 3, busy=1)
    assert rig.scheduler.queues["live"].count == 0
    rig.redis.sadd(workers, "b", "c")
    rig.scheduler.schedule("live", 3, busy=1)
    assert rig.scheduler.queues["live"].count == 2


def test_a_worker_that_waits_for_a_job_ends_at_once_when_its_process_stops(
    rig: Rig, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    with connect(redis_server.plain_url) as redis:
        queues = list(Scheduler(redis, Keys("waits")).queues.values())
        worker = Worker(queues, redis, {}, stop, lambda: None, "worker", rig.telemetry)
        working = threading.Thread(target=worker.work, kwargs={"logging_level": None}, daemon=True)
        working.start()
        wait_until(
            lambda: any(client["cmd"] == "blpop" for client in rig.redis.client_list()),
            deadline_seconds=10,
            what="the worker waits",
        )
        stop.set()
        wake(redis)
        working.join(WORKER_TTL_SECONDS - 16)
        assert not working.is_alive()
    assert "could not connect" not in caplog.text
