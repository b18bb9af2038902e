"""Hostile jobs in a real Redis: nothing runs, is called, posted or kept, and ours go on."""

from __future__ import annotations

import json
import os
import threading
import zlib
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from rq import Queue, Retry
from rq.command import send_shutdown_command
from rq.defaults import RQ_KEY_PREFIX
from rq.job import Job
from rq.registry import DeferredJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend
from rq.webhook import Webhook

from services.extractor.job_table import FORBIDDEN_FIELDS, MAX_CALL_BYTES, QUEUES, call_of
from services.extractor.worker import Worker
from tests.integration.extractor.test_worker import Rig
from tests.support.answering_server import AnsweringServer, reply


@pytest.fixture
def rig(redis_client: Redis, redis_namespace: str) -> Rig:
    return Rig(redis_client, redis_namespace)


def our_job(rig: Rig) -> Job:
    rig.scheduler.schedule("live", 1)
    (id_,) = rig.scheduler.queues["live"].get_job_ids()
    return Job(id_, connection=rig.redis, serializer=JSONSerializer)


def packed(*call: Any) -> bytes:
    return zlib.compress(json.dumps(call).encode())


@pytest.mark.parametrize("field", FORBIDDEN_FIELDS)
def test_a_job_with_a_field_that_ours_never_have_is_refused(rig: Rig, field: str) -> None:
    rig.redis.hset(our_job(rig).key, field, "x")
    rig.work()
    assert (rig.calls, rig.refused(), rig.left()) == ([], 1, [])


def test_a_webhook_is_never_called(rig: Rig) -> None:
    with AnsweringServer(reply(b"")) as server:
        strangers = rig.stranger(serializer=JSONSerializer)
        for function in ("plan", "os.system"):
            strangers.enqueue_call(
                function,
                webhooks=[Webhook(f"{server.url}/x", status) for status in ("finished", "failed")],
            )
        rig.work()
        assert server.requests == []
    assert (rig.calls, rig.refused(), rig.left()) == ([], 2, [])


@pytest.mark.parametrize(
    "data",
    [
        packed("extract", None, ["live", "and more"], {}),
        packed("extract", None, [], {}),
        packed("extract", None, ["plan"], {}),
        packed("extract", None, [["live"]], {}),
        packed("extract", None, [], {"window_class": "live"}),
        packed("plan", {"an": "object"}, [], {}),
        packed("plan", None, [], {}, "more"),
        b"[" * 900,
        b"",
        b"\xff\xfe",
        zlib.compress(b" " * (MAX_CALL_BYTES + 1) + json.dumps(["plan", None, [], {}]).encode()),
        zlib.compress(b"0" * (64 << 20)),  # 64 MiB in 64 KiB
        os.urandom(2 * MAX_CALL_BYTES),
    ],
)
def test_only_the_very_calls_that_we_schedule_are_run(rig: Rig, data: bytes) -> None:
    rig.redis.hset(our_job(rig).key, "data", data)
    rig.work()
    assert (rig.calls, rig.refused(), rig.left()) == ([], 1, [])


def test_each_call_that_we_schedule_is_known() -> None:
    for call in QUEUES.values():
        assert call_of(packed(call[0], None, list(call[1]), {})) == call


def test_ids_that_are_none_stop_nobody(rig: Rig) -> None:
    queue = rig.scheduler.queues["live"]
    for id_ in (b"\xff\xfe", b"a b", b"../x", b"", b"x" * 5000):
        rig.redis.rpush(queue.key, id_)
    rig.redis.set("rq:job:a-text", "no hash")
    rig.redis.rpush(queue.key, "a-text")
    rig.scheduler.schedule_plan(1)
    rig.redis.rpush(queue.key, "deleted-meanwhile")

    rig.work()

    assert (rig.calls, rig.refused(), rig.left()) == ([("plan",)], 6, [])


def test_a_job_of_ours_that_expires_while_it_is_read_is_nobody_elses(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    expiring, read = our_job(rig).key, rig.redis.hget

    def late(key: Any, field: Any) -> Any:
        if key == expiring.encode() or key == expiring:
            rig.redis.delete(expiring)
        return read(key, field)

    monkeypatch.setattr(rig.redis, "hget", late)
    rig.scheduler.schedule_plan(1)
    rig.work()
    assert (rig.calls, rig.refused(), rig.left()) == ([("plan",)], 0, [])
    assert not rig.redis.exists(expiring)


def test_scheduled_deferred_and_started_jobs_of_others_are_removed(rig: Rig) -> None:
    strangers = rig.stranger(serializer=JSONSerializer)
    first = strangers.enqueue_call("plan", retry=Retry(max=3), job_id="first")
    strangers.enqueue_call("plan", depends_on=first, job_id="second")
    strangers.enqueue_in(timedelta(hours=1), "os.system", "true", job_id="third")
    started = StartedJobRegistry(queue=strangers)
    rig.redis.zadd(started.key, {"fourth:x": 1.0})
    rig.redis.hset("rq:job:fourth", mapping={"origin": strangers.name, "status": "started"})
    rig.redis.rpush(f"{strangers.key}:intermediate", "fifth")
    other = Queue("somebody-elses", connection=rig.redis, serializer=JSONSerializer)
    theirs = other.enqueue_call("builtins.len", job_id="theirs")
    rig.redis.zadd(started.key, {"theirs:x": 1.0})

    rig.work()

    # The first in the queue; each registry is one event.
    assert (rig.calls, rig.refused()) == ([], 5)
    assert rig.left() == [theirs.key.encode()]
    assert not DeferredJobRegistry(queue=strangers).get_job_ids()
    assert not rig.redis.exists(f"rq:scheduled:{strangers.name}")
    assert not rig.redis.exists(started.key, f"{strangers.key}:intermediate")
    theirs.delete()


def test_a_suspension_by_a_neighbour_is_reported_and_ignored(rig: Rig) -> None:
    suspend(rig.redis)
    try:
        rig.scheduler.schedule("plan", 1)
        rig.work()
    finally:
        resume(rig.redis)
    assert rig.calls == [("plan",)]


def test_a_command_to_shut_down_is_not_heard(rig: Rig) -> None:
    """RQ's workers subscribe to a channel; whoever publishes there could end or stop them."""

    def told() -> None:
        send_shutdown_command(rig.redis, "worker")
        assert rig.redis.pubsub_numsub(f"{RQ_KEY_PREFIX}:pubsub:worker")[0][1] == 0
        rig.record("told")

    rig.scheduler.schedule("plan", 1)
    rig.scheduler.schedule("live", 1)
    rig.work({**rig.table(), "plan": told})
    assert rig.calls == [("told",), ("extract", "live")]


def test_a_defect_in_a_job_ends_neither_worker_nor_the_next_job(rig: Rig) -> None:
    rig.scheduler.schedule("plan", 1)
    rig.scheduler.schedule("live", 1)

    def fails() -> None:
        raise LookupError("a defect")

    rig.work({**rig.table(), "plan": fails})
    assert (rig.calls, rig.left()) == ([("extract", "live")], [])


def test_the_job_of_a_worker_that_died_expires(rig: Rig) -> None:
    rig.scheduler.schedule("plan", 1)
    (id_,) = rig.scheduler.queues["plan"].get_job_ids()
    ttls = []
    worker = Worker(
        list(rig.scheduler.queues.values()),
        rig.redis,
        {"plan": lambda: ttls.append(rig.redis.ttl(f"rq:job:{id_}"))},
        threading.Event(),
        lambda: None,
        "worker",
        rig.telemetry,
    )
    worker.work(burst=True, logging_level=None)
    assert 0 < ttls[0] <= 60
