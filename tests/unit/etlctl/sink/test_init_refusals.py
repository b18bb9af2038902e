"""``etlctl sink init``: what stops it is one sentence, and nothing is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.config import InfluxSettings
from common.errors import SinkError
from common.sink.http_session import SinkSession
from devtools.servers import influx_api
from etlctl.sink.init import wait_until_healthy
from etlctl.sink.management import Management
from etlctl.times import Clock
from tests.doubles.influx_management import serving
from tests.support.answering_server import AnsweringServer, reply
from tests.unit.etlctl.sink.job import Job


def test_an_operators_token_that_is_not_known(job: Job) -> None:
    job.admin_file.chmod(0o600)
    job.admin_file.write_text("nobody's", encoding="utf-8")
    assert job.run() == 3
    assert len(job.err.splitlines()) == 1
    assert f"401 unauthorized access (--admin-token-file: {job.admin_file})" in job.err


def test_an_operators_token_with_too_few_rights_is_told_before_anything_is_said_of_buckets(
    job: Job,
) -> None:
    assert job.run() == 0
    of_loader = job.token()
    reader = job.place.authorize_for(
        {"action": "read", "resource": {"type": "orgs", "id": job.place.org_id}}
    )
    for token, unseen in ((of_loader, f"organization {job.place.org}"), (reader, "bucket metrics")):
        job.admin_file.chmod(0o600)
        job.admin_file.write_text(token, encoding="utf-8")
        for options in ((), ("--dry-run",)):
            assert job.run(*options) == 3
            assert job.err == (
                f"etlctl: InfluxDB at {job.url} does not let the token see {unseen}: "
                f"an operator token is needed (--admin-token-file: {job.admin_file})\n"
            )
            assert "made" not in job.out


def test_what_could_not_be_made_is_not_said_to_be(job: Job) -> None:
    reader = job.place.authorize_for(
        {"action": "read", "resource": {"type": "orgs", "id": job.place.org_id}}
    )
    job.admin_file.chmod(0o600)
    job.admin_file.write_text(reader, encoding="utf-8")
    assert job.run() == 3
    assert "answers a request to make bucket metrics with 401 write:orgs/" in job.err
    assert job.out == f"organization {job.place.org}: kept\n"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda file: file.unlink(), "which cannot be read: No such file"),
        (lambda file: file.chmod(0o444), "which every user can read (mode 0444)"),
        (lambda file: (file.chmod(0o600), file.write_text("")), "which is empty"),
    ],
)
def test_an_operators_token_that_cannot_be_read(
    job: Job, spoil: Callable[[Path], object], why: str
) -> None:
    spoil(job.admin_file)
    assert job.run() == 2
    assert job.err.startswith(f"etlctl: --admin-token-file: names {job.admin_file}, {why}")


def test_a_retention_that_influxdb_does_not_take(job: Job) -> None:
    job.load = {"tiers": {"hot": {"bucket": "metrics", "retention": "30m"}}}
    assert job.run() == 2
    assert job.err == (
        "etlctl: load.tiers.hot.retention: is 1800 s, and InfluxDB keeps at least 3600 s (1h)\n"
    )
    assert job.place.rules() == {}


def test_a_bucket_name_that_influxdb_does_not_take(job: Job) -> None:
    job.load = {"tiers": {"hot": {"bucket": "_mine"}}}
    assert job.run() == 3
    assert "answers a request to make bucket _mine with 400 bucket name _mine is invalid" in job.err


def test_a_token_that_may_not_read_its_buckets_is_told(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No server here can be made to grant less than it says.
    monkeypatch.setattr(Management, "may_read", lambda *_: False)
    assert job.run() == 3
    assert "does not let the new token read its buckets" in job.err
    assert len(job.err.splitlines()) == 1


def test_the_token_is_kept_where_the_option_says(job: Job) -> None:
    other = job.token_file.with_name("other")
    assert job.run("--token-file", str(other)) == 0
    assert other.exists()
    assert not job.token_file.exists()


def test_a_token_file_must_be_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL__LOAD__INFLUXDB__TOKEN", "given by the environment")
    assert job.run() == 2
    assert job.err == (
        "etlctl: load.influxdb.token_file: is not set: name the file with --token-file\n"
    )
    assert job.place.rules() == {}


@pytest.mark.parametrize(
    "body", [b"<html>log in</html>", b"{}", b"[]", b"", b"7", b"null", b"[" * 100_000]
)
def test_another_server_at_that_address_is_called_so(body: bytes) -> None:
    with AnsweringServer(reply(body, headers={"Content-Type": "application/json"})) as server:
        there = InfluxSettings(url=server.url, org="o", bucket="b")
        admin = Management(SinkSession(there, connections=1, token="t"))
        why = admin.why_not_healthy()
        admin.close()
    assert why == (
        f"InfluxDB at {server.url} answers a request for its health as no InfluxDB does: is this"
        " its address?"
    )


def test_waiting_ends_when_it_is_healthy_or_after_the_given_time(tmp_path: Path) -> None:
    now = 0.0
    said: list[str] = []
    health: list[str | None] = ["not yet", "not yet", None]

    class Slow(Management):
        def why_not_healthy(self) -> str | None:
            return health.pop(0)

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    nowhere = InfluxSettings(url="http://127.0.0.1:1", org="o", bucket="b")
    admin = Slow(SinkSession(nowhere, connections=1, token="t"))
    wait_until_healthy(admin.why_not_healthy, 5, said.append, Clock(lambda: now, sleep))
    assert now == 2
    assert said == ["waiting: not yet"]
    health[:] = ["down"] * 10
    with pytest.raises(SinkError, match="not healthy after 3 s: down"):
        wait_until_healthy(admin.why_not_healthy, 3, said.append, Clock(lambda: now, sleep))
    admin.close()


def test_a_sink_that_is_not_healthy_is_one_sentence(job: Job) -> None:
    job.url = "http://127.0.0.1:1"
    assert job.run() == 3
    assert len(job.err.splitlines()) == 1
    assert job.err.startswith(
        "etlctl: not healthy after 0 s: InfluxDB at http://127.0.0.1:1: a request for its "
        "health failed: "
    )

    class Broken:
        def keep(self, name: str, retention_seconds: int, shard_seconds: int) -> None:
            raise OSError("influxd is away")

        def drop(self, name: str) -> None: ...

    api = influx_api.Api(influx_api.State(), Broken())
    api.set_up("t", "o", "b")
    with serving(api) as job.url:
        assert job.run() == 3
    assert "503 influxd is away" in job.err
