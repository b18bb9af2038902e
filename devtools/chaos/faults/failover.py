"""Faults of a Redis that fails over, under load."""

from __future__ import annotations

from collections.abc import Callable

from redis.exceptions import RedisError

from common.errors import StackError
from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.worlds.failover import FailoverRig
from devtools.servers.redis_server import RedisServer

# Not in the pipeline's namespace.
_PROBE = "probe"


def _rig(context: FaultContext) -> FailoverRig:
    if not isinstance(context.rig, FailoverRig):
        raise StackError("this Redis has no Sentinels")
    return context.rig


def lose_master(hurt: Callable[[RedisServer], None]) -> Callable[[FaultContext, int], int]:
    """The master is hurt until another one is chosen, and comes back at any time after that."""

    def fire(context: FaultContext, times: int) -> int:
        rig = _rig(context)
        for _ in range(times):
            context.apart(longest_seconds=1.0)
            old = rig.master()
            hurt(old)
            rig.failover.wait_for_another_master_than(old)
            context.apart(longest_seconds=6.0)
            rig.make_whole()
        return times

    return fire


def without_replicas(context: FaultContext, times: int) -> int:
    """The replicas hang until the master refuses writes, and some time more."""
    rig = _rig(context)
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        master = rig.master()
        for server in rig.failover.servers:
            if server is not master:
                server.pause()
        rig.until(lambda: _refuses_writes(rig), "the master refuses writes for want of replicas")
        context.apart(longest_seconds=4.0)
        rig.make_whole()
    return times


def _refuses_writes(rig: FailoverRig) -> bool:
    try:
        rig.redis.set(_PROBE, "1", px=60_000)
    except RedisError as error:
        return "NOREPLICAS" in str(error)
    return False


def _kill(server: RedisServer) -> None:
    server.kill()


def _stop(server: RedisServer) -> None:
    server.pause()


_SLOW = "each takes the Sentinels some seconds, and a proof after it"

KINDS = (
    Kind(
        "failover_kill",
        "kill -9 of the master; another one is chosen, and the old one comes back as its replica",
        lose_master(_kill),
        batch=1,
        expected_events=(("loader", "redis_unavailable"), ("extractor", "redis_unavailable")),
        slow=_SLOW,
    ),
    Kind(
        "failover_hang",
        "SIGSTOP of the master until another one is chosen; it comes back and takes itself for one",
        lose_master(_stop),
        batch=1,
        expected_events=(("loader", "redis_unavailable"), ("extractor", "redis_unavailable")),
        slow=_SLOW,
    ),
    Kind(
        "failover_no_replicas",
        "SIGSTOP of both replicas until the master refuses writes",
        without_replicas,
        batch=1,
        expected_events=(("transformer", "redis_unavailable"),),
        slow=_SLOW,
    ),
)
