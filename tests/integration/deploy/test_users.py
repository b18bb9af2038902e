"""The users of deploy/redis/users.sh on a real Redis: each can do its work, and no more."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError

from common.state.backfills import Backfills
from common.state.connection.redis_client import connect
from common.state.connection.server import refusal
from common.state.feeds import Feed
from common.state.identity import Identity, IdentityRecord
from common.state.keys import Keys
from common.state.proven import ProofRecord
from deploy.image.secret_list import REDIS_USERS
from devtools import PROJECT_ROOT
from devtools.servers.binaries import Toolbox
from devtools.servers.redis_server import RedisServer
from etlctl.backup.redis_state import RedisState
from etlctl.doctor.redis_rights import Refused, refused_calls
from services.extractor.aof import AofHealer
from services.verifier.knowledge import RedisKnowledge
from tests.integration.exporter.exporter_world import Rig, populate
from tests.integration.extractor.test_worker import Rig as WorkerRig
from tests.support.captured_log import CapturedLog
from tests.support.redis_content import content_of

STAGES = ("extractor", "transformer", "loader")
# What redis-server would print in its log if it stood in its configuration.
PASSWORD = 'it\'s "two words" #and \\ more é'


def users(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the script prints."""
    script = PROJECT_ROOT / "deploy/redis/users.sh"
    return subprocess.run(["/bin/sh", script, folder], capture_output=True, text=True, check=False)


def write_passwords(folder: Path, ending: str = "\n") -> None:
    for user in REDIS_USERS:
        file = folder / f"redis_{user}_password"
        file.write_bytes(f"{PASSWORD}{user}{ending}".encode())


class Server(RedisServer):
    """A Redis with the users from its first moment on."""

    lines = ""

    def prepare(self) -> None:
        super().prepare()
        with self._config.open("a", encoding="utf-8") as file:
            file.write(self.lines)

    def probe(self) -> str | None:
        try:
            with redis.Redis(port=self.port, username="health", password="none") as client:
                client.ping()
        except redis.RedisError as error:
            return str(error)
        return None


@pytest.fixture
def server(toolbox: Toolbox, tmp_path: Path, log_dir: Path) -> Iterator[Server]:
    write_passwords(tmp_path)
    done = users(tmp_path)
    assert done.returncode == 0, done.stderr
    server = Server(toolbox, tmp_path / "redis", name="redis-users", log_dir=log_dir)
    server.lines = done.stdout
    with server:
        yield server


def url(server: Server, user: str) -> str:
    return f"redis://{user}@127.0.0.1:{server.port}/0"


def as_user(server: Server, user: str) -> redis.Redis:
    return connect(url(server, user), PASSWORD + user)


def kept(client: redis.Redis) -> dict[bytes, Any]:
    """Key → content, of streams the entries: counters of groups may be counted anew."""
    return {
        name: value[0] if kind == b"stream" else value
        for name, (kind, value, _) in content_of(client, "*").items()
    }


def test_what_scripts_wrote_is_there_after_a_kill(server: Server) -> None:
    """redis-server replays the file as the default user, which nobody can be."""
    with as_user(server, "loader") as client:
        populate(client, Keys("etl"))
    with as_user(server, "etlctl") as client:
        before = kept(client)
    server.kill()
    server.start()
    with as_user(server, "etlctl") as client:
        assert kept(client) == before


@pytest.mark.parametrize("user", STAGES)
def test_a_stage_can_do_its_work_and_no_harm(server: Server, user: str) -> None:
    with as_user(server, user) as client:
        populate(client, Keys("etl"))
        assert client.info("memory")["used_memory"] > 0
        for command in ("FLUSHALL", "SHUTDOWN", "CONFIG GET *", "KEYS *", "ACL LIST", "DEBUG x"):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command.split())
        log = CapturedLog()
        assert AofHealer(client, log).check() is (user == "extractor")


def test_the_extractor_schedules_and_works(server: Server) -> None:
    with as_user(server, "extractor") as client:
        rig = WorkerRig(client, "etl")
        rig.scheduler.schedule("live", 1)
        rig.work()
        assert rig.calls == [("extract", "live")]


def test_etl_metrics_reads_everything_and_writes_nothing(server: Server) -> None:
    with as_user(server, "loader") as loader:
        populate(loader, Keys("etl"))
    rig = Rig(url(server, "etl-metrics"), Keys("etl"), PASSWORD + "etl-metrics")
    for _ in range(2):
        rig.step()
    assert rig.ready == {"redis": (True, "")}
    assert rig.value("etl_stream_samples", "raw") == 80
    assert rig.value("etl_redis_aof_ok", "write") == 1
    assert rig.value("etl_redis_aof_ok", "rewrite") == 1
    rig.close()
    with as_user(server, "etl-metrics") as client:
        for refused in (
            lambda: client.set("etl:ledger", "x"),
            lambda: client.delete("etl:ledger"),
            client.flushall,
            lambda: client.publish("rq:pubsub:x", "stop"),
            client.bgrewriteaof,
        ):
            with pytest.raises(NoPermissionError):
                refused()
        with pytest.raises(redis.ResponseError, match=r"(?i)can't run this command|permissions"):
            client.eval("return redis.call('DEL', KEYS[1])", 1, "etl:ledger")
        assert client.exists("etl:ledger")


