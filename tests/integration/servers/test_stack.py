"""The whole local stack: its configuration, its start and its end."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import yaml

from common.config import load_settings
from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.servers.stack import LocalStack
from devtools.servers.stack_config import Endpoints, Pace, buckets_of, stack_config
from devtools.servers.waiting import wait_until
from tests.integration.servers.helpers import ended, hidden, write

BASE = {
    "extract": {
        "prometheus_url": "http://prometheus:9090",
        "auth": {"bearer_token_file": "/run/secrets/token"},
        "queries": [
            {"name": "up", "expr": 'up{job="test-app"}', "step": "15s"},
            {"name": "raw", "select": '{job="test-app"}'},
        ],
    },
    "transform": {"valid_metrics": ["up"]},
    "load": {
        "influxdb": {"url": "http://i:8086", "token": "t", "org": "o", "bucket": "b"},
        "tiers": {"hot": {"bucket": "b"}, "cold": {"bucket": "b_cold"}},
    },
    "pipeline": {"interval_seconds": 15, "log_file": "logs/etl.log"},
}


class TestConfig:
    def test_only_addresses_secrets_and_pace_change(self) -> None:
        config = stack_config(
            BASE,
            Endpoints(
                prometheus_url="http://p",
                redis_url="redis://r",
                redis_password_file=Path("/s/redis"),
                influxdb_url="http://i",
                influxdb_token_file=Path("/s/influxdb"),
            ),
            Pace(),
            {
                "pipeline": {"log_level": "DEBUG"},
                "transform": None,
                "load": {"tiers": {"warm": {"bucket": "b_4s"}}},
            },
        )
        assert config["extract"]["queries"] == [
            {"name": "up", "expr": 'up{job="test-app"}', "step": 1.0},
            {"name": "raw", "select": '{job="test-app"}'},
        ]
        assert "auth" not in config["extract"]
        assert config["load"]["influxdb"] == {
            "url": "http://i", "token_file": "/s/influxdb", "org": "o", "bucket": "b"
        }  # fmt: skip
        assert config["pipeline"] == {
            "interval_seconds": 2.0,
            "redis_url": "redis://r",
            "redis_password_file": "/s/redis",
            "log_level": "DEBUG",
        }
        assert "transform" not in config
        assert buckets_of(config) == ["b", "b_4s"]
        assert BASE["transform"] == {"valid_metrics": ["up"]}


class TestStack:
    def test_runs_wholly_on_unpacked_programs_and_leaves_nothing_behind(
        self, tmp_path: Path
    ) -> None:
        base = tmp_path / "base.yaml"
        base.write_text(yaml.safe_dump(BASE), encoding="utf-8")
        # The checkout's own cache: on a bare machine everything else uses it too.
        toolbox = hidden(PROJECT_ROOT / ".tools")
        with LocalStack(
            tmp_path / "run",
            toolbox=toolbox,
            base_config=base,
            config_overrides={"load": {"tiers": {"cold": {"bucket": "b_cold"}}}},
            prometheus_auth=("admin", "s3cret"),
        ) as stack:
            servers = [stack.redis, stack.prometheus, *stack.influx.servers]
            tools = (PROJECT_ROOT / ".tools").resolve()
            for server in servers:
                assert Path(psutil.Process(server.pid).exe()).is_relative_to(tools)
            pids = [server.pid for server in (*servers, stack.simulator)]
            found = wait_until(
                lambda: stack.prometheus.query('up{job="test-app"} == 1'),
                deadline_seconds=20,
                what="a scrape of the test application",
            )
            assert found[0]["metric"]["instance"] == stack.simulator.address
            assert stack.prometheus.query("count(http_requests_total) > 20")
            config = yaml.safe_load(stack.config_path.read_text(encoding="utf-8"))
            token = Path(config["load"]["influxdb"]["token_file"]).read_text(encoding="utf-8")
            assert stack.influx.headers == {"Authorization": f"Token {token.strip()}"}
            assert config["extract"]["auth"]["username"] == "admin"
            assert write(stack.influx, "b_cold", "m value=1").status_code == 204
            assert set(stack.urls) == {"redis", "prometheus", "influxdb", "simulator"}
            assert stack.process_counts == {}
            assert {"start redis", "start prometheus", "start influxdb", "start simulator"} <= set(
                stack.steps
            )
            assert stack.setup_seconds > 0
        assert all(ended(pid) for pid in pids)
        left = {path.name for path in (tmp_path / "run").iterdir()}
        assert left == {"etl.yaml", "logs"}
        assert (tmp_path / "run" / "logs" / "redis.log").stat().st_size > 0

    def test_the_projects_own_configuration_serves(self, local_stack: LocalStack) -> None:
        settings = load_settings(local_stack.config_path, {})
        assert settings.extract.prometheus_url.rstrip("/") == local_stack.prometheus.url
        assert settings.load.influxdb.url.rstrip("/") == local_stack.influx.url
        assert set(settings.load.tiers) == {"hot"}
        assert {query.step_ms for query in settings.extract.queries} == {1000, 2000}
        bucket = settings.load.influxdb.bucket
        assert write(local_stack.influx, bucket, "m value=1").status_code == 204

    def test_a_start_that_fails_leaves_nothing_behind(self, tmp_path: Path) -> None:
        base = tmp_path / "base.yaml"
        base.write_text(yaml.safe_dump(BASE), encoding="utf-8")
        stack = LocalStack(tmp_path / "run", base_config=base, redis_settings={"maxmemory": "no"})
        with pytest.raises(StackError, match="redis ended with exit code 1"):
            stack.start()
        assert not stack.redis.running
        assert not stack.prometheus.running
        assert not stack.influx.running
        assert not stack.simulator.running
        assert not (tmp_path / "run" / "secrets").exists()

    def test_an_unreadable_base_is_told(self, tmp_path: Path) -> None:
        stack = LocalStack(tmp_path / "run", base_config=tmp_path / "none.yaml")
        with pytest.raises(StackError, match=r"none\.yaml"):
            stack.start()
        assert not stack.redis.running
