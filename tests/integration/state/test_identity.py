"""One namespace, one source and one sink."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from common.config import Settings
from common.runtime.readiness.identity_guard import (
    CHECK_EVERY_SECONDS,
    GuardedHandler,
    IdentityGuard,
)
from common.runtime.telemetry import Telemetry
from common.state.identity import Identity, IdentityRecord, identity_of
from common.state.keys import Keys
from common.state.verdict import Entry, Verdict
from devtools.servers.redis_server import RedisServer
from etlctl.__main__ import main
from tests.support.captured_log import CapturedLog

Capture = pytest.CaptureFixture[str]


def document(namespace: str, **changes: str) -> dict[str, Any]:
    influxdb = {"url": "http://i:8086", "org": "o", "bucket": "b", "token": "s3cret"}
    return {
        "extract": {"prometheus_url": changes.pop("source", "http://p:9090/")},
        "load": {"influxdb": influxdb | changes},
        "pipeline": {"redis_namespace": namespace},
    }


class World:
    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis, self.namespace = redis, namespace
        self.seconds = 0.0
        self.log = CapturedLog()

    def guard(self, **changes: str) -> IdentityGuard:
        settings = Settings.model_validate(document(self.namespace, **changes))
        telemetry = Telemetry("loader", CollectorRegistry(), logger=self.log)
        return IdentityGuard(self.redis, settings, telemetry, lambda: self.seconds)


@pytest.fixture
def world(redis_client: Redis, redis_namespace: str) -> World:
    return World(redis_client, redis_namespace)


def test_the_first_pipeline_owns_the_namespace(world: World) -> None:
    assert world.guard().reason() is None
    assert world.guard().reason() is None
    assert world.log.lines == []
    assert IdentityRecord(world.redis, Keys(world.namespace)).read() == Identity(
        "http://p:9090", "http://i:8086 org o bucket b"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "http://other:9090"}, "reads http://p:9090, this one http://other:9090"),
        ({"bucket": "c"}, "writes to http://i:8086 org o bucket b, this one http://i:8086 org o"),
        ({"org": "p"}, "bucket b, this one http://i:8086 org p bucket b"),
        ({"url": "http://j:8086"}, "bucket b, this one http://j:8086 org o bucket b"),
    ],
)
def test_another_source_or_sink_is_refused_by_name(
    world: World, changes: dict[str, str], words: str
) -> None:
    world.guard().reason()
    other = world.guard(**changes)
    reason = other.reason()
    assert reason is not None
    assert words in reason
    assert "etlctl identity --accept" in reason
    assert "s3cret" not in reason
    assert other.reason() == reason
    assert world.log.events == ["identity_conflict"], "written once"


def test_another_token_is_the_same_pipeline(world: World) -> None:
    world.guard().reason()
    assert world.guard(token="rotated").reason() is None


def test_who_begins_to_speak_tls_has_not_moved(world: World) -> None:
    world.guard().reason()
    assert world.guard(source="https://p:9090", url="https://i:8086").reason() is None
    assert world.guard(source="https://p:9091", url="https://i:8086").reason() is not None


def test_a_move_that_was_accepted_pauses_who_has_not_moved(world: World) -> None:
    old, new = world.guard(), world.guard(bucket="c")
    assert old.reason() is None
    assert new.reason() is not None
    ours = identity_of(Settings.model_validate(document(world.namespace, bucket="c")))
    IdentityRecord(world.redis, Keys(world.namespace)).accept(ours)
    assert new.reason() is None
    assert old.reason() is None, "asked now and then"
    world.seconds += CHECK_EVERY_SECONDS
    assert old.reason() is not None


def test_who_was_failed_by_redis_asks_at_once(world: World) -> None:
    guard, other = world.guard(), world.guard(bucket="c")
    assert guard.reason() is None and other.reason() is not None
    ours = identity_of(Settings.model_validate(document(world.namespace, bucket="c")))
    IdentityRecord(world.redis, Keys(world.namespace)).accept(ours)
    assert guard.reason() is None
    guard.doubt()
    assert guard.reason() is not None


class Handler:
    stage = "loader"
    checks = 0
    closed = False

    def handle(self, entries: Sequence[Entry]) -> list[Verdict]:
        return []

    def check(self) -> str | None:
        self.checks += 1
        return "the sink is away"

    def close(self) -> None:
        self.closed = True


def test_a_stage_asks_its_dependency_only_where_it_may_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Handler()
    assert GuardedHandler(handler, world.guard()).check() == "the sink is away"
    other = world.guard(bucket="c")
    guarded = GuardedHandler(handler, other)
    assert "belongs to another pipeline" in str(guarded.check())
    assert handler.checks == 1

    def away() -> str | None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(other, "reason", away)
    assert guarded.check() == "Redis did not respond: gone"
    assert (guarded.stage, guarded.handle([])) == ("loader", [])
    guarded.close()
    assert handler.closed


def test_etlctl_shows_and_accepts(
    world: World, redis_server: RedisServer, tmp_path: Path, capsys: Capture
) -> None:
    def identity(bucket: str, *options: str) -> tuple[int, str, str]:
        found = document(world.namespace, bucket=bucket)
        found["pipeline"]["redis_url"] = redis_server.plain_url
        file = tmp_path / "etl.yaml"
        file.write_text(yaml.safe_dump(found), encoding="utf-8")
        with pytest.raises(SystemExit) as caught:
            main(["identity", "--config", str(file), *options])
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    assert identity("b") == (0, "The namespace belongs to no pipeline yet.\n", "")
    world.guard().reason()
    shown = "source  http://p:9090\nsink    http://i:8086 org o bucket {}\n"
    assert identity("b") == (0, shown.format("b"), "")
    code, out, err = identity("c")
    assert (code, out) == (1, shown.format("b"))
    assert "belongs to another pipeline" in err
    assert identity("c", "--accept") == (0, shown.format("c"), "")
    assert identity("b", "--json")[0] == 1
