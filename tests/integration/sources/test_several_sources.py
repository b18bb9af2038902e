"""Two real Prometheus as sources of one pipeline; one of them hangs, and goes away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import FeedStatus, WindowSet
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from tests.support.secret_folders import Capture, run

pytestmark = pytest.mark.timeout(300)

# Longer than any wait of these tests: whoever waits for a source that hangs misses its time.
TIMEOUT_SECONDS = 200
FEEDS = ("raw@north", "raw@south", "total@north", "total@south")
# What the other source must get on meanwhile.
GOES_ON_MS = 3_000


@dataclass(frozen=True)
class Rig:
    """The pipeline's stages, its sources, and what is in Redis."""

    sources: dict[str, PrometheusServer]
    extractor: ServiceProcess
    config: Path
    windows: WindowSet
    ledger: Ledger

    def feed(self, query: str) -> FeedStatus | None:
        return self.windows.status().get(f"{query}@hot")

    def loaded_ms(self, query: str) -> int:
        feed = self.feed(query)
        return feed.loaded_watermark_ms if feed else 0

    def until_loaded(self, query: str, after_ms: int) -> None:
        """Wait until a query is loaded up to after that time."""
        wait_until(
            lambda: self.loaded_ms(query) > after_ms, deadline_seconds=90, what=f"{query} loaded"
        )

    def checks(self) -> dict[str, bool]:
        answer = requests.get(f"{self.extractor.url}/readyz", timeout=10).json()
        return {name: one["ok"] for name, one in answer["checks"].items()}

    def etlctl(self, capsys: Capture, *arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return run(capsys, *arguments, "--config", str(self.config))


@pytest.fixture(scope="module")
def rig(
    toolbox: Toolbox,
    redis_server: RedisServer,
    influx_server: InfluxServer,
    tmp_path_factory: pytest.TempPathFactory,
    log_dir: Path,
) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("several")
    influx_server.create_database("several")
    with ExitStack() as stack:
        sources = {
            name: stack.enter_context(
                PrometheusServer(
                    toolbox,
                    folder / name,
                    name=name,
                    log_dir=log_dir,
                    jobs=(ScrapeJob("prometheus"),),
                )
            )
            for name in ("north", "south")
        }
        for server in sources.values():
            server.set_targets("prometheus", [f"127.0.0.1:{server.port}"])
        document: dict[str, Any] = {
            "extract": {
                "sources": [
                    {"name": name, "url": server.url, "labels": {"site": name}}
                    for name, server in sources.items()
                ],
                "timeout": TIMEOUT_SECONDS,
                "window_lease_seconds": TIMEOUT_SECONDS + 10,
                "staged_ttl_seconds": 900,
                "settle_seconds": 3,
                "initial_lookback_seconds": 10,
                "queries": [
                    {"name": "raw", "select": '{__name__=~"up|process_start_time_seconds"}'},
                    {"name": "total", "expr": "count(up)", "step": "1s"},
                ],
            },
            "load": {
                "influxdb": {"url": influx_server.url, "org": "o", "bucket": "several"},
            },
            "pipeline": {
                "redis_url": redis_server.plain_url,
                "redis_password": redis_server.password or "",
                "redis_namespace": "several",
                "interval_seconds": 1,
                "live_seconds": TIMEOUT_SECONDS + 20,
            },
        }
        config = folder / "etl.yaml"
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        redis = stack.enter_context(redis_server.client())
        redis.flushall()
        stages = {
            name: stack.enter_context(
                ServiceProcess(name, folder / f"run-{name}", config=config, log_dir=log_dir)
            )
            for name in ("extractor", "transformer", "loader")
        }
        keys = Keys("several")
        yield Rig(sources, stages["extractor"], config, WindowSet(redis, keys), Ledger(redis, keys))
    influx_server.drop_database("several")


def test_a_source_that_hangs_keeps_no_other_from_being_loaded(rig: Rig, capsys: Capture) -> None:
    for query in FEEDS:
        rig.until_loaded(query, 0)
    north, south = rig.sources["north"], rig.sources["south"]
    began_ms = rig.loaded_ms("raw@north")
    south.pause()
    try:
        wait_until(
            lambda: not rig.checks()["prometheus@south"], deadline_seconds=60, what="south is away"
        )
        hung_ms = rig.loaded_ms("raw@south")
        for query in ("raw@north", "total@north"):
            rig.until_loaded(query, max(began_ms, rig.loaded_ms(query)) + GOES_ON_MS)
        assert rig.checks()["prometheus@north"]
        assert rig.loaded_ms("raw@south") == hung_ms
    finally:
        south.resume()
    for query in FEEDS:
        rig.until_loaded(query, hung_ms + GOES_ON_MS)
    wait_until(lambda: all(rig.checks().values()), deadline_seconds=60, what="all is ready")
    assert north.api("query", query="1")["resultType"] == "scalar"
    audit = rig.ledger.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
    assert set(audit.accounts) == {f"{query}@hot" for query in FEEDS}

    code, out, err = rig.etlctl(capsys, "verify", "--json")

    assert code == 0, out + err
    found = {one["query"]: one for one in json.loads(out)["queries"]}
    assert set(found) == set(FEEDS)
    assert all(one["equal"] > 0 for one in found.values())


def test_each_source_has_seals_of_its_own(rig: Rig, capsys: Capture) -> None:
    def sealed() -> bool:
        _, out, _ = rig.etlctl(capsys, "verify", "--sealed", "--json")
        found = {one["query"]: one for one in json.loads(out)["queries"]}
        assert not any(one["verdict"] == "damaged" for one in found.values()), out
        return set(found) == set(FEEDS) and all(o["intact_points"] for o in found.values())

    wait_until(sealed, deadline_seconds=60, what="seals", poll_seconds=0.5)


def test_what_another_source_wrote_is_not_foreign(rig: Rig, capsys: Capture) -> None:
    code, out, err = rig.etlctl(capsys, "verify", "--json", "--query", "raw@north")
    assert code == 0, out + err
    document = json.loads(out)
    assert document["tiers"]["hot"]["foreign"] == 0
    assert [one["query"] for one in document["queries"]] == ["raw@north"]


def test_the_others_are_verified_while_one_is_away(rig: Rig, capsys: Capture) -> None:
    rig.sources["south"].kill()
    try:
        code, out, err = rig.etlctl(capsys, "verify", "--query", "raw")
        assert code == 3
        assert "raw@north" in out
        assert rig.sources["south"].url in err
        code, out, err = rig.etlctl(capsys, "doctor", "--only", "prometheus")
        lines = [line for line in out.splitlines() if "reachable" in line]
        assert len(lines) == 2, out
        assert "reachable north" in lines[0]
        assert "ok" in lines[0]
        assert "reachable south" in lines[1]
        assert "ok" not in lines[1]
    finally:
        rig.sources["south"].start()