def test_the_verifier_reads_everything_and_writes_what_it_has_proven(server: Server) -> None:
    with as_user(server, "loader") as loader:
        populate(loader, Keys("etl"))
    keys = Keys("etl")
    with as_user(server, "verifier") as client:
        assert refusal(client) is None
        ours = Identity("http://prometheus:9090", "http://influxdb:8086")
        assert IdentityRecord(client, keys).claim(ours) == ours
        record = ProofRecord(client, keys, "one", 60)
        for feed, proof in record.read().items():
            assert record.save({feed: proof})
        assert client.hlen(keys.verified) > 0
        knowledge = RedisKnowledge(client, keys, "hot", {})
        for proof in record.read().values():
            knowledge.pending(proof.feed.query)
            knowledge.facts(proof.feed.query)
            status = proof.feed
            again = Feed(status.query, status.tier, "select", status.fingerprint)
            assert record.windows.reopen(again, status.origin_ms, status.head_ms) is not None
            record.windows.set_reconciled(again)
            ranges = [(0, status.origin_ms)]
            _, taken = Backfills(client, keys).create({again: ranges}, *ranges[0])
            assert taken == {again.name: status.origin_ms}
        record.release()
        for refused in (
            lambda: client.set("etl:ledger", "x"),
            lambda: client.delete("etl:ledger"),
            client.flushall,
            client.bgrewriteaof,
        ):
            with pytest.raises(NoPermissionError):
                refused()
        with pytest.raises(redis.ResponseError, match=r"(?i)can't (run this command|access)"):
            client.eval("return redis.call('DEL', 'etl:ledger')", 0)
        assert client.exists("etl:ledger")


def test_the_doctor_finds_what_a_user_lacks(server: Server) -> None:
    lacking = {"etlctl": (), "extractor": (), "loader": ("BGREWRITEAOF",)}
    for user, of_some in lacking.items():
        with as_user(server, user) as client:
            assert refused_calls(client, Keys("etl")) == Refused((), of_some)
    with as_user(server, "verifier") as client:
        found = refused_calls(client, Keys("etl"))
        assert "XADD" in found.needed and "HGETALL" not in found.needed
    with as_user(server, "etl-metrics") as client, pytest.raises(NoPermissionError):
        refused_calls(client, Keys("etl"))


def test_etlctl_saves_and_restores_the_state(server: Server, tmp_path: Path) -> None:
    keys = Keys("etl")
    with as_user(server, "loader") as loader:
        populate(loader, keys)
    with as_user(server, "etlctl") as client:
        # What the runbook has an operator ask.
        assert "etlctl" in {one["user"] for one in client.client_list()}
        assert client.execute_command("ACL LOG") == []
        before, state = content_of(client, "etl:*"), RedisState(client, keys)
        known = state.save(tmp_path, lambda _: None).known
        client.delete(*client.scan_iter(match="etl:*"))
        state.check(tmp_path, known)
        state.restore(tmp_path, known, lambda _: None)
        assert content_of(client, "etl:*") == before


def test_nobody_else_gets_in(server: Server) -> None:
    with redis.Redis(port=server.port) as anonymous, pytest.raises(AuthenticationError):
        anonymous.ping()
    with (
        redis.Redis(port=server.port, username="default", password="none") as default,
        pytest.raises(AuthenticationError),
    ):
        default.ping()
    with (
        redis.Redis(port=server.port, username="health", password="none") as health,
        pytest.raises(NoPermissionError),
    ):
        health.get("x")
    with (
        connect(url(server, "loader"), PASSWORD + "etlctl") as wrong,
        pytest.raises(AuthenticationError),
    ):
        wrong.ping()


def test_no_password_is_logged(server: Server) -> None:
    assert "two words" not in server.log_path.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_line_break_at_the_end_is_no_part_of_a_password(tmp_path: Path, ending: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_passwords(tmp_path / "a", ending)
    write_passwords(tmp_path / "b", "")
    assert users(tmp_path / "a").stdout == users(tmp_path / "b").stdout


@pytest.mark.parametrize("content", ["", "\n", "two\nlines", "a\ttab"])
def test_what_is_no_password_is_refused_by_name(tmp_path: Path, content: str) -> None:
    write_passwords(tmp_path)
    (tmp_path / "redis_loader_password").write_text(content, encoding="utf-8")
    done = users(tmp_path)
    assert done.returncode == 1
    assert "redis_loader_password: is empty, or holds line breaks" in done.stderr
    assert "two" not in done.stderr
