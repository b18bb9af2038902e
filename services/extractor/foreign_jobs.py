"""Jobs in RQ's registries of our queues: scheduled, deferred, started by somebody.

The extractor uses none of these registries, so whatever lies there is foreign, or is left from a
version that did. RQ would enqueue, retry or call back what they name.
"""

from __future__ import annotations

from typing import Any

from redis import Redis

REGISTRIES = {
    "scheduled": "rq:scheduled:{queue}",
    "deferred": "rq:deferred:{queue}",
    "started": "rq:wip:{queue}",
    "failed": "rq:failed:{queue}",
    "finished": "rq:finished:{queue}",
    "canceled": "rq:canceled:{queue}",
    "ready": "rq:ready:{queue}",
    "intermediate": "rq:queue:{queue}:intermediate",
}
# Jobs whose hashes are deleted at a time; all are removed from the registry.
MOST_HASHES = 1000


def remove_foreign_jobs(redis: Redis, queue: str) -> dict[str, int]:
    """Empty all registries of a queue; how many foreign jobs lay in which."""
    found = {}
    for state, template in REGISTRIES.items():
        key = template.format(queue=queue)
        kind: Any = redis.type(key)
        if kind == b"none":
            continue
        ids = _ids(redis, key, kind)
        for id_ in ids:
            # Another queue's job may be named here too; only one of this queue is ours to delete.
            _delete_if_of(redis, b"rq:job:" + id_, queue)
        redis.delete(key)
        # What an earlier version of ours left is named like its queue.
        foreign = sum(not id_.startswith(queue.encode() + b"-") for id_ in ids)
        if foreign or not ids:
            found[state] = max(foreign, 1)
    return found


def _delete_if_of(redis: Redis, job: Any, queue: str) -> None:
    hash_there: Any = redis.type(job) == b"hash"
    if hash_there and redis.hget(job, "origin") == queue.encode():
        redis.delete(job, job + b":dependents", b"rq:job::" + job[7:] + b":dependencies")


def _ids(redis: Redis, key: str, kind: Any) -> list[bytes]:
    """Ids of jobs in a registry; none where it is of no type that RQ would use."""
    members: Any = []
    if kind == b"zset":
        members = redis.zrange(key, 0, MOST_HASHES - 1)
    elif kind == b"list":
        members = redis.lrange(key, 0, MOST_HASHES - 1)
    return [member.split(b":", 1)[0] for member in members]
