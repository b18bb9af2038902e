"""An HA pair of real Prometheus that are away in turn: nothing is missing, nothing is mixed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from common.state.history import ReplicasRead
from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import WindowSet
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from tests.support.secret_folders import Capture, run

pytestmark = pytest.mark.timeout(300)

FEEDS = ("raw", "total")
BUCKETS = ("pair", "pair_warm")
# How much is loaded between two outages.
STRETCH_MS = 2_000
SETTLE_SECONDS = 3
MORE_WINDOWS = 4


@dataclass(frozen=True)
class Rig:
    pair: Sequence[PrometheusServer]
    config: Path
    windows: WindowSet
    ledger: Ledger
    record: ReplicasRead
    influx: InfluxServer
    extractor: ServiceProcess

    def metric(self, name: str, server: PrometheusServer) -> float:
        """What the extractor says of a replica; 0 where it says nothing."""
        labels = f'{{replica="{server.url.partition("//")[2]}",source=""}} '
        text = requests.get(f"{self.extractor.url}/metrics", timeout=10).text
        lines = [line for line in text.splitlines() if line.startswith(f"{name}{labels}")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    def held(self) -> list[float]:
        """The times of the points of ``up``, in seconds."""
        (series,) = self.influx.query('SELECT value FROM "up"', database="pair", epoch="ms")
        return [time_ms / 1000 for time_ms, *_ in series["values"]]

    def loaded_ms(self, query: str, tier: str = "hot") -> int:
        feed = self.windows.status().get(f"{query}@{tier}")
        return feed.loaded_watermark_ms if feed else 0

    def until_read(self, server: PrometheusServer) -> None:
        """Wait until a few windows more are read from a replica.

        While the other one is away, not all need be: where this one scraped late, as on a machine
        that has much to do, a step waits.
        """
        before = self.metric("etl_replica_windows_total", server)
        wait_until(
            lambda: self.metric("etl_replica_windows_total", server) >= before + MORE_WINDOWS,
            deadline_seconds=90,
            what=f"{MORE_WINDOWS} windows more are read from {server.url}",
        )

    def until_loaded(self, more_ms: int = STRETCH_MS) -> int:
        """Wait until so much more of every query is loaded; up to when."""
        wanted_ms = max(map(self.loaded_ms, FEEDS)) + more_ms
        wait_until(
            lambda: all(self.loaded_ms(query) >= wanted_ms for query in FEEDS),
            deadline_seconds=90,
            what=f"all is loaded up to {wanted_ms}",
        )
        return wanted_ms

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
    folder = tmp_path_factory.mktemp("pair")
    for bucket in BUCKETS:
        influx_server.create_database(bucket)
    with ExitStack() as stack:
        # Each replica says which one it is, as an HA pair does; a rule drops that.
        pair = [
            stack.enter_context(
                PrometheusServer(
                    toolbox,
                    folder / name,
                    name=name,
                    log_dir=log_dir,
                    jobs=(
                        ScrapeJob(
                            "prometheus",
                            settings={
                                "relabel_configs": [
                                    {"target_label": "replica", "replacement": name}
                                ]
                            },
                        ),
                    ),
                )
            )
            for name in ("first", "second")
        ]
        for server in pair:
            targets = [f"127.0.0.1:{one.port}" for one in pair]
            server.set_targets("prometheus", targets)
        document: dict[str, Any] = {
            "extract": {
                "replicas": [server.url for server in pair],
                "settle_seconds": SETTLE_SECONDS,
                "initial_lookback_seconds": 10,
                "queries": [
                    {"name": "raw", "select": '{__name__=~"up|process_start_time_seconds"}'},
                    {"name": "total", "expr": "count by (job) (up)", "step": "1s"},
                ],
            },
            "transform": {"relabel": [{"action": "labeldrop", "regex": "replica"}]},
            "load": {
                "influxdb": {"url": influx_server.url, "org": "o", "bucket": "pair"},
                "tiers": {
                    "warm": {
                        "bucket": "pair_warm",
                        "resolution": "3s",
                        "window": "3s",
                        "aggregates": ["max", "count"],
                    }
                },
            },
            "pipeline": {
                "redis_url": redis_server.plain_url,
                "redis_password": redis_server.password or "",
                "redis_namespace": "pair",
                "interval_seconds": 1,
            },
        }
        config = folder / "etl.yaml"
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        redis = stack.enter_context(redis_server.client())
        redis.flushall()
        extractor, *_ = [
            stack.enter_context(
                ServiceProcess(name, folder / f"run-{name}", config=config, log_dir=log_dir)
            )
            for name in ("extractor", "transformer", "loader")
        ]
        keys = Keys("pair")
        yield Rig(
            pair,
            config,
            WindowSet(redis, keys),
            Ledger(redis, keys),
            ReplicasRead(redis, keys),
            influx_server,
            extractor,
        )
    for bucket in BUCKETS:
        influx_server.drop_database(bucket)


def test_what_one_replica_misses_the_other_gives(rig: Rig, capsys: Capture) -> None:
    first, second = rig.pair
    wait_until(lambda: all(map(rig.loaded_ms, FEEDS)), deadline_seconds=90, what="a beginning")
    rig.until_loaded()
    first.kill()
    rig.until_read(second)
    assert rig.metric("etl_replica_lacks_ratio", first) == 1
    assert rig.metric("etl_replica_lacks_ratio", second) == 0
    assert rig.metric("etl_replica_windows_total", second) > 0
    first.start()
    until_scraped(first)
    # What is not loaded yet of the time in which the first was down waits for the second.
    second.kill()
    until_scraped(first, SETTLE_SECONDS + 1)
    second.start()
    until_scraped(second)
    rig.until_loaded()
    second.kill()
    rig.until_read(first)
    second.start()
    end_ms = rig.until_loaded()
    # Of rollups too: the buckets in which one went and came back are of one replica each.
    wait_until(
        lambda: all(rig.loaded_ms(query, "warm") >= end_ms - 3_000 for query in FEEDS),
        deadline_seconds=60,
        what="the rollups are loaded",
    )

    stretches = rig.record.of("raw@hot")
    assert {url for *_, url in stretches} == {first.url, second.url}
    (up, *_) = first.api("query", query="up")["result"]
    assert up["metric"]["replica"] == "first"
    keys = rig.influx.query('SHOW TAG KEYS FROM "up"', database="pair")[0]["values"]
    assert [key for (key,) in keys] == ["instance", "job"]
    audit = rig.ledger.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
    assert [gap for feed in FEEDS for gap in rig.windows.gaps(f"{feed}@hot")] == []

    begin_ms = rig.windows.status()["total@hot"].origin_ms
    bounds = ["--from", str(begin_ms / 1000), "--to", str(end_ms / 1000)]
    code, out, err = rig.etlctl(capsys, "verify", "--json", *bounds)

    assert code == 0, out + err
    found = {(one["query"], one["tier"]): one for one in json.loads(out)["queries"]}
    assert len(found) == 4
    assert all(one["equal"] > 0 for one in found.values())
    # An expression has a value at each second, whoever was away.
    assert found["total", "hot"]["expected"] >= (end_ms - begin_ms) // 1000 - 1
    # Raw samples are there of each second in which one of them scraped. A window of more than a
    # second, as after a stall of this machine, is of one replica alone.
    missing = seconds_of(*(times(server, end_ms) for server in rig.pair)) - seconds_of(rig.held())
    assert len([one for one in missing if begin_ms // 1000 < one < end_ms // 1000]) <= 2, missing


def until_scraped(server: PrometheusServer, seconds: int = 1) -> None:
    """Wait until it has scraped for so long, as it does each second."""
    since = time.time()
    wait_until(
        lambda: sum(at > since for at in times(server)) >= seconds,
        deadline_seconds=60,
        what=f"scrapes of {server.name}",
        poll_seconds=0.2,
    )


def times(server: PrometheusServer, end_ms: int | None = None) -> list[float]:
    """When it scraped one of its targets, in seconds."""
    more = {} if end_ms is None else {"time": str(end_ms / 1000)}
    series = server.api("query", query="up[3m]", **more)["result"]
    return [at for one in series[:1] for at, _ in one["values"]]


def seconds_of(*of: list[float]) -> set[int]:
    """Seconds, each named by its end, as windows are."""
    return {math.ceil(at) for each in of for at in each}


def test_doctor_looks_at_each(rig: Rig, capsys: Capture) -> None:
    _, out, _ = rig.etlctl(capsys, "doctor", "--only", "prometheus")
    lines = [line for line in out.splitlines() if "reachable" in line]
    assert [server.url in line for server, line in zip(rig.pair, lines, strict=True)] == [True] * 2
