"""RQ's queues and workers, read by the names of its keys.

This is the one place that knows them: etl-metrics counts jobs and workers, runs none, and its image
does not contain the rq package. tests/integration/exporter/test_rq.py checks each name against the
real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from redis import Redis

QUEUES_KEY = "rq:queues"
QUEUE_PREFIX = "rq:queue:"
WORKERS_KEY = "rq:workers:{queue}"
# Sorted sets of the jobs in a state; the queue itself, a list, holds those queued.
REGISTRY_KEYS = {
    "started": "rq:wip:{queue}",
    "deferred": "rq:deferred:{queue}",
    "scheduled": "rq:scheduled:{queue}",
    "finished": "rq:finished:{queue}",
    "failed": "rq:failed:{queue}",
    "canceled": "rq:canceled:{queue}",
}
QUEUED = "queued"
MAX_QUEUES = 50
MAX_WORKERS = 1000
_SHORT_NAME = re.compile(r"[a-z0-9_]{1,32}")


def queue_lengths(redis: Redis, namespace: str) -> dict[str, dict[str, int]]:
    """Jobs by state in each queue that ever held one, by its name without the namespace."""
    names = _queues(redis, namespace)
    pipe = redis.pipeline(transaction=False)
    for name in names:
        queue = f"{namespace}-{name}"
        pipe.llen(f"{QUEUE_PREFIX}{queue}")
        for key in REGISTRY_KEYS.values():
            pipe.zcard(key.format(queue=queue))
    counts: list[Any] = pipe.execute()
    width = 1 + len(REGISTRY_KEYS)
    rows = [counts[at : at + width] for at in range(0, len(counts), width)]
    states = (QUEUED, *REGISTRY_KEYS)
    return {
        name: dict(zip(states, row, strict=True)) for name, row in zip(names, rows, strict=True)
    }


def workers_alive(redis: Redis, namespace: str, now_seconds: float, silent_seconds: float) -> int:
    """Workers of the namespace's queues that gave a heartbeat lately."""
    pipe = redis.pipeline(transaction=False)
    for name in _queues(redis, namespace):
        pipe.smembers(WORKERS_KEY.format(queue=f"{namespace}-{name}"))
    keys = sorted({key for members in pipe.execute() for key in members})[:MAX_WORKERS]
    for key in keys:
        pipe.hmget(key, ["last_heartbeat", "death"])
    return sum(
        death is None and _age_seconds(heartbeat, now_seconds) <= silent_seconds
        for heartbeat, death in pipe.execute()
    )


def _queues(redis: Redis, namespace: str) -> list[str]:
    """Short names; another pipeline's queues may begin like ours."""
    found: Iterable[bytes] = redis.smembers(QUEUES_KEY)  # type: ignore[assignment]
    prefix = f"{QUEUE_PREFIX}{namespace}-".encode()
    short = (
        key[len(prefix) :].decode("utf-8", "replace") for key in found if key.startswith(prefix)
    )
    return sorted(name for name in short if _SHORT_NAME.fullmatch(name))[:MAX_QUEUES]


def _age_seconds(heartbeat: bytes | None, now_seconds: float) -> float:
    try:
        given = datetime.fromisoformat((heartbeat or b"").decode())
    except ValueError:
        return float("inf")
    return now_seconds - given.replace(tzinfo=given.tzinfo or UTC).timestamp()
