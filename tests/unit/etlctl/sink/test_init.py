"""``etlctl sink init``: run as often as you like, it changes only what differs."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import SinkError
from devtools.servers import influx_api
from etlctl.sink.init import DESCRIPTION, Clock, wait_until_healthy
from etlctl.sink.management import Management, shard_seconds_for
from tests.doubles.influx_management import Influx, Place, a_place, an_influx, forget, serving
from tests.support.secret_folders import Capture, run

DAY = 86_400
UNUSABLE = "the old one cannot be used"


class Job:
    """The job with a configuration, a place for the token, and what it said last."""

    def __init__(self, folder: Path, capsys: Capture, place: Place) -> None:
        self.place = place
        self.token_file = folder / "sink" / "influxdb_token"
        self.token_file.parent.mkdir()
        self.admin_file = folder / "admin_token"
        self.admin_file.write_text(place.influx.admin_token, encoding="utf-8")
        self.admin_file.chmod(0o400)
        self.url = place.influx.url
        self.load: dict[str, Any] = {}
        self.out = self.err = ""
        self._config = folder / "etl.yaml"
        self._capsys = capsys

    def run(self, *more: str) -> int:
        document = {
            "extract": {"prometheus_url": "http://prometheus:9090"},
            "load": {
                "influxdb": {
                    "url": self.url,
                    "token_file": str(self.token_file),
                    "org": self.place.org,
                    "bucket": "metrics",
                },
                **self.load,
            },
        }
        self._config.write_text(yaml.safe_dump(document), encoding="utf-8")
        code, self.out, self.err = run(
            self._capsys,
            *("sink", "init", "--config", str(self._config)),
            *("--admin-token-file", str(self.admin_file), "--wait-seconds", "0"),
            *more,
        )
        return code

    def ours(self) -> list[dict[str, Any]]:
        return [one for one in self.place.authorizations() if one["description"] == DESCRIPTION]

    def token(self) -> str:
        return self.token_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def influx() -> Iterator[Influx]:
    with an_influx() as found:
        yield found


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETL_CONFIG", raising=False)


@pytest.fixture
def place(influx: Influx) -> Iterator[Place]:
    with a_place(influx) as made:
        yield made


@pytest.fixture
def job(tmp_path: Path, capsys: Capture, place: Place) -> Job:
    return Job(tmp_path, capsys, place)


def test_the_first_run_makes_everything(influx: Influx, job: Job) -> None:
    job.load = {
        "tiers": {
            "hot": {"bucket": "metrics", "retention": "14d"},
            "warm": {
                "bucket": "warm",
                "retention": "1h30m",
                "resolution": "1m",
                "aggregates": ["avg"],
            },
        }
    }
    assert job.run() == 0
    assert job.place.rules() == {"metrics": (14 * DAY, DAY), "warm": (5400, 3600)}
    (made,) = job.ours()
    ids = {one["name"]: one["id"] for one in _buckets(job)}
    assert {(one["action"], one["resource"]["id"]) for one in made["permissions"]} == {
        (action, ids[name]) for action in ("read", "write") for name in ("metrics", "warm")
    }
    assert stat.S_IMODE(job.token_file.stat().st_mode) == 0o400
    for bucket in ("metrics", "warm"):
        assert influx.write_status(job.token(), job.place.org, bucket) == 204
        assert influx.may_query(job.token(), bucket)
    assert job.token() not in job.out + job.err
    assert influx.admin_token not in job.out + job.err
    assert job.out.splitlines() == [
        f"organization {job.place.org}: kept",
        "bucket metrics: made, keeps points 14 days",
        "bucket warm: made, keeps points 90 minutes",
        f"{job.token_file}: made (there was none)",
    ]


def test_an_organisation_that_is_missing_is_made(job: Job) -> None:
    forget(job.place)
    assert job.run() == 0
    assert job.out.startswith(f"organization {job.place.org}: made\nbucket metrics: made")
    found = job.place.influx.ask("GET", "/api/v2/orgs", org=job.place.org).json()["orgs"]
    job.place.org_id = found[0]["id"]
    assert job.place.rules() == {"metrics": (0, 7 * DAY)}


def test_the_second_run_changes_nothing(job: Job) -> None:
    job.load = {"tiers": {"hot": {"bucket": "metrics", "retention": "14d"}}}
    assert job.run() == 0
    before = (job.place.rules(), job.place.authorizations(), job.token_file.stat().st_mtime_ns)
    assert job.run() == 0
    after = (job.place.rules(), job.place.authorizations(), job.token_file.stat().st_mtime_ns)
    assert after == before
    assert job.out.splitlines() == [
        f"organization {job.place.org}: kept",
        "bucket metrics: kept, keeps points 14 days",
        f"{job.token_file}: kept",
    ]


@pytest.mark.parametrize(
    ("before", "after"), [(None, "14d"), ("14d", "1h"), ("1h", "200d"), ("30d", "31d")]
)
def test_another_retention_is_set_and_the_shard_with_it(
    job: Job, before: str | None, after: str
) -> None:
    job.load = {"tiers": {"hot": {"bucket": "metrics"} | ({"retention": before} if before else {})}}
    assert job.run() == 0
    token = job.token()
    job.load["tiers"]["hot"]["retention"] = after
    assert job.run() == 0
    seconds = int(after[:-1]) * {"h": 3600, "d": DAY}[after[-1]]
    assert job.place.rules() == {"metrics": (seconds, shard_seconds_for(seconds))}
    assert "now, " in job.out
    assert " before" in job.out
    assert job.token() == token


def test_a_retention_that_is_not_configured_is_left_alone(job: Job) -> None:
    job.place.bucket("metrics", everySeconds=3 * DAY)
    assert job.run() == 0
    assert job.place.rules() == {"metrics": (3 * DAY, DAY)}
    assert "bucket metrics: kept, keeps points 3 days" in job.out


def test_nothing_of_others_is_touched(job: Job) -> None:
    bucket = job.place.bucket("somebody's", everySeconds=DAY)
    theirs = job.place.authorize(("read", bucket["id"]), description="somebody's")
    assert job.run() == 0
    assert job.place.rules()["somebody's"] == (DAY, 3600)
    assert theirs in job.place.authorizations()


@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (lambda file: file.unlink(), "there was none"),
        (lambda file: file.chmod(0o444), UNUSABLE),
        (lambda file: (file.unlink(), file.write_text(""), file.chmod(0o400)), UNUSABLE),
        (lambda file: (file.unlink(), file.symlink_to("/etc/hostname")), UNUSABLE),
        (
            lambda file: (file.unlink(), file.write_text("nobody's"), file.chmod(0o400)),
            "the old one was not valid",
        ),
    ],
)
def test_a_token_that_was_lost_is_replaced_and_the_old_one_dies(
    influx: Influx, job: Job, lose: Callable[[Path], object], why: str
) -> None:
    assert job.run() == 0
    old, (before,) = job.token(), job.ours()
    lose(job.token_file)
    assert job.run() == 0
    (after,) = job.ours()
    assert after["id"] != before["id"]
    assert job.token() != old
    assert influx.write_status(job.token(), job.place.org, "metrics") == 204
    assert influx.write_status(old, job.place.org, "metrics") == 401
    assert stat.S_IMODE(job.token_file.lstat().st_mode) == 0o400
    assert "restart the loader" in job.out
    assert f"{job.token_file}: made ({why})" in job.out


def test_a_bucket_that_was_added_makes_a_new_authorization(influx: Influx, job: Job) -> None:
    assert job.run() == 0
    old = job.token()
    job.load = {
        "tiers": {
            "hot": {"bucket": "metrics"},
            "cold": {"bucket": "cold", "resolution": "1h", "aggregates": ["max"]},
        }
    }
    assert job.run() == 0
    assert "made (the old one had other rights)" in job.out
    assert len(job.ours()) == 1
    assert influx.write_status(job.token(), job.place.org, "cold") == 204
    assert influx.write_status(old, job.place.org, "metrics") == 401
    # And one that is no longer configured takes its right away, and stays.
    job.load = {}
    assert job.run() == 0
    assert job.place.rules().keys() == {"metrics", "cold"}
    assert influx.write_status(job.token(), job.place.org, "cold") == 403


def test_a_token_that_may_more_is_replaced(influx: Influx, job: Job) -> None:
    assert job.run() == 0
    job.token_file.unlink()
    job.token_file.write_text(influx.admin_token, encoding="utf-8")
    job.token_file.chmod(0o400)
    assert job.run() == 0
    assert job.token() != influx.admin_token
    assert len(job.ours()) == 1


def test_an_inactive_authorization_is_replaced(influx: Influx, job: Job) -> None:
    assert job.run() == 0
    (made,) = job.ours()
    influx.ask("PATCH", f"/api/v2/authorizations/{made['id']}", {"status": "inactive"})
    assert job.run() == 0
    (after,) = job.ours()
    assert after["status"] == "active"
    assert influx.write_status(job.token(), job.place.org, "metrics") == 204


def test_what_a_killed_run_left_over_is_deleted(job: Job) -> None:
    """Killed after making an authorization and before writing its token: nobody knows it."""
    assert job.run() == 0
    bucket = _buckets(job)[0]["id"]
    left = job.place.authorize(("read", bucket), ("write", bucket), description=DESCRIPTION)
    token = job.token()
    assert job.run() == 0
    assert job.token() == token
    assert f"authorization {left['id']}: deleted" in job.out
    assert len(job.ours()) == 1


def test_nothing_is_made_when_the_token_cannot_be_kept(job: Job) -> None:
    job.token_file.parent.rmdir()
    assert job.run() == 2
    assert job.err == (
        f"etlctl: {job.token_file}: the loader's token cannot be written there: "
        "No such file or directory\n"
    )
    assert job.ours() == []


def test_a_server_that_keeps_hashes_does_not_tell_tokens(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.8 and later, with hashed tokens: the listing holds none, so the token is tried."""
    told = Management.authorizations

    def untold(self: Management, org_id: str) -> list[Any]:
        from dataclasses import replace

        return [replace(one, token="") for one in told(self, org_id)]

    monkeypatch.setattr(Management, "authorizations", untold)
    assert job.run() == 0
    token = job.token()
    assert job.run() == 0
    assert job.token() == token
    job.token_file.chmod(0o644)
    assert job.run() == 0
    assert job.token() != token
    assert len(job.ours()) == 1


