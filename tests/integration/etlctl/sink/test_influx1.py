"""``etlctl sink init`` on a real InfluxDB 1.x: databases and retention policies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from devtools.servers.influx_server import InfluxServer
from tests.support.secret_folders import Capture, run

HOT, WARM = {"bucket": "hot", "retention": "14d"}, {"bucket": "warm", "retention": "90d"}
ROLLUP = {"resolution": "5m", "aggregates": ["avg"]}
ADMIN = ("root", "r00t")


@dataclass
class Job:
    """The command with a configuration, and what it printed last."""

    folder: Path
    capsys: Capture
    influx: InfluxServer
    admin: tuple[str, str] | None = None
    hot: dict[str, Any] = field(default_factory=lambda: dict(HOT))
    warm: dict[str, Any] = field(default_factory=lambda: dict(WARM))
    access: dict[str, Any] = field(default_factory=lambda: {"username": "jo", "password": "w0rd"})
    url: str = ""
    out: str = ""
    err: str = ""

    def run(self, *options: str, admin: str = "") -> int:
        admin_file, config = self.folder / "admin", self.folder / "etl.yaml"
        admin_file.unlink(missing_ok=True)
        if admin:
            admin_file.write_text(admin, encoding="utf-8")
            admin_file.chmod(0o600)
        url = self.url or self.influx.direct_url
        document = {
            "extract": {"prometheus_url": "http://prometheus:9090"},
            "load": {
                "influxdb": {"url": url, "org": "none", "bucket": self.hot["bucket"]} | self.access,
                "tiers": {"hot": self.hot, "warm": ROLLUP | self.warm},
            },
        }
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        code, self.out, self.err = run(
            self.capsys,
            *("sink", "init", "--config", str(config)),
            *("--admin-token-file", str(admin_file), "--wait-seconds", "0", *options),
        )
        return code

    def policies(self, database: str) -> dict[str, tuple[str, bool]]:
        """Duration of each retention policy, and whether it is the default."""
        rows = self.ask(f'SHOW RETENTION POLICIES ON "{database}"')
        return {row["name"]: (row["duration"], row["default"]) for row in rows}

    def databases(self) -> set[str]:
        return {row["name"] for row in self.ask("SHOW DATABASES")} - {"_internal"}

    def ask(self, statement: str) -> list[dict[str, Any]]:
        """The rows of a statement."""
        url = f"{self.influx.direct_url}/query"
        response = requests.post(url, data={"q": statement}, auth=self.admin, timeout=20)
        (result,) = response.json()["results"]
        assert "error" not in result, result
        return [
            dict(zip(series["columns"], row, strict=True))
            for series in result.get("series", ())
            for row in series.get("values", ())
        ]


@pytest.fixture
def job(
    tmp_path: Path,
    capsys: Capture,
    make_influx: Callable[..., InfluxServer],
    monkeypatch: pytest.MonkeyPatch,
) -> Job:
    """A server that lets everybody do everything, as 1.x does where it is not told otherwise."""
    monkeypatch.delenv("ETL_CONFIG", raising=False)
    return Job(tmp_path, capsys, make_influx())


def test_databases_are_made_once_with_the_retention_of_their_tiers(job: Job) -> None:
    assert (job.run(), job.err) == (0, "")
    assert job.out.splitlines() == [
        "database hot: made, keeps points for 14d",
        "database warm: made, keeps points for 90d",
    ]
    assert job.policies("hot") == {"autogen": ("336h0m0s", True)}
    assert job.policies("warm") == {"autogen": ("2160h0m0s", True)}

    assert job.run() == 0
    assert job.out.splitlines() == [
        "database hot: kept, keeps points for 14d",
        "database warm: kept, keeps points for 90d",
    ]


def test_a_tier_without_retention_keeps_points_for_ever_or_as_it_was(job: Job) -> None:
    del job.warm["retention"]
    assert job.run() == 0
    assert job.policies("warm") == {"autogen": ("0s", True)}
    job.ask("ALTER RETENTION POLICY autogen ON warm DURATION 2h SHARD DURATION 1h")
    assert job.run() == 0
    assert "database warm: kept, keeps points for 2h" in job.out
    assert job.policies("warm") == {"autogen": ("2h0m0s", True)}


def test_no_retention_becomes_shorter_by_itself(job: Job) -> None:
    job.warm["retention"] = "200d"
    assert job.run() == 0
    job.hot["retention"], job.warm["retention"] = "20d", "2h"

    assert job.run("--dry-run", "--yes") == 0
    assert job.out.splitlines() == [
        "database hot: would keep points for 20d now, for 14d before",
        "database warm: would keep points for 2h now, for 200d before",
    ]
    assert job.policies("hot") == {"autogen": ("336h0m0s", True)}

    assert job.run() == 0
    assert "database hot: keeps points for 20d now, for 14d before" in job.out
    assert "2h as configured would delete what is older; --yes lets it" in job.out
    assert job.policies("hot") == {"autogen": ("480h0m0s", True)}
    assert job.policies("warm") == {"autogen": ("4800h0m0s", True)}

    # Its shards lasted a week.
    assert (job.run("--yes"), job.err) == (0, "")
    assert job.policies("warm") == {"autogen": ("2h0m0s", True)}


def test_a_dry_run_makes_nothing(job: Job) -> None:
    assert job.run("--dry-run") == 0
    assert job.out.splitlines() == [
        "database hot: would be made and keep points for 14d",
        "database warm: would be made and keep points for 90d",
    ]
    assert job.databases() == set()


def test_tiers_may_be_retention_policies_of_one_database(job: Job) -> None:
    job.hot["bucket"], job.warm["bucket"] = "metrics/hot", 'metrics/wa"rm'
    assert (job.run(), job.err) == (0, "")
    expected = {"hot": ("336h0m0s", True), 'wa"rm': ("2160h0m0s", False)}
    assert job.policies("metrics") == expected
    job.warm["retention"] = "100d"
    assert job.run() == 0
    said = 'database metrics, retention policy wa"rm: keeps points for 100d now, for 90d before'
    assert job.out.splitlines()[1] == said
    assert job.policies("metrics")['wa"rm'] == ("2400h0m0s", False)


def test_a_database_without_a_default_policy_is_left_alone(job: Job) -> None:
    job.influx.create_database("hot")
    job.ask("DROP RETENTION POLICY autogen ON hot")
    assert job.run() == 3
    assert job.err == (
        "etlctl: database hot has no default retention policy: name one, as bucket hot/POLICY\n"
    )


def test_behind_the_write_path_of_2_it_is_known_by_its_version(job: Job) -> None:
    token = job.folder / "token"
    job.url, job.access = job.influx.url, {"token_file": str(token)}
    assert (job.run(admin="any"), job.err) == (0, "")
    assert job.databases() == {"hot", "warm"}
    assert not token.exists()


@pytest.fixture
def guarded(job: Job, make_influx: Callable[..., InfluxServer]) -> Job:
    """A server that wants users."""
    job.influx = make_influx(settings={"http": {"auth-enabled": True}})
    job.ask("CREATE USER root WITH PASSWORD 'r00t' WITH ALL PRIVILEGES")
    job.admin = ADMIN
    job.ask("CREATE USER jo WITH PASSWORD 'w0rd'")
    return job


def test_an_administrator_is_needed_where_users_are(guarded: Job) -> None:
    assert guarded.run() == 3
    assert len(guarded.err.splitlines()) == 1
    assert "403" in guarded.err
    assert "(load.influxdb.password)" in guarded.err
    assert guarded.databases() == set()

    assert (guarded.run(admin="root:r00t"), guarded.err) == (0, "")
    assert guarded.databases() == {"hot", "warm"}
    assert "r00t" not in guarded.out


def test_an_administrator_that_is_not_known_is_said_with_the_file(guarded: Job) -> None:
    assert guarded.run(admin="root:wrong") == 3
    assert len(guarded.err.splitlines()) == 1
    assert f"(--admin-token-file: {guarded.folder / 'admin'})" in guarded.err
    assert "wrong" not in guarded.err

    assert guarded.run(admin="a token of another version") == 2
    assert "does not hold USER:PASSWORD of an InfluxDB 1.x" in guarded.err


def test_another_server_or_none_is_one_sentence(job: Job) -> None:
    job.url = "http://127.0.0.1:1"
    assert job.run() == 3
    assert len(job.err.splitlines()) == 1
    assert "cannot be reached" in job.err
