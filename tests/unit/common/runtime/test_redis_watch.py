"""The check ``redis``: a ping where nothing else has shown that Redis serves this process."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from common.runtime.readiness import redis_watch
from common.runtime.readiness.health import Health
from common.runtime.readiness.redis_watch import RedisWatch
from common.runtime.service import Service


class FakeRedis:
    """Counts pings and keeps reports; ``away``: it responds to nothing."""

    def __init__(self) -> None:
        self.pings, self.away = 0, False
        self.reports: list[dict[str, Any]] = []

    def ping(self) -> bool:
        self.pings += 1
        if self.away:
            raise RedisConnectionError("no route")
        return True

    def time(self) -> tuple[int, int]:
        return 1_700_000_000, 0

    def hgetall(self, _key: str) -> dict[bytes, bytes]:
        return {}

    def hset(self, _key: str, _worker: str, report: str) -> None:
        self.reports.append(json.loads(report))


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> FakeRedis:
    redis = FakeRedis()
    monkeypatch.setattr(redis_watch, "connect_as_set", lambda _: redis)
    return redis


def service_of(health: Health) -> Service:
    pipeline = SimpleNamespace(interval_seconds=15.0, redis_namespace="etl")
    service = SimpleNamespace(
        name="transformer",
        settings=SimpleNamespace(pipeline=pipeline),
        health=health,
        telemetry=SimpleNamespace(values=lambda _: {}),
        config=SimpleNamespace(digest="", content="", refused=""),
    )
    return cast(Service, service)


def test_a_redis_that_has_just_served_the_loop_is_not_pinged(redis: FakeRedis) -> None:
    watch = RedisWatch(service_of(Health(60)), "worker")
    watch.answered()
    redis.away = True
    watch._probe()
    assert redis.pings == 0


def test_one_that_did_not_is(redis: FakeRedis) -> None:
    watch = RedisWatch(service_of(Health(60)), "worker")
    watch._probe()
    assert redis.pings == 1
    redis.away = True
    with pytest.raises(RedisConnectionError, match="no route"):
        watch._probe()


def test_readiness_is_told_without_a_ping_too(redis: FakeRedis) -> None:
    health = Health(60)
    watch = RedisWatch(service_of(health), "worker")
    for ok in (True, False):
        health.set_ready("stream", ok, "" if ok else "why")
        health.set_ready("redis", True)
        watch.answered()
        watch._probe()
    assert [report["ready"] for report in redis.reports] == [True, False]
    assert redis.reports[-1]["failing"] == {"stream": "why"}
