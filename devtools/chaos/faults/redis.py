"""Faults of Redis and of the way to it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from common.errors import StackError
from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.rig import Rig
from devtools.servers.ports import HOST, free_port
from devtools.servers.redis_server import RedisServer


def kill(context: FaultContext, times: int) -> int:
    """kill -9, away for a moment, started with its append-only file."""
    redis = context.rig.stack.redis
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        redis.kill()
        context.apart(longest_seconds=0.7)
        redis.start()
    return times


def roll_back(context: FaultContext, times: int) -> int:
    """kill -9, and what was appended in up to the last second is lost, as when a host dies.

    The file ends at any byte then, so it is repaired before the start, as production must do it:
    Redis 7 by itself leaves the first commands of a script at its end, and runs them at the next
    start but one (docs/reliability.md).
    """
    redis = context.rig.stack.redis
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        file = append_only_file(redis)
        before_bytes = file.stat().st_size
        context.apart(0.2, 1.0)
        redis.kill()
        if append_only_file(redis) == file:
            cut = context.rng.randint(before_bytes, file.stat().st_size)
            with file.open("r+b") as content:
                content.truncate(cut)
            repair_append_only_file(context.rig)
        redis.start()
    return times


def repair_append_only_file(rig: Rig) -> None:
    """``redis-check-aof --fix``: takes a torn end away, back to before the script it is of."""
    redis = rig.stack.redis
    manifest = append_only_file(redis).with_name("appendonly.aof.manifest")
    done = subprocess.run(
        [str(redis.check_aof), "--fix", str(manifest)],
        input=b"y\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=redis.environment(),
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise StackError(f"redis-check-aof: {done.stdout.decode(errors='replace')[-500:]}")


def append_only_file(redis: RedisServer) -> Path:
    """The file that Redis 7 appends to now."""
    return max(redis.work_dir.glob("data/appendonlydir/*.incr.aof"), key=_number)


def _number(path: Path) -> int:
    return int(path.name.split(".")[-3])


def restart(context: FaultContext, times: int) -> int:
    """A clean stop and start."""
    redis = context.rig.stack.redis
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        redis.restart()
    return times


def out_of_memory(context: FaultContext, times: int) -> int:
    """``maxmemory`` at or just above what is used, for a while."""
    rig, rng = context.rig, context.rng
    for _ in range(times):
        context.apart(longest_seconds=0.7)
        used_bytes = int(rig.redis.info("memory")["used_memory"])
        headroom_bytes = rng.choice((-used_bytes // 2, rng.randint(0, 400_000)))
        rig.redis.config_set("maxmemory", used_bytes + headroom_bytes)
        context.apart(0.3, 1.5)
        rig.redis.config_set("maxmemory", 0)
    return times


def replica(context: FaultContext, times: int) -> int:
    """A failover that comes back: a replica of nobody for a while, all connections stay open.

    It lasts until a write of the pipeline has been refused.
    """
    rig = context.rig
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        before = _refused_as_replica(rig)
        rig.redis.replicaof(HOST, str(free_port()))
        try:
            rig.until(lambda before=before: _refused_as_replica(rig) > before, "a write is refused")  # type: ignore[misc]
            context.apart(0.1, 1.5)
        finally:
            rig.redis.replicaof("NO", "ONE")
    return times


def _refused_as_replica(rig: Rig) -> int:
    errors: Any = rig.redis.info("errorstats")
    return int(errors.get("errorstat_READONLY", {}).get("count", 0))


def cut(context: FaultContext, times: int) -> int:
    """The connection is cut in the middle of a command, or of its reply; or all of them are."""
    rig, rng = context.rig, context.rng
    for _ in range(times):
        rig.proxies.send(
            "redis",
            "cut",
            direction=rng.choice(("up", "down")),
            after_bytes=int(rng.expovariate(1 / 8_000)),
            all=rng.random() < 0.4,
        )
        rig.until(lambda: not rig.proxies.left("redis"), "a connection to Redis is cut")
        context.apart(longest_seconds=0.5)
    return times


def delete_rq_state(context: FaultContext, times: int) -> int:
    """Every key of RQ is deleted."""
    redis = context.rig.redis
    for _ in range(times):
        keys = list(redis.scan_iter("rq:*", count=1000))
        if keys:
            redis.delete(*keys)
        context.apart(longest_seconds=0.8)
    return times


def lose_everything(context: FaultContext, times: int) -> int:
    """Redis is killed and comes back empty.

    Its clients are cut off a moment before, so that what its ledger said last is known exactly.
    """
    rig = context.rig
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        rig.proxies.send("redis", "refuse")
        _alone(rig)
        context.oracle.archive_letters()
        context.epochs.close(rig)
        rig.stack.redis.kill()
        rig.stack.redis.forget_data()
        rig.stack.redis.start()
        rig.proxies.send("redis", "listen")
    return times


def _alone(rig: Rig) -> None:
    """Wait until no connection of a service is left: a command may still be under way in one."""
    rig.until(
        lambda: not rig.proxies.connections_to(rig.stack.redis.port),
        "the services' connections to Redis are closed",
        deadline_seconds=10.0,
    )


KINDS = (
    Kind(
        "redis_kill",
        "kill -9 of Redis (append-only file, everysec), then started",
        kill,
        batch=7,
        expected_events=(("loader", "redis_unavailable"), ("extractor", "redis_unavailable")),
    ),
    Kind(
        "redis_rollback",
        "kill -9 of Redis; up to a second of its append-only file is cut off at any byte, repaired",
        roll_back,
        batch=7,
        expected_events=(("loader", "redis_unavailable"),),
    ),
    Kind("redis_restart", "Redis stopped cleanly and started", restart, batch=10),
    Kind(
        "redis_out_of_memory",
        "maxmemory of Redis at or just above what is used, then lifted",
        out_of_memory,
        batch=10,
        expected_events=(("transformer", "redis_unavailable"),),
    ),
    Kind(
        "redis_cut",
        "a connection to Redis cut in the middle of a command or of its reply",
        cut,
        batch=10,
        expected_events=(("transformer", "redis_unavailable"), ("loader", "redis_unavailable")),
    ),
    Kind(
        "redis_replica",
        "Redis turned into a replica while its connections stay open, then master again",
        replica,
        batch=10,
        expected_events=(("transformer", "redis_unavailable"), ("loader", "redis_unavailable")),
    ),
    Kind("rq_state_deleted", "every key of RQ deleted", delete_rq_state, batch=20),
    Kind(
        "redis_lost",
        "Redis killed and started empty",
        lose_everything,
        batch=1,
        slow="each begins a new ledger, and its proof covers what is extracted again",
    ),
)