# -- what is in the way ------------------------------------------------------------------------


def test_an_operators_token_that_is_not_known(job: Job) -> None:
    job.admin_file.chmod(0o600)
    job.admin_file.write_text("nobody's", encoding="utf-8")
    assert job.run() == 3
    assert len(job.err.splitlines()) == 1
    assert "401 unauthorized access: is the token in" in job.err
    assert "the one that it was set up with?" in job.err


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
    assert "asked to make bucket _mine: 400 bucket name _mine is invalid" in job.err


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

    admin = Slow("http://127.0.0.1:1", "t")
    wait_until_healthy(admin, 5, said.append, Clock(lambda: now, sleep))
    assert now == 2
    assert said == ["waiting: not yet"]
    health[:] = ["down"] * 10
    with pytest.raises(SinkError, match="not healthy after 3 s: down"):
        wait_until_healthy(admin, 3, said.append, Clock(lambda: now, sleep))
    admin.close()


def test_a_sink_that_is_not_healthy_is_one_sentence(job: Job) -> None:
    job.url = "http://127.0.0.1:1"
    assert job.run() == 3
    assert len(job.err.splitlines()) == 1
    assert job.err.startswith(
        "etlctl: not healthy after 0 s: InfluxDB at http://127.0.0.1:1 cannot be asked for its "
        "health: "
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


def _buckets(job: Job) -> list[dict[str, Any]]:
    answer = job.place.influx.ask("GET", "/api/v2/buckets", orgID=job.place.org_id, limit="100")
    return [bucket for bucket in answer.json()["buckets"] if bucket["type"] == "user"]
