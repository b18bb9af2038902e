"""``etlctl sink init`` on InfluxDB 3: databases with their retention, and a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from common.exit_codes import ExitCode
from tests.doubles.influxdb3 import Engine3, InfluxDB3
from tests.support.secret_folders import Capture, run


@pytest.fixture
def server() -> Iterator[InfluxDB3]:
    with InfluxDB3(Engine3()) as found:
        yield found


class Job3:
    """The job, and what it printed last."""

    def __init__(self, folder: Path, capsys: Capture, server: InfluxDB3) -> None:
        self.token_file = folder / "token"
        self.out = self.err = ""
        self._folder, self._capsys, self._server = folder, capsys, server

    def run(self, retention: str, *more: str, admin_token: str = "") -> int:
        admin_file = self._folder / "admin"
        admin_file.write_text(admin_token or self._server.engine.token, encoding="utf-8")
        admin_file.chmod(0o600)
        config = self._folder / "etl.yaml"
        warm = {"bucket": "warm", "resolution": "1m", "aggregates": ["avg"]}
        document = {
            "extract": {"prometheus_url": "http://prometheus:9090"},
            "load": {
                "influxdb": {
                    "url": self._server.url,
                    "token_file": str(self.token_file),
                    "org": "none",
                    "bucket": "hot",
                },
                "tiers": {"hot": {"bucket": "hot", "retention": retention}, "warm": warm},
            },
        }
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        code, self.out, self.err = run(
            self._capsys,
            *("sink", "init", "--config", str(config)),
            *("--admin-token-file", str(admin_file), "--wait-seconds", "0", *more),
        )
        return code


@pytest.fixture
def job(tmp_path: Path, capsys: Capture, server: InfluxDB3) -> Job3:
    return Job3(tmp_path, capsys, server)


def test_databases_and_a_token_are_made_once(job: Job3, server: InfluxDB3) -> None:
    assert (job.run("14d"), job.err) == (0, "")
    kept = {name: found.retention_seconds for name, found in server.engine.buckets.items()}
    assert kept == {"hot": 14 * 86_400, "warm": None}
    assert "database hot: made, keeps points for 14d" in job.out
    token = job.token_file.read_text(encoding="utf-8")
    engine = server.engine
    assert isinstance(engine, Engine3)
    assert list(engine.made_tokens.values()) == [token]

    assert (job.run("14d"), job.err) == (0, "")
    assert "database hot: kept" in job.out
    assert "database warm: kept, keeps points for ever" in job.out
    assert job.token_file.read_text(encoding="utf-8") == token


def test_a_retention_that_differs_is_changed(job: Job3, server: InfluxDB3) -> None:
    job.run("14d")
    assert (job.run("7d"), job.err) == (0, "")
    assert server.engine.buckets["hot"].retention_seconds == 14 * 86_400
    assert "--yes lets it" in job.out
    assert (job.run("7d", "--yes"), job.err) == (0, "")
    assert server.engine.buckets["hot"].retention_seconds == 7 * 86_400
    assert "database hot: keeps points for 7d now, for 14d before" in job.out


def test_a_token_that_is_not_known_any_more_is_made_anew(job: Job3, server: InfluxDB3) -> None:
    engine = server.engine
    assert isinstance(engine, Engine3)
    job.run("14d")
    engine.made_tokens.clear()
    assert (job.run("14d"), job.err) == (0, "")
    assert f"{job.token_file}: made" in job.out
    assert len(engine.made_tokens) == 1


def test_an_operators_token_that_is_wrong_is_one_clear_error(job: Job3) -> None:
    assert job.run("14d", admin_token="apiv3_wrong") == ExitCode.DEPENDENCY
    assert "401" in job.err
    assert not job.token_file.exists()
