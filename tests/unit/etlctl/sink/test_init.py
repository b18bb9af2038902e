"""``etlctl sink init``: run as often as you like, it changes only what differs."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtools import PROJECT_ROOT
from etlctl.sink.management import Management, shard_seconds_for
from tests.doubles.influx_management import Influx, forget
from tests.unit.etlctl.sink.job import Job

DAY = 86_400
UNUSABLE = "the old one cannot be used"


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
        "bucket metrics: made, keeps points for 14d",
        "bucket warm: made, keeps points for 1h30m",
        f"{job.token_file}: made (there was none)",
    ]


def test_the_projects_own_tiers_get_a_bucket_each(job: Job) -> None:
    shipped = yaml.safe_load((PROJECT_ROOT / "config" / "etl.yaml").read_text(encoding="utf-8"))
    job.load = {"tiers": shipped["load"]["tiers"]}
    assert job.run() == 0
    assert job.place.rules() == {
        "health_metrics": (14 * DAY, DAY),
        "health_metrics_5m": (90 * DAY, DAY),
        "health_metrics_1h": (0, 7 * DAY),
    }


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
        "bucket metrics: kept, keeps points for 14d",
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
    assert job.run("--yes") == 0
    seconds = int(after[:-1]) * {"h": 3600, "d": DAY}[after[-1]]
    assert job.place.rules() == {"metrics": (seconds, shard_seconds_for(seconds))}
    assert "now, " in job.out
    assert " before" in job.out
    assert job.token() == token


def test_no_retention_becomes_shorter_by_itself(job: Job) -> None:
    job.load = {"tiers": {"hot": {"bucket": "metrics", "retention": "14d"}}}
    assert job.run() == 0
    job.load["tiers"]["hot"]["retention"] = "7d"
    assert job.run() == 0
    assert job.place.rules() == {"metrics": (14 * DAY, DAY)}
    assert (
        "bucket metrics: kept, keeps points for 14d: 7d as configured would delete what is older;"
        " --yes lets it" in job.out
    )
    job.load["tiers"]["hot"]["retention"] = "30d"
    assert job.run() == 0
    assert "bucket metrics: keeps points for 30d now, for 14d before" in job.out


def test_a_dry_run_says_what_would_be_done_and_does_nothing(job: Job) -> None:
    job.load = {"tiers": {"hot": {"bucket": "metrics", "retention": "14d"}}}
    forget(job.place)
    assert job.run("--dry-run") == 0
    assert job.out.splitlines() == [
        f"organization {job.place.org}: would be made",
        "bucket metrics: would be made and keep points for 14d",
        f"{job.token_file}: would be made (its buckets are not there yet)",
    ]
    assert not job.token_file.exists()


def test_a_dry_run_changes_nothing_of_what_is_there(job: Job) -> None:
    job.load = {"tiers": {"hot": {"bucket": "metrics", "retention": "14d"}}}
    assert job.run() == 0
    before = (job.place.rules(), job.place.authorizations())
    job.token_file.unlink()
    job.load["tiers"]["hot"]["retention"] = "7d"
    assert job.run("--dry-run", "--yes") == 0
    assert "bucket metrics: would keep points for 7d now, for 14d before" in job.out
    assert f"{job.token_file}: would be made (there was none)" in job.out
    assert (job.place.rules(), job.place.authorizations()) == before
    assert not job.token_file.exists()


def test_a_retention_that_is_not_configured_is_left_alone(job: Job) -> None:
    job.place.bucket("metrics", everySeconds=3 * DAY)
    assert job.run() == 0
    assert job.place.rules() == {"metrics": (3 * DAY, DAY)}
    assert "bucket metrics: kept, keeps points for 3d" in job.out


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


def test_an_organisation_of_more_buckets_than_a_page_shows(influx: Influx, job: Job) -> None:
    for number in range(100):  # in the order of names and of time before ours
        job.place.bucket(f"a{number}")
    for outcome in ("made (there was none)", "kept"):
        assert job.run() == 0
        assert f"{job.token_file}: {outcome}" in job.out
    assert influx.write_status(job.token(), job.place.org, "metrics") == 204
    (made,) = job.ours()
    rights = [(right["action"], right["resource"]["id"]) for right in made["permissions"][:1]]
    job.token_file.chmod(0o600)
    less = job.place.authorize(*rights, description=job.description)
    job.token_file.write_text(less["token"], encoding="utf-8")
    assert job.run() == 0
    assert f"{job.token_file}: made (the old one had other rights)" in job.out


def test_another_pipelines_token_is_left_alone(influx: Influx, job: Job) -> None:
    assert job.run() == 0
    first = job.token()
    others: list[dict[str, Any]] = [
        {"pipeline": {"redis_namespace": "staging"}},
        {"pipeline": {"shard": "1/2"}},
        {"bucket": "others"},
    ]
    for number, other in enumerate(others):
        job.pipeline = other.get("pipeline", {})
        job.bucket = other.get("bucket", "metrics")
        job.token_file = job.token_file.with_name(f"other{number}")
        for _ in range(2):
            assert job.run() == 0
            assert "deleted" not in job.out
        assert influx.write_status(job.token(), job.place.org, job.bucket) == 204
        assert influx.write_status(first, job.place.org, "metrics") == 204


def test_a_token_of_an_earlier_version_is_replaced_once(influx: Influx, job: Job) -> None:
    """Its description names no pipeline: without its file it could not be found any more."""
    assert job.run() == 0
    (made,) = job.ours()
    rights = [(right["action"], right["resource"]["id"]) for right in made["permissions"]]
    text = "ETL loader: its buckets only (kept by etlctl sink init)"
    old, others = (job.place.authorize(*rights, description=text) for _ in range(2))
    job.token_file.chmod(0o600)
    job.token_file.write_text(old["token"], encoding="utf-8")
    why = "the old one does not say whose it is"
    assert job.run("--dry-run") == 0
    assert f"{job.token_file}: would be made ({why})" in job.out
    assert job.run() == 0
    assert f"{job.token_file}: made ({why})" in job.out
    assert f"authorization {old['id']}: deleted" in job.out
    assert influx.write_status(old["token"], job.place.org, "metrics") == 401
    assert influx.write_status(others["token"], job.place.org, "metrics") == 204
    assert job.run() == 0
    assert f"{job.token_file}: kept" in job.out
    assert len(job.ours()) == 1


def test_what_a_killed_run_left_over_is_deleted(job: Job) -> None:
    """Killed after making an authorization and before writing its token: nobody knows it."""
    assert job.run() == 0
    bucket = _buckets(job)[0]["id"]
    left = job.place.authorize(("read", bucket), ("write", bucket), description=job.description)
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


def test_a_server_that_keeps_hashes_shows_no_tokens(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.8 and later, with hashed tokens: the listing holds none, so the token is tried."""
    listed = Management.authorizations

    def hidden(self: Management, org_id: str) -> list[Any]:
        from dataclasses import replace

        return [replace(one, token="") for one in listed(self, org_id)]

    monkeypatch.setattr(Management, "authorizations", hidden)
    assert job.run() == 0
    token = job.token()
    assert job.run() == 0
    assert job.token() == token
    job.token_file.chmod(0o644)
    assert job.run() == 0
    assert job.token() != token
    assert len(job.ours()) == 1


def _buckets(job: Job) -> list[dict[str, Any]]:
    answer = job.place.influx.ask("GET", "/api/v2/buckets", orgID=job.place.org_id, limit="100")
    return [bucket for bucket in answer.json()["buckets"] if bucket["type"] == "user"]
