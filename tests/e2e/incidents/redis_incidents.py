"""What can go wrong with Redis and what lies in it; see tests/e2e/incidents/all_incidents.py."""

from __future__ import annotations

import zlib
from typing import Any

from common.state.keys import GROUP, POINTS, RAW
from tests.e2e.incidents.alert_world import KEYS, AlertWorld, Incident
from tests.support.full_disk import FullDiskRedis


def _used_bytes(world: AlertWorld) -> int:
    info: Any = world.redis.info("memory")
    return int(info["used_memory"])


def _fill_redis(world: AlertWorld) -> None:
    """It throws away what passes soonest: some keys that are in no one's way."""
    for number in range(100):
        world.redis.set(f"passing:{number}", b"x" * 10_000, ex=30)
    world.redis.config_set("maxmemory-policy", "volatile-ttl")
    world.redis.config_set("maxmemory", _used_bytes(world) - 50_000)
    world.until(lambda: _evicted_keys(world), "keys are evicted")
    world.redis.config_set("maxmemory", int(_used_bytes(world) / 0.9))


def _evicted_keys(world: AlertWorld) -> int:
    info: Any = world.redis.info("stats")
    return int(info["evicted_keys"])


def _lift_limit(world: AlertWorld) -> None:
    world.redis.config_set("maxmemory", 0)
    world.redis.config_set("maxmemory-policy", "noeviction")


MEMORY = Incident(
    "a Redis that is nearly full, and evicts",
    {"EtlRedisMemoryHigh": {}, "EtlRedisMayEvict": {}, "EtlRedisEvicted": {}},
    _fill_redis,
    _lift_limit,
)


def _delete_pending(world: AlertWorld) -> None:
    """Somebody deletes entries by hand while the loader, which is refused, has released them.

    What was in them cannot be brought back, so the ledger stays wrong: until Redis is new.
    """
    stream = KEYS.stream(POINTS)

    def pending() -> list[bytes]:
        found: Any = world.redis.xpending_range(stream, GROUP, "-", "+", 100)
        return [entry["message_id"] for entry in found]

    world.sink_answers(401)
    # What is pending before may have been posted already, and be settled yet.
    world.until(lambda: world.service("loader").probe() is not None, "the loader is paused")
    world.until(pending, "entries are pending")
    for id_ in pending():
        world.redis.xdel(stream, id_)
    world.sink_heals()
    for alert in ("EtlLedgerOutOfBalance", "EtlPendingEntriesDeleted"):
        world.until(lambda alert=alert: world.fires(alert, {}), f"{alert} fires")  # type: ignore[misc]
    world.stack.redis.kill()


def _new_redis(world: AlertWorld) -> None:
    world.stack.redis.forget_data()
    world.stack.redis.start()
    world.until(
        lambda: world.value("max(etl_ledger_imbalance_samples)") == 0, "the new ledger balances"
    )
    # Not before: whoever is stopped until then has no feed, and no backlog.
    world.until(lambda: world.value("min(etl_gaps_declared)") == 0, "the feeds are planned anew")


LOST = Incident(
    "entries deleted by hand, and a Redis that is away",
    {
        "EtlLedgerOutOfBalance": {},
        "EtlPendingEntriesDeleted": {"stage": "loader"},
        "EtlRedisUnreachable": {},
    },
    _delete_pending,
    _new_redis,
)


# Nobody knows then what is loaded: that burns the budget of freshness, too.
HANGING = Incident(
    "a Redis that hangs",
    {"EtlRedisUnreachable": {}, "EtlFreshnessBudgetBurningFast": {}},
    lambda world: world.stack.redis.pause(),
    lambda world: world.stack.redis.resume(),
)


def _server(world: AlertWorld) -> FullDiskRedis:
    server = world.stack.redis
    assert isinstance(server, FullDiskRedis)
    return server


def _make_room(world: AlertWorld) -> None:
    _server(world).make_room()
    world.redis.delete(FullDiskRedis.FILLING)


DISK = Incident(
    "a Redis whose disk is full",
    {"EtlRedisFileFailing": {"operation": "write"}},
    lambda world: _server(world).fill_disk(),
    _make_room,
)


def _lose_payloads(world: AlertWorld) -> None:
    """They are deleted while no transformer takes the entries, which lead to nothing then."""
    transformer, stream = world.service("transformer"), KEYS.stream(RAW)
    transformer.pause()
    try:
        world.until(lambda: world.redis.xlen(stream) > 5, "entries wait")
        entries: Any = world.redis.xrange(stream)
        world.redis.delete(*(fields[b"payload"] for _, fields in entries))
    finally:
        transformer.resume()


PAYLOADS = Incident(
    "payloads that somebody deleted",
    {"EtlPayloadsLost": {}},
    _lose_payloads,
    lambda world: None,
)


def _foreign_job(world: AlertWorld) -> None:
    """One that would run a function of the standard library."""
    queue, job = f"{KEYS.namespace}-plan", "somebody-elses"
    data = zlib.compress(b'["os.getcwd", null, [], {}]')
    fields: dict[Any, Any] = {"created_at": "2026-01-01T00:00:00Z", "data": data}
    world.redis.hset(f"rq:job:{job}", mapping=fields | {"status": "queued", "origin": queue})
    world.redis.rpush(f"rq:queue:{queue}", job)


FOREIGN_JOB = Incident(
    "a job of somebody else in a queue", {"EtlForeignJobs": {}}, _foreign_job, lambda world: None
)
