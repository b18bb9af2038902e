"""Which Redis is refused at start, and what is said of one that may throw data away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.errors import ConfigError
from common.runtime.readiness.redis_check import check_redis
from common.runtime.telemetry import Telemetry
from common.state.connection.redis_client import connect
from common.state.connection.server import eviction, refusal
from devtools.servers.ports import HOST
from devtools.servers.redis_server import RedisServer
from services.extractor.server_watch import ServerWatch

MakeRedis = Callable[..., RedisServer]


class FakeService:
    """What the check needs of a service."""

    def __init__(self) -> None:
        self.telemetry = Telemetry("extractor", CollectorRegistry())


def test_cluster_mode_is_refused_in_one_sentence(make_redis: MakeRedis) -> None:
    server = make_redis(settings={"cluster-enabled": "yes"})
    with server.client() as client, pytest.raises(ConfigError, match="Cluster mode") as caught:
        check_redis(FakeService(), client)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("version", "refused"),
    [("6.2.14", True), ("7.0.0", False), ("7.2.4", False), ("10.1", False), ("255.255", False)],
)
def test_the_version(version: str, refused: bool) -> None:
    class Told:
        def info(self, section: str) -> dict[str, Any]:
            return {"redis_version": version, "redis_mode": "standalone"}

    found = refusal(Told())  # type: ignore[arg-type]
    assert (found is not None) == refused
    if refused:
        assert found == f"is Redis {version}, which is too old: 7.0 or newer is needed"


def test_an_eviction_policy_is_not_ready_until_it_is_mended(make_redis: MakeRedis) -> None:
    server = make_redis(settings={"maxmemory": "64mb"})
    checks: list[tuple[str, bool]] = []
    with server.client() as client:
        watch = ServerWatch(
            client,
            Telemetry("extractor", CollectorRegistry()),
            lambda name, ok, _: checks.append((name, ok)),
        )
        assert eviction(client) is None
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert "maxmemory-policy is allkeys-lru" in str(eviction(client))
        watch.check()
        client.config_set("maxmemory-policy", "noeviction")
        watch.check()
    assert checks == [("redis_eviction", False), ("redis_eviction", True)]


def test_without_the_right_to_ask_planning_goes_on(make_redis: MakeRedis) -> None:
    server = make_redis()
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "stage", "on", ">word", "~*", "+@all", "-info")
    checks: list[tuple[str, bool]] = []
    service = FakeService()
    with connect(f"redis://stage@{HOST}:{server.port}/0", "word") as client:
        check_redis(service, client)  # type: ignore[arg-type]
        watch = ServerWatch(client, service.telemetry, lambda *check: checks.append(check[:2]))
        watch.check()
        watch.check()
    assert checks == []
