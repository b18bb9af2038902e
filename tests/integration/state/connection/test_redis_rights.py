"""The ACL lines of docs/security.md suffice, on a real server: nothing that is done is denied."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.exceptions import NoPermissionError

from common.state.connection.redis_client import connect
from common.state.dead_letters.kept import DeadLetters
from common.state.keys import POINTS, RAW, Keys
from common.state.seals import Seals
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Settle
from devtools.servers.ports import HOST
from devtools.servers.redis_server import RedisServer
from etlctl.backup.redis_state import RedisState
from services.loader.sealing.configurations import Configurations
from tests.integration.exporter.exporter_world import Rig as MetricsRig
from tests.integration.exporter.exporter_world import populate
from tests.integration.extractor.test_worker import Rig as WorkerRig

SECURITY = Path(__file__).parents[4] / "docs" / "security.md"
# redis-py tells every server its name, and does without where it may not (7.0 has no such right).
HARMLESS = {b"client|setinfo", "client|setinfo"}


def rules(user: str) -> list[str]:
    """The rules of a user as the document gives them, without its password."""
    (line,) = re.findall(rf"(?m)^user {user} on (.*)$", SECURITY.read_text("utf-8"))
    return [rule for rule in line.split() if not rule.startswith("#")]


def server_with(make_redis: Callable[..., RedisServer], user: str) -> tuple[RedisServer, str]:
    server = make_redis()
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", user, "on", ">word", *rules(user))
        admin.acl_log_reset()
    return server, f"redis://{user}@{HOST}:{server.port}/0"


def denied(server: RedisServer) -> set[object]:
    with server.client() as admin:
        return {entry["object"] for entry in admin.acl_log()} - HARMLESS


def test_stages(make_redis: Callable[..., RedisServer]) -> None:
    server, url = server_with(make_redis, "stages")
    with connect(url, "word") as client:
        populate(client, Keys("etl"))
        worker = WorkerRig(client, "etl")
        worker.scheduler.schedule_plan(1)
        worker.scheduler.schedule("live", 1)
        worker.work()
        assert worker.calls == [("plan",), ("extract", "live")]
        seals = Seals(client, Keys("etl"))
        assert seals.lead("one", 60)
        assert [seals.forget(page) for page in seals.pages()] == [1]
        seals.sweep()
        assert not list(Configurations(client, Keys("etl")).due())
        client.info("server")
        client.bgrewriteaof()
        assert denied(server) == set()
        for forbidden in (("CONFIG", "GET", "*"), ("FLUSHALL",), ("GET", "other"), ("KEYS", "*")):
            with pytest.raises(NoPermissionError):
                client.execute_command(*forbidden)


def test_a_stage_settles_what_names_no_payload(make_redis: Callable[..., RedisServer]) -> None:
    server, url = server_with(make_redis, "stages")
    with connect(url, "word") as client:
        keys = Keys("etl")
        stream = RedisStream(client, keys, RAW, "t", outbound=POINTS)
        stream.ensure()
        client.xadd(keys.stream(RAW), {"odd": "entry"})
        (entry,) = stream.read(10, 0.01)
        letter = DeadLetter("corrupt", "no payload", b"", entry.samples)
        assert stream.settle(entry, Settle(dead=[letter]), "transformer") is SettleResult.OK
        assert client.xlen(keys.stream(RAW)) == 0
    assert denied(server) == set()


def test_metrics(make_redis: Callable[..., RedisServer]) -> None:
    server, url = server_with(make_redis, "metrics")
    with server.client() as admin:
        populate(admin, Keys("etl"))
    rig = MetricsRig(url, Keys("etl"), "word")
    rig.step()
    rig.close()
    assert rig.ready["redis"] == (True, "")
    assert denied(server) == set()


def test_etlctl(make_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    server, url = server_with(make_redis, "etlctl")
    with server.client() as admin:
        populate(admin, Keys("etl"))
    with connect(url, "word") as client:
        letters = DeadLetters(client, Keys("etl"))
        found = list(letters)
        assert found
        assert letters.purge(found[0])
        state = RedisState(client, Keys("etl"))
        known = state.save(tmp_path, lambda _: None).known
        client.unlink(*client.scan_iter(match="etl:*"))
        state.restore(tmp_path, known, lambda _: None)
        assert denied(server) == set()
        with pytest.raises(NoPermissionError):
            client.rpush("rq:queue:etl-live", "x")
    assert denied(server) <= {b"rpush", "rpush", "rq:queue:etl-live", b"rq:queue:etl-live"}
