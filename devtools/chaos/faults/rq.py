"""What others may put into RQ's keys: jobs that would run a program, rubbish, a suspension."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from random import Random
from typing import Any

from redis import Redis

from common.errors import StackError
from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.oracle import RECOVERY_SECONDS
from devtools.chaos.rig import KEYS, Rig
from services.extractor.job_table import QUEUES
from services.verifier.wiring import HOT

SUSPENDED = "rq:suspended"


def foreign_jobs(context: FaultContext, times: int) -> int:
    """Jobs of somebody else in all our queues; each must be refused, none may run.

    Counted are those that the extractors say they refused.
    """
    rig, rng = context.rig, context.rng
    marker = rig.stack.run_dir / "a-foreign-job-ran"
    for number in range(times):
        refused = rig.journal.total("job_refused")
        make = rng.choice((_program, _callback, _rubbish))
        for queue in QUEUES:
            make(rig.redis, rng, f"{KEYS.namespace}-{queue}", f"foreign-{number}-{queue}", marker)
        rig.until(
            lambda refused=refused: rig.journal.total("job_refused") >= refused + len(QUEUES),  # type: ignore[misc]
            "the extractors refuse foreign jobs",
            # Those in the lowest queue wait for all that is live.
            deadline_seconds=RECOVERY_SECONDS,
        )
        _check(marker)
        context.apart(longest_seconds=0.5)
    return times


def suspended(context: FaultContext, times: int) -> int:
    """A neighbour suspends all workers of RQ, for ever; extraction must go on meanwhile."""
    rig = context.rig
    for _ in range(times):
        rig.redis.set(SUSPENDED, 1)
        try:
            heads = _heads(rig)
            rig.until(
                lambda heads=heads: all(_heads(rig)[feed] > head for feed, head in heads.items()),  # type: ignore[misc]
                "windows are planned though workers are suspended",
            )
            until_ms = rig.now_ms()
            rig.until_loaded(context.epochs.begin_by_ms, until_ms, deadline_seconds=60.0)
        finally:
            rig.redis.delete(SUSPENDED)
        context.apart(longest_seconds=0.5)
    return times


def _heads(rig: Rig) -> dict[str, int]:
    return {name: feed.head_ms for name, feed in rig.feeds().items() if feed.tier == HOT}


def _check(marker: Path) -> None:
    if marker.exists():
        raise StackError(f"a job that somebody put into the queues ran: it made {marker}")


def _program(redis: Redis, rng: Random, queue: str, job: str, marker: Path) -> None:
    """A job that runs a program, packed in one of the two ways of RQ."""
    call: tuple[Any, ...] = ("os.system", None, (f"touch {marker}",), {})
    packed = json.dumps(call).encode() if rng.random() < 0.5 else pickle.dumps(call)
    _put(redis, queue, job, {"data": zlib.compress(packed)})


def _callback(redis: Redis, rng: Random, queue: str, job: str, marker: Path) -> None:
    """A job that calls our own function, and a program when that is done."""
    name, arguments = QUEUES["plan"]
    call = json.dumps([name, None, list(arguments), {}])
    callback = rng.choice(("success_callback_name", "failure_callback_name", "webhooks"))
    _put(redis, queue, job, {"data": zlib.compress(call.encode()), callback: b"os.abort"})


def _rubbish(redis: Redis, rng: Random, queue: str, job: str, marker: Path) -> None:
    """A hash of which some fields are rubbish, the call among them."""
    others = ("created_at", "status", "timeout", "origin", "meta", "repeats_left")
    fields = ("data", *rng.sample(others, rng.randint(0, len(others))))
    _put(redis, queue, job, {field: rng.randbytes(rng.randint(1, 3000)) for field in fields})


def _put(redis: Redis, queue: str, job: str, fields: dict[str, bytes]) -> None:
    known: Any = {"created_at": "2026-01-01T00:00:00Z", "status": "queued", "origin": queue}
    with redis.pipeline() as pipe:
        pipe.hset(f"rq:job:{job}", mapping=known | fields)
        pipe.rpush(f"rq:queue:{queue}", job)
        pipe.execute()


KINDS = (
    Kind(
        "rq_foreign_jobs",
        "jobs in our queues that name a program, call one back, or are rubbish",
        foreign_jobs,
        batch=10,
        expected_events=(("extractor", "job_refused"),),
    ),
    Kind(
        "rq_suspended",
        "RQ's workers suspended until windows that were planned meanwhile are loaded",
        suspended,
        batch=2,
        slow="each waits for windows of all feeds",
    ),
)
