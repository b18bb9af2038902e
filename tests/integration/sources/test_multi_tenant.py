"""A source of many tenants: a front that demands a header, a parameter and a token.

A stand-in for what stands before Thanos, Mimir and Cortex, as nginx before a real Prometheus.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.config import load_settings
from common.exit_codes import ExitCode
from common.state.keys import Keys
from common.state.ledger import Ledger
from devtools.servers.binaries import Toolbox
from devtools.servers.nginx import NginxServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from services.extractor.prometheus import PrometheusClient
from tests.integration.etlctl.verify.world import World
from tests.integration.sources.conftest import HOSTS, SAMPLES, STEP_MS
from tests.integration.sources.test_sources import points, series
from tests.support.answering_server import AnsweringServer, reply

Capture = pytest.CaptureFixture[str]

TENANT = "team-a"


class Tenants(NginxServer):
    """Lets requests of one tenant pass to a Prometheus."""

    def __init__(self, toolbox: Toolbox, folder: Path, prometheus_url: str, log_dir: Path) -> None:
        super().__init__(toolbox, "tenants", folder, log_dir=log_dir)
        self._prometheus_url = prometheus_url

    def config_text(self) -> str:
        return self.within_folder(
            f"server {{ listen 127.0.0.1:{self.port};\n"
            "location /prometheus/ {\n"
            'if ($http_authorization != "Bearer a-token") { return 401 "no token"; }\n'
            f'if ($http_x_scope_orgid != "{TENANT}") {{ return 401 "no org id"; }}\n'
            'if ($arg_namespace != "shop") { return 400 "no namespace"; }\n'
            f"proxy_pass {self._prometheus_url}/; }}\n}}"
        )

    def probe(self) -> str | None:
        return None


@pytest.fixture
def tokens() -> Iterator[AnsweringServer]:
    body = json.dumps({"access_token": "a-token", "token_type": "Bearer", "expires_in": 3600})
    with AnsweringServer(reply(body.encode())) as server:
        yield server


@pytest.fixture
def tenant(
    world: World, tokens: AnsweringServer, toolbox: Toolbox, tmp_path: Path, log_dir: Path
) -> Iterator[World]:
    """The world behind the front, and what the front demands."""
    file = tmp_path / "tenant"
    file.write_text(f"{TENANT}\n", encoding="utf-8")
    file.chmod(0o600)
    with Tenants(toolbox, tmp_path / "front", world.prometheus.url, log_dir) as front:
        oauth2 = {"client_id": "etl", "client_secret": "s", "token_url": f"{tokens.url}/token"}
        world.changes = {
            "extract.prometheus_url": f"{front.url}/prometheus",
            "extract.auth": {"oauth2": oauth2},
            "extract.header_files": {"X-Scope-OrgID": str(file)},
            "extract.params": {"namespace": "shop"},
            "extract.labels": {"site": "north", "job": "all"},
        }
        world.queries = [
            {"name": "raw", "select": 'load{job="app"}'},
            {"name": "total", "expr": "sum(load)", "step": "15s"},
        ]
        yield world


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("extract.auth", "no token"),
        ("extract.header_files", "no org id"),
        ("extract.params", "no namespace"),
    ],
)
def test_without_one_of_them_nothing_is_read(
    tenant: World, capsys: Capture, key: str, says: str
) -> None:
    del tenant.changes[key]
    result = tenant.verify(capsys)
    assert result.code not in (ExitCode.OK, 1)
    assert says in result.err
    assert "Traceback" not in result.err


def test_verify_follows_the_labels(tenant: World, capsys: Capture) -> None:
    start_ms = tenant.start_ms
    have = [
        (series(dict(s[1])["host"], job="all", site="north"), t, v) for s, t, v in points(start_ms)
    ]
    total = ("total", (("job", "all"), ("site", "north")))
    have += [(total, start_ms + n * STEP_MS, float(n * len(HOSTS))) for n in range(1, SAMPLES + 1)]
    end_ms = start_ms + SAMPLES * STEP_MS
    bounds = ["--from", str(start_ms / 1000), "--to", str(end_ms / 1000)]
    tenant.write(have)
    result = tenant.run(capsys, "verify", "--json", *bounds)
    assert result.code == 0, (result.out, result.err)
    assert result.query()["equal"] == 2 * SAMPLES
    assert result.query("total")["equal"] == SAMPLES
    # What has another site is another pipeline's.
    others = [
        (series("a", job="all", site="south"), start_ms + STEP_MS, 1.0),
        (("total", (("job", "all"), ("site", "south"))), start_ms + STEP_MS, 1.0),
    ]
    tenant.delete("load", {"host": "a"}, start_ms + STEP_MS)
    tenant.write(others)
    result = tenant.run(capsys, "verify", "--json", *bounds)
    assert (result.query()["missing"], result.query()["extra"]) == (1, 0)
    assert result.query("total")["extra"] == 0


def test_the_extractor_and_the_doctor_get_in(
    tenant: World, capsys: Capture, tmp_path: Path, log_dir: Path
) -> None:
    # Few and long windows.
    tenant.changes["extract.initial_lookback_seconds"] = "8h"
    tenant.queries = tenant.queries[:1]
    config = tenant.config()
    settings = load_settings(config, {})
    client = PrometheusClient(settings.extract, on_doubt=lambda query, doubt: pytest.fail(query))
    blocks = list(
        client.read(settings.extract.queries[0], tenant.start_ms, tenant.start_ms + STEP_MS)
    )
    client.close()
    labels: list[Any] = [json.loads(one) for block in blocks for one in block.series]
    assert [(one["site"], one["job"]) for one in labels] == [("north", "all")] * 2
    assert sorted(one["host"] for one in labels) == list(HOSTS)
    report = tenant.run(capsys, "doctor").out
    (line,) = [one for one in report.splitlines() if "/prometheus, version" in one]
    assert "ok" in line
    ledger = Ledger(tenant.redis.client(), Keys(tenant.namespace))
    with ServiceProcess("extractor", tmp_path / "run", config=config, log_dir=log_dir) as process:
        wait_until(
            lambda: (
                "raw@hot" in ledger.audit().accounts
                and ledger.audit().accounts["raw@hot"].extracted == 2 * SAMPLES
            ),
            deadline_seconds=150,
            what="all samples of the tenant",
        )
        wait_until(lambda: process.probe() is None, deadline_seconds=60, what="it to be ready")
