"""How often etl-metrics reads Redis: more rarely where the audit is long, but never blindly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from common.state.keys import Keys
from devtools.servers.redis_server import RedisServer
from services.exporter.redis_source import MAX_AUDIT_SHARE
from tests.integration.exporter.exporter_world import Rig, populate

POLL_SECONDS = 10.0
# Each look at the clock takes as long, so that the audit does.
LOOK_SECONDS = 2.0
REST_SECONDS = LOOK_SECONDS / MAX_AUDIT_SHARE


class SlowClock:
    """Goes on by ``LOOK_SECONDS`` whenever it is read."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += LOOK_SECONDS
        return self.now


@pytest.fixture
def server(make_redis: Callable[..., RedisServer]) -> RedisServer:
    return make_redis()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def clock() -> SlowClock:
    return SlowClock()


@pytest.fixture
def rig(
    server: RedisServer, client: redis.Redis, clock: SlowClock, redis_namespace: str
) -> Iterator[Rig]:
    populate(client, Keys(redis_namespace))
    rig = Rig(server.plain_url, Keys(redis_namespace), poll_seconds=POLL_SECONDS, clock=clock)
    assert rig.step() == POLL_SECONDS
    yield rig
    rig.close()


def audits(client: redis.Redis) -> int:
    """How many scripts were run: only the readings run any."""
    found = client.info("commandstats").items()
    return sum(counted["calls"] for name, counted in found if name.startswith("cmdstat_evalsha"))


def test_the_longer_the_audit_takes_the_more_rarely_it_is_run(
    rig: Rig, client: redis.Redis, clock: SlowClock
) -> None:
    until = clock.now + REST_SECONDS
    assert rig.value("etl_redis_audit_seconds") == LOOK_SECONDS
    before = audits(client)
    while clock.now + LOOK_SECONDS < until:
        wait_seconds = rig.step()
        assert 0 < wait_seconds <= POLL_SECONDS
        clock.now += wait_seconds
    assert audits(client) == before
    rig.step()
    assert audits(client) > before


def test_a_redis_that_goes_away_between_two_readings_is_noticed_at_once(
    rig: Rig, server: RedisServer
) -> None:
    assert rig.value("etl_redis_up") == 1
    server.kill()
    assert rig.step() == POLL_SECONDS
    assert rig.value("etl_redis_up") == 0
    assert "etl_in_flight_bytes" not in rig.names
    assert not rig.ready["redis"][0]
    server.start()
    assert rig.step() == POLL_SECONDS
    assert rig.value("etl_redis_up") == 1
    assert rig.value("etl_in_flight_bytes") is not None
