"""What can be wrong with a Redis, and with our user of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.state.connection.redis_client import connect
from common.state.identity import Identity, IdentityRecord
from common.state.keys import Keys
from devtools.servers.ports import free_port
from devtools.servers.redis_server import RedisServer
from etlctl.doctor import redis
from etlctl.run.folder import data_folder, write_address
from tests.integration.etlctl.doctor.world import World

PASSWORD = "pass-w0rd"
# As docs/security.md has them.
STAGES = (
    "resetkeys resetchannels ~etl:* ~rq:* -@all +@read +@write +@transaction +eval +evalsha"
    " +eval_ro +evalsha_ro +script|load +time +ping +select +client|setname +client|info"
    " -@dangerous +info +bgrewriteaof"
)


def as_user(world: World, server: RedisServer, rules: str) -> dict[str, tuple[str, str]]:
    """What is said of a user with these rules."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "u", "reset", "on", f">{PASSWORD}", *rules.split())
    password = world.folder / "password"
    if not password.exists():
        password.write_text(PASSWORD, encoding="utf-8")
        password.chmod(0o600)
    world.redis_url = f"redis://u@127.0.0.1:{server.port}/0"
    world.changes["pipeline.redis_password_file"] = str(password)
    return world.of("redis")


def test_without_its_file_and_with_eviction(
    world: World, make_redis: Callable[..., RedisServer]
) -> None:
    settings = {"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}
    world.redis_url = make_redis(append_only=False, settings=settings).plain_url
    found = world.of("redis")
    assert world.code == 1
    level, text = found["append-only file"]
    assert level == "failure" and "is off" in text and "CONFIG SET appendonly yes" in text
    level, text = found["eviction"]
    assert level == "failure" and "maxmemory-policy is allkeys-lru" in text
    level, text = found["memory"]
    assert level == "failure" and "pipeline.high_water_bytes (256 MiB) needs 282 MiB" in text
    world.changes["pipeline.high_water_bytes"] = 32 << 20
    assert world.of("redis")["memory"][0] == "ok"


def test_rights(world: World, make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis()
    found = as_user(world, server, STAGES)
    assert {level for level, _ in found.values()} == {"ok"}, found
    level, text = as_user(world, server, f"{STAGES} -xadd -@scripting")["rights"]
    assert level == "failure"
    assert text.startswith("user u may not: XADD, EVAL, EVALSHA, EVAL_RO, EVALSHA_RO, SCRIPT LOAD")
    level, text = as_user(world, server, STAGES.replace(" ~rq:*", " -info"))["rights"]
    assert level == "warning" and "user u may not: SET rq:*, LPUSH rq:*" in text
    found = as_user(world, server, f"{STAGES} -info -bgrewriteaof")
    level, text = found["server"]
    assert level == "failure" and "let our user call INFO" in text
    assert "eviction" not in found and "INFO, BGREWRITEAOF" in found["rights"][1]
    level, text = as_user(world, server, STAGES.replace("~etl:*", "~other:*"))["rights"]
    assert level == "failure" and "XADD" in text
    with server.client() as client:
        assert client.dbsize() == 0, "nothing of what was tried was run"


def test_a_redis_that_would_throw_away_its_file(
    world: World, make_redis: Callable[..., RedisServer]
) -> None:
    server = make_redis()
    rules = f"{STAGES} +acl|dryrun"
    assert as_user(world, server, rules)["append-only file"][0] == "ok"
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "admin", "on", ">x", "~*", "&*", "+@all")
        client.execute_command("ACL", "SETUSER", "default", "off", "resetpass", "nocommands")
    with connect(f"redis://admin@127.0.0.1:{server.port}/0", "x") as admin:
        found = world.of("redis")
        level, text = found["append-only file"]
        assert level == "failure" and "its default user has no rights" in text
        admin.execute_command("ACL", "SETUSER", "default", "~*", "&*", "+@all")
        assert world.of("redis")["append-only file"][0] == "ok"
        admin.execute_command("ACL", "SETUSER", "default", "on", "nopass")  # for the fixture


def test_a_redis_that_is_far_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "SLOW_MS", -1.0)
    level, text = world.of("redis")["latency"]
    assert level == "warning" and "run the stages near Redis" in text


def test_a_wrong_password(world: World, make_redis: Callable[..., RedisServer]) -> None:
    world.redis_url = make_redis(password="other").plain_url
    found = world.of("redis")
    assert found.keys() == {"reachable"}
    assert found["reachable"][0] == "failure"


def test_a_namespace_of_another_pipeline(
    world: World, make_redis: Callable[..., RedisServer]
) -> None:
    server = make_redis()
    world.redis_url = server.plain_url
    with server.client() as client:
        IdentityRecord(client, Keys("etl")).accept(Identity("http://elsewhere", "http://there"))
    level, text = world.of("redis")["namespace"]
    assert level == "failure" and "belongs to another pipeline" in text
    assert " → Set pipeline.redis_namespace" in text


def test_where_none_is_named_etlctl_run_starts_one(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.redis_url = ""
    monkeypatch.setenv("PATH", str(tmp_path))
    level, text = world.of("redis")["server"]
    assert level == "failure" and "neither redis-server nor valkey-server is on PATH" in text
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\necho liblzf.so.1: cannot open shared object file\nexit 127\n")
    program.chmod(0o755)
    level, text = world.of("redis")["server"]
    assert level == "failure" and f"{program} does not run: liblzf.so.1: cannot open" in text
    program.write_text("#!/bin/sh\necho Valkey server v=8.0.0\n")
    level, text = world.of("redis")["server"]
    assert level == "ok" and f"etlctl run starts {program}" in text

    # As it is left behind by one that has stopped.
    data_folder(world.config).mkdir()
    password = tmp_path / "redis_password"
    password.write_text(PASSWORD, encoding="utf-8")
    password.chmod(0o600)
    write_address(data_folder(world.config), f"redis://127.0.0.1:{free_port()}/0", password)
    level, text = world.of("redis")["server"]
    assert level == "ok" and "etlctl run has stopped: " in text
