"""The jobs that may lie in our RQ queues, and how little of one is read.

Whoever can write to Redis can put a job into a queue, and RQ by itself would import and call what
it names, call back what it names then, and post to addresses that it names. So of a job nothing is
read but its call, which must be one of :data:`QUEUES`; whatever a job of ours never has makes it a
foreign one. Queues and workers use the same class.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from typing import Any, Literal

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from rq import Queue
from rq.exceptions import DequeueTimeout, NoSuchJobError
from rq.job import Job, parse_job_id

from common.state.connection.redis_client import is_awake

QueueName = Literal["plan", "recheck", "live", "catchup", "backfill"]
# In the order of their priority; for each, the function's name and its arguments.
QUEUES: dict[QueueName, tuple[str, tuple[str, ...]]] = {
    "plan": ("plan", ()),
    "recheck": ("recheck", ()),
    "live": ("extract", ("live",)),
    "catchup": ("extract", ("catchup",)),
    "backfill": ("backfill", ()),
}
# The longest call that is looked at, inflated.
MAX_CALL_BYTES = 1024
# Fields that would make RQ do more than to run the function; ours have none of them.
FORBIDDEN_FIELDS = (
    "success_callback_name",
    "failure_callback_name",
    "stopped_callback_name",
    "webhooks",
    "dependency_id",
    "dependency_ids",
    "group_id",
    "meta",
    "repeats_left",
    "retries_left",
    "rate_limit_key",
)
_ID = re.compile(rb"[A-Za-z0-9_-]{1,200}")
# Stands for an id that cannot be one; no job of ours is named so.
_NO_ID = "not-an-id"


class TableJob(Job):
    """A job by its call alone; ``refused`` says why it is not one of ours."""

    refused: str | None = None
    call: tuple[str, tuple[str, ...]] | None = None

    @classmethod
    def fetch(cls, id: str, connection: Redis | None = None, serializer: Any = None) -> TableJob:
        """The job of that id. Raises :class:`NoSuchJobError` where there is none (any more)."""
        job = cls(parse_job_id(id), connection=connection, serializer=serializer)
        job.refresh()
        return job

    def refresh(self) -> None:
        """Read the call, and no more than is needed to see whether the job is one of ours."""
        if self.id == _NO_ID:
            self.refused = "its id is none"
            return
        try:
            sizes, data = self._read()
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            self.refused = "it is no hash"
            return
        extra = [name for name in FORBIDDEN_FIELDS if sizes[name]]
        if extra:
            self.refused = f"it has the field {extra[0]}"
            return
        self.call = call_of(data)
        if self.call is None:
            self.refused = f"it names {_shown(data)}"

    def _read(self) -> tuple[dict[str, int], bytes]:
        """The sizes of the forbidden fields in bytes, and the packed call, if it is short."""
        with self.connection.pipeline(transaction=False) as pipe:
            for name in ("data", *FORBIDDEN_FIELDS):
                pipe.hstrlen(self.key, name)
            pipe.exists(self.key)
            size, *sizes, there = pipe.execute()
        if not there:
            raise NoSuchJobError(f"No such job: {self.key}")
        data: Any = self.connection.hget(self.key, "data") if size <= MAX_CALL_BYTES else b""
        if data is None and size:
            # It has expired since: a worker that is a minute behind takes each job at that moment.
            raise NoSuchJobError(f"No such job: {self.key}")
        return dict(zip(FORBIDDEN_FIELDS, sizes, strict=True)), data or b""

    def remove(self) -> None:
        """Delete it, whatever it is."""
        self.connection.delete(
            self.key, self.dependents_key, self.dependencies_key, f"rq:results:{self.id}"
        )


class TableQueue(Queue):
    """A queue that yields an id in any case: what RQ cannot read would end the worker."""

    @classmethod
    def lpop(cls, queue_keys: Sequence[str], timeout: int | None, connection: Any = None) -> Any:
        """The next id with the key of its queue, as :meth:`rq.Queue.lpop` says.

        Where the process stops meanwhile it is as if there were none for as long as this.
        """
        try:
            found = super().lpop(queue_keys, timeout, connection=connection)
        except RedisConnectionError:
            if not is_awake(connection):
                raise
            raise DequeueTimeout(timeout, queue_keys) from None
        if found is None or _ID.fullmatch(found[1]):
            return found
        return found[0], _NO_ID


def call_of(data: bytes) -> tuple[str, tuple[str, ...]] | None:
    """The call that a job's data stands for, or None if it is not one of :data:`QUEUES`."""
    inflated = _inflated(data)
    try:
        name, instance, arguments, options = json.loads(inflated or b"null")
    except (ValueError, TypeError, RecursionError):
        return None
    for function, wanted in QUEUES.values():
        if [name, instance, arguments, options] == [function, None, list(wanted), {}]:
            return function, wanted
    return None


def _inflated(data: bytes) -> bytes | None:
    """At most :data:`MAX_CALL_BYTES`; None where there would be more, or nothing is readable."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, MAX_CALL_BYTES)
    except zlib.error:
        return None
    return text if inflater.eof and not inflater.unconsumed_tail else None


def _shown(data: bytes) -> str:
    """What a foreign job names, fit for a log."""
    text = _inflated(data)
    return "something that is not readable" if text is None else f"{text[:200]!r}"
