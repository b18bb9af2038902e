"""A whole stack under Prometheus with the project's own rules, their times shortened.

Real servers and services, the scrape jobs of production by name, etl-metrics on the simulator's log
and on Redis; a proxy stands before the sink, so that its responses can be spoilt.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests
import yaml
from redis import Redis

from common.errors import StackError
from common.state.connection.redis_client import connect
from common.state.keys import Keys
from devtools.chaos.helpers import Proxies
from devtools.chaos.rules import Rule
from devtools.servers.binaries import Toolbox
from devtools.servers.http import session
from devtools.servers.ports import HOST
from devtools.servers.service_process import ServiceProcess
from devtools.servers.stack import LocalStack
from devtools.servers.stack_config import Pace
from devtools.servers.waiting import wait_until
from monitoring.thresholds import Thresholds
from tests.e2e.source_front import SourceFront
from tests.integration.monitoring.test_rules import write_rules
from tests.support.full_disk import FullDiskRedis

KEYS = Keys("etl")
PATIENCE_SECONDS = 240.0
SCRAPE_SECONDS = 0.5
PACE = Pace(
    scrape_interval_seconds=SCRAPE_SECONDS,
    interval_seconds=1.0,
    settle_seconds=1.5,
    initial_lookback_seconds=3.0,
)

# Times divided by 180. Levels in seconds, and what must span several batches, fit this stack's pace
# instead: a window a second, files of the simulated process twice a second. What happens once is
# seen for 15 seconds, as a busy machine evaluates rules seconds late. The windows of the
# budget are so short that it has recovered within seconds; each has a length of its own, because
# their records are named by it.
QUICK = replace(
    Thresholds().quicker(180, scrape_interval_seconds=SCRAPE_SECONDS),
    no_success_seconds=8,
    failure_window_seconds=6,
    throughput_records_per_second=60,
    processing_seconds=1,
    stalled_window_seconds=6,
    backlog_level_seconds=4,
    backlog_recent_seconds=4,
    oldest_entry_seconds=6,
    deleted_window_seconds=15,
    gap_window_seconds=15,
    payloads_window_seconds=15,
    foreign_jobs_window_seconds=15,
    histograms_window_seconds=15,
    recheck_window_seconds=15,
    verify_repairs_window_seconds=15,
    verify_behind_seconds=6,
    verify_behind_window_seconds=4,
    evicted_window_seconds=5,
    seals_window_seconds=15,
    # A failure and a post that passes take two seconds: six in this time, where four are needed.
    flapping_window_seconds=12,
    freshness_seconds=10,
    query_empty_seconds=8,
    fast_long_seconds=20,
    fast_short_seconds=2,
    fast_slower_long_seconds=30,
    fast_slower_short_seconds=3,
    slow_long_seconds=40,
    slow_short_seconds=4,
    slow_slower_long_seconds=60,
    slow_slower_short_seconds=6,
)

# A file of 50 to 60 records twice a second, each in a sixth of a second.
_SIMULATOR = {
    "SIMULATOR_RECORDS_PER_SECOND": "100",
    "SIMULATOR_FILE_RECORDS_MIN": "50",
    "SIMULATOR_FILE_RECORDS_MAX": "60",
    "SIMULATOR_BUSY_SHARE": "0.3",
    "SIMULATOR_SLOW_FACTOR": "20",
    "SIMULATOR_BURST_FAILURES_PER_MINUTE": "600",
    "SIMULATOR_HEARTBEAT_SECONDS": "0.5",
}
_ETL_METRICS = {
    "ETL_METRICS_LOG_POLL_SECONDS": "0.2",
    "ETL_METRICS_REDIS_POLL_SECONDS": "0.5",
    "ETL_METRICS_SILENT_SECONDS": "5",
}

# So that native histograms can be pushed.
FLAGS = ("--web.enable-remote-write-receiver", "--enable-feature=native-histograms")

WRITE = "/api/v2/write"

# Short leases and waits, and little room, so that faults show and pass within seconds.
IMPATIENT: dict[str, Any] = {
    "extract": {
        "timeout": 3,
        "window_lease_seconds": 8,
        "backoff_base_seconds": 0.2,
        "backoff_max_seconds": 0.5,
    },
    "load": {
        "influxdb": {"timeout_seconds": 2},
        "backoff_base_seconds": 0.1,
        "backoff_max_seconds": 0.5,
        "circuit_failures": 1,
        "circuit_open_seconds": 0.3,
        "rejected_share_min_samples": 300,
    },
    "pipeline": {
        "entry_lease_seconds": 8,
        # Seldom, because it is a write too, and would take the answer meant for a post of points.
        "watermark_seconds": 5,
        "high_water_bytes": "24KiB",
        "dead_letters": {"max_entries": 10},
    },
}
# All defaults, so that nothing fails while all is well, however slow the machine.
PATIENT: dict[str, Any] = {"load": {"influxdb": {}}}


# Two recounts soon after the commit, so that what is loaded can be proven within seconds.
RECHECK_AFTER_SECONDS = [1, 2]
VERIFY: dict[str, Any] = {"cpu_share": 1, "every_seconds": 1, "again_seconds": 2}

Labels = dict[str, str]


def among(alerts: Sequence[Labels], name: str, labels: Labels) -> bool:
    """Whether one of these alerts has this name and, among others, these labels."""
    wanted = {"alertname": name, **labels}
    return any(wanted.items() <= alert.items() for alert in alerts)


class AlertWorld:
    """The running stack, what Prometheus says of its alerts, and the hands for faults."""

    def __init__(self, stack: LocalStack, proxies: Proxies, source: SourceFront) -> None:
        self.stack = stack
        self.proxies = proxies
        self.source = source
        self.redis: Redis = connect(stack.redis.url)
        # Every alert that was found firing since somebody emptied it.
        self.seen: list[Labels] = []

    # Questions.

    def alerts(self) -> list[Labels]:
        """Labels of every alert that fires now, as Prometheus says."""
        found = self.stack.prometheus.api("alerts")["alerts"]
        firing = [Labels(alert["labels"]) for alert in found if alert["state"] == "firing"]
        self.seen += [alert for alert in firing if alert not in self.seen]
        return firing

    def fires(self, name: str, labels: Labels) -> bool:
        """Whether an instance of an alert fires now."""
        return among(self.alerts(), name, labels)

    def value(self, expr: str) -> float | None:
        """Value of an expression with one series; None if it has none."""
        found = self.stack.prometheus.query(expr)
        return float(found[0]["value"][1]) if found else None

    def now_seconds(self) -> float:
        """Prometheus' time."""
        return self.value("vector(time())") or 0.0

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; a Prometheus that is away meanwhile does not fulfil it."""

        def holds_now() -> object:
            try:
                return condition()
            except StackError:
                return None

        wait_until(holds_now, deadline_seconds=PATIENCE_SECONDS, what=what, poll_seconds=0.25)

    # Hands.

    @property
    def etl_metrics(self) -> ServiceProcess:
        assert self.stack.etl_metrics is not None
        return self.stack.etl_metrics

    def service(self, module: str) -> ServiceProcess:
        """The one process of a stage."""
        return self.stack.services[module][0]

    def restart(self, module: str) -> None:
        """Stop the one process of a stage and start it again."""
        self.service(module).stop()
        self.service(module).start()

    def scenario(self, name: str) -> None:
        """Put the simulated process through a scenario, as an operator does."""
        with session() as opened:
            response = opened.post(
                f"{self.stack.simulator.url}/scenario",
                data={"scenario": name},
                auth=self.stack.simulator_login,
                timeout=10,
            )
        assert response.status_code == 200, response.text

    def sink_answers(self, status: int, times: int | None = None) -> None:
        """The sink answers writes like this, so many times or until it is healed."""
        body = f'{{"code":"fault","message":"status {status} on purpose"}}'
        self.proxies.rule("influxdb", Rule("answer", times, WRITE, status=status, body=body))

    def sink_heals(self) -> None:
        """The sink answers by itself again."""
        self.proxies.send("influxdb", "clear")

    def drop_measurement(self, name: str) -> None:
        """Remove a measurement of the hot bucket, and with it the type of its fields."""
        self.sink(f'DROP MEASUREMENT "{name}"')

    def sink(self, statement: str) -> list[dict[str, Any]]:
        """What the hot bucket answers to a statement of InfluxQL: series."""
        response = requests.post(
            f"{self.stack.influx.direct_url}/query",
            params={"db": self.bucket, "q": statement},
            timeout=10,
        )
        assert response.ok, response.text
        series: list[dict[str, Any]] = response.json()["results"][0].get("series", [])
        return series

    def write_line(self, line: str) -> bool:
        """Write a point of now into the hot bucket; false where its field has another type."""
        response = requests.post(
            f"{self.stack.influx.direct_url}/write",
            params={"db": self.bucket, "precision": "ms"},
            data=f"{line} {int(time.time() * 1000)}",
            timeout=10,
        )
        return response.status_code == 204

    @property
    def bucket(self) -> str:
        """The bucket of the hot tier."""
        config = yaml.safe_load(self.stack.config_path.read_text())
        return str(config["load"]["influxdb"]["bucket"])

    def hot_retention(self, retention: str | None) -> None:
        """Say how long the hot bucket keeps points, or nothing of it; the services notice."""
        path, bucket = self.stack.config_path, self.bucket
        config = yaml.safe_load(path.read_text())
        config["load"].pop("tiers", None)
        if retention is not None:
            config["load"]["tiers"] = {"hot": {"bucket": bucket, "retention": retention}}
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    def queries(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        """Change extract.queries in etl.yaml; the services notice."""
        path = self.stack.config_path
        config = yaml.safe_load(path.read_text())
        change(config["extract"]["queries"])
        path.write_text(yaml.safe_dump(config, sort_keys=False))


@dataclass(frozen=True)
class Incident:
    """What goes wrong, how it is repaired, and which alerts report it: name → some labels.

    ``cause`` may wait for what it needs, ``repair`` leaves nothing of it behind.
    """

    name: str
    alerts: Mapping[str, Labels]
    cause: Callable[[AlertWorld], None]
    repair: Callable[[AlertWorld], None]

    def found_in(self, alerts: Sequence[Labels]) -> set[str]:
        """Which of its alerts are among these."""
        return {name for name, labels in self.alerts.items() if among(alerts, name, labels)}


@contextlib.contextmanager
def alert_world(
    run_dir: Path, toolbox: Toolbox, config: Mapping[str, Any] = IMPATIENT
) -> Iterator[AlertWorld]:
    """Everything up and flowing on entry, everything ended on exit; ``config`` as for the stack."""
    log_dir = run_dir / "logs"
    with contextlib.ExitStack() as cleanup:
        proxies = Proxies(run_dir / "proxies", "alerts", log_dir=log_dir)
        cleanup.callback(proxies.close)
        proxies.start()
        source = cleanup.enter_context(SourceFront())
        extract = {
            **config.get("extract", {}),
            "prometheus_url": source.url,
            "recheck_after_seconds": RECHECK_AFTER_SECONDS,
        }
        influxdb = {
            **config["load"]["influxdb"],
            "url": f"http://{HOST}:{proxies.ports['influxdb']}",
        }
        stack = LocalStack(
            run_dir,
            toolbox=toolbox,
            pace=PACE,
            config_overrides={
                **config,
                "extract": extract,
                "load": {**config["load"], "influxdb": influxdb},
                "verify": VERIFY,
            },
            prometheus_flags=FLAGS,
            prometheus_settings={"rule_files": [write_rules(run_dir / "rules", QUICK)]},
            simulator_environ=_SIMULATOR,
            etl_metrics=_ETL_METRICS,
        )
        stack.redis = FullDiskRedis(
            toolbox, run_dir / "data" / "redis", log_dir=log_dir, password=stack.redis.password
        )
        cleanup.enter_context(stack)
        proxies.send("influxdb", "point", port=stack.influx.front.port, delay_seconds=(0.0, 0.0))
        source.target = stack.prometheus.url
        stack.start_services({"extractor": 1, "transformer": 1, "loader": 1, "verifier": 1})
        world = AlertWorld(stack, proxies, source)
        cleanup.callback(world.redis.close)
        world.until(lambda: world.value("sum(etl_loaded_samples_total)"), "samples are loaded")
        yield world
