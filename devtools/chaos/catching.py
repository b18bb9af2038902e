"""Stop a process at an instant at which it holds work: faults must meet a batch under way."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Worker

from common.state.keys import GROUP, POINTS, RAW
from devtools.chaos.rig import KEYS, Rig
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until

CATCH_SECONDS = 40.0
# Workers are named with their process: stage-host-PID-random.
_PID = re.compile(r"-(\d+)-[0-9a-f]{8}$")
_INBOUND = {"transformer": RAW, "loader": POINTS}


def catch_busy(rig: Rig, module: str, rng: random.Random) -> ServiceProcess:
    """A process of ``module`` that was stopped (SIGSTOP) while it held work.

    Raises :class:`common.errors.StackError` when none held any for a long time.
    """

    def caught() -> ServiceProcess | None:
        running = {p.pid: p for p in rig.stack.services[module] if p.running}
        busy = [running[pid] for pid in busy_pids(rig.redis, module) if pid in running]
        if not busy:
            return None
        process = rng.choice(busy)
        process.pause()
        if process.pid in busy_pids(rig.redis, module):
            return process
        process.resume()  # it had finished by then
        return None

    def asked() -> ServiceProcess | None:
        try:
            return caught()
        except RedisError:
            return None  # it was hurt a moment ago

    return wait_until(
        asked,
        deadline_seconds=CATCH_SECONDS,
        what=f"a {module} holds work",
        # Never in step with what it watches.
        poll_seconds=rng.uniform(0.001, 0.004),
    )


def busy_pids(redis: Redis, module: str) -> set[int]:
    """Processes that hold pending entries or, for extractors, run a job and have a window."""
    if module == "extractor":
        return _busy_extractors(redis)
    summary: Any = redis.xpending(KEYS.stream(_INBOUND[module]), GROUP)
    names = [each["name"].decode() for each in summary["consumers"] if each["pending"]]
    return {int(found[1]) for name in names if (found := _PID.search(name))}


def _busy_extractors(redis: Redis) -> set[int]:
    if not leased_windows(redis):
        return set()
    found = set()
    # RQ's own list of workers is among the state that gets deleted.
    for key in redis.scan_iter(
        f"{Worker.redis_worker_namespace_prefix}*", _type="hash", count=5000
    ):
        state, job = (text or b"" for text in redis.hmget(key, "state", "current_job"))
        match = _PID.search(key.decode())
        if match and state == b"busy" and b"-plan-" not in job:
            found.add(int(match[1]))
    return found


def leased_windows(redis: Redis) -> dict[tuple[str, str], dict[str, Any]]:
    """Windows under a lease that has not run out: (feed, window id) → its record."""
    feeds: Any = redis.smembers(KEYS.feeds)
    seconds, micros = redis.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    found = {}
    for feed in sorted(name.decode() for name in feeds):
        records: Any = redis.hgetall(KEYS.windows(feed))
        for id_, text in records.items():
            record = json.loads(text)
            if record["t"] and record["d"] > now_ms:
                found[feed, id_.decode()] = record
    return found
