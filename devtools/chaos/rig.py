"""What faults are done to: the local stack, steady load, and proxies where connections are hurt."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from common.config import Settings, load_settings
from common.errors import StackError
from common.state.connection.redis_client import connect
from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import FeedStatus, WindowSet
from devtools import PROJECT_ROOT
from devtools.chaos.helpers import LoadExporter, Proxies
from devtools.chaos.journal import Journal
from devtools.chaos.load import COUNTER, FRESH, JOB, LIMITED, METRICS, ODD
from devtools.chaos.past import PastBackfill, PastSamples
from devtools.servers.binaries import Toolbox
from devtools.servers.lifetime import StartStop
from devtools.servers.ports import HOST
from devtools.servers.prometheus_server import ScrapeJob
from devtools.servers.service_process import ServiceProcess
from devtools.servers.stack import LocalStack, new_run_dir
from devtools.servers.stack_config import Pace, read_config
from devtools.servers.waiting import wait_until
from services.extractor.windows import Plan, plans_of

KEYS = Keys("etl")
# Each interval every live feed has a window and a recount, which cost much the same however short
# they are: with twice as many extractors had no room for rollups and history.
PACE = Pace(scrape_interval_seconds=0.25, interval_seconds=4.0, settle_seconds=1.5)
SERVICES = {"extractor": 3, "transformer": 2, "loader": 2, "verifier": 1}

# Five seconds more than a request may take: the least that the settings allow.
REQUEST_SECONDS = 3.0
LEASE_SECONDS = 8.0
# Soon enough that the verifier compares all of a run while it goes on.
RECHECK_AFTER_SECONDS = 5.0
# Each request waits so long in its proxy, so that faults meet work under way. Each live window
# needs three or four of Prometheus: waits much longer take the time of rollups and history.
DELAY_SECONDS = {"influxdb": (0.0, 0.15), "prometheus": (0.0, 0.03)}
# Few enough that catching up after a few seconds of outage needs windows split.
MAX_SAMPLES_OF_A_QUERY = 50_000

# More than the faults leave behind between two that make room, and few enough to be reached.
DEAD_LETTERS_MAX = 32


CONFIG = PROJECT_ROOT / "config" / "etl.yaml"
WARM: dict[str, Any] = {
    "bucket": "warm",
    "resolution": 5,
    "window": 15,
    "aggregates": ["avg", "min", "max", "sum", "count", "first", "last", "stddev", "increase"],
}
# The queries that warm holds, and their aggregates where they have their own. Prometheus returns no
# five minutes of the busy one, which its increase would need.
WARM_AGGREGATES: dict[str, list[str]] = {
    "request_rate": [],
    METRICS[3]: ["avg", "min", "max", "count", "last"],
    COUNTER: [],
}
PAST_SECONDS = 1800
# Samples per second, so that most faults meet it: at 750 it was over for most of a run.
BACKFILL_RATE = 300.0


def config_overrides(proxies: Proxies) -> dict[str, Any]:
    """Short leases and waits, so that recoveries are quick; everything else is the default."""
    base = read_config(CONFIG)["extract"]["queries"]
    queries = [dict(query) for query in base]
    for query in queries:
        if "step" in query:
            query["step"] = PACE.step_seconds
    guests = "|".join((METRICS[0], *(f"{prefix}_.+" for prefix in (ODD, FRESH, LIMITED))))
    queries.append({"name": METRICS[0], "select": f'{{__name__=~"{guests}",job="{JOB}"}}'})
    others = (*METRICS[1:], COUNTER)
    queries += [{"name": name, "select": f'{name}{{job="{JOB}"}}'} for name in others]
    for query in queries:
        if query["name"] not in WARM_AGGREGATES:
            query["tiers"] = ["hot"]
        elif aggregates := WARM_AGGREGATES[query["name"]]:
            query["aggregates"] = aggregates
    bucket = read_config(CONFIG)["load"]["influxdb"]["bucket"]
    ports = proxies.ports
    return {
        "extract": {
            "prometheus_url": f"http://{HOST}:{ports['prometheus']}",
            "timeout": REQUEST_SECONDS,
            "window_lease_seconds": LEASE_SECONDS,
            "live_window_max_seconds": 20,
            "recheck_after_seconds": RECHECK_AFTER_SECONDS,
            "backoff_base_seconds": 0.2,
            "backoff_max_seconds": 1,
            "queries": queries,
        },
        "load": {
            "influxdb": {
                "url": f"http://{HOST}:{ports['influxdb']}",
                "timeout_seconds": REQUEST_SECONDS,
            },
            "tiers": {"hot": {"bucket": bucket}, "warm": WARM},
            "backoff_base_seconds": 0.2,
            "backoff_max_seconds": 1,
            "circuit_open_seconds": 1,
        },
        # Nothing is repaired: what it would mend is what is to be found.
        "verify": {"repair": "off", "cpu_share": 0.5, "every_seconds": 2, "again_seconds": 5},
        "pipeline": {
            "redis_url": f"redis://{HOST}:{ports['redis']}/0",
            "entry_lease_seconds": LEASE_SECONDS,
            "watermark_seconds": 1,
            "high_water_bytes": "5MiB",
            # The oracle reads the points of every dead letter.
            "dead_letters": {"sample_entries": 0, "max_entries": DEAD_LETTERS_MAX},
            # Here workers are killed on purpose while they hold entries: none of them is poison.
            "poison_crashes": 1_000_000,
        },
    }


class Rig(StartStop):
    """Context manager: everything up on entry, everything ended on exit.

    ``settings`` are those of the pipeline, but with the servers' own addresses: who proves
    something does not go through the proxies.
    """

    def __init__(
        self,
        seed: str,
        *,
        series: int,
        past_seconds: int = PAST_SECONDS,
        backfill_rate: float = BACKFILL_RATE,
        run_dir: Path | None = None,
        toolbox: Toolbox | None = None,
        keep_data: bool = False,
    ) -> None:
        run_dir = run_dir or new_run_dir("chaos")
        log_dir = run_dir / "logs"
        self.rng = random.Random(seed)
        self.exporter = LoadExporter(run_dir / "exporter", series, log_dir=log_dir)
        self.proxies = Proxies(run_dir / "proxies", seed, log_dir=log_dir)
        # Changed between restarts of influxd; not empty, or it would not be kept.
        self.influx_limits: dict[str, str | int | bool] = {"max-values-per-tag": 0}
        self.toolbox = toolbox or Toolbox()
        self.stack = LocalStack(
            run_dir,
            toolbox=self.toolbox,
            config_overrides=config_overrides(self.proxies),
            pace=PACE,
            prometheus_flags=(f"--query.max-samples={MAX_SAMPLES_OF_A_QUERY}",),
            influx_settings={"data": self.influx_limits},
            keep_data=keep_data,
        )
        self.stack.prometheus.jobs = (
            *self.stack.prometheus.jobs,
            ScrapeJob(JOB, targets=(self.exporter.address,)),
        )
        self.journal = Journal(log_dir)
        self.past = PastSamples(time.time(), past_seconds)
        self.backfill = PastBackfill(self, backfill_rate, WARM["window"])
        self.plans: Sequence[Plan]
        self.settings: Settings
        self.redis: Redis
        self.ledger: Ledger
        self.windows: WindowSet

    def start(self) -> Self:
        """See the class; ``stop()`` must follow."""
        stack = self.stack
        try:
            self.toolbox.prepare()
            self._write_past()
            self.exporter.start()
            self.proxies.start()
            stack.start()
        except BaseException:
            self._kill_helpers()
            raise
        try:
            self.proxies.send("redis", "point", port=stack.redis.port)
            for name, port in (
                ("influxdb", stack.influx.front.port),
                ("prometheus", stack.prometheus.port),
            ):
                self.proxies.send(name, "point", port=port, delay_seconds=DELAY_SECONDS[name])
            self.settings = load_settings(stack.config_path, environ=self.direct_environ())
            self.plans = plans_of(self.settings)
            self.redis = connect(stack.redis.url)
            self.ledger = Ledger(self.redis, KEYS)
            self.windows = WindowSet(self.redis, KEYS)
            stack.start_services(SERVICES)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything, services first."""
        try:
            for service in self.stack.all_services():
                service.resume()
            self.stack.stop()
        finally:
            self._kill_helpers()

    # Questions.

    def now_ms(self) -> int:
        """Prometheus' time."""
        return int(float(self.stack.prometheus.query("time()")[0]) * 1000)  # type: ignore[arg-type]

    def feeds(self) -> Mapping[str, FeedStatus]:
        """Every feed, at one instant."""
        return self.windows.status()

    def heads_ms(self, until_ms: int) -> dict[str, int]:
        """Up to where each feed can be loaded of what was there at Prometheus' time ``until_ms``.

        A rollup's window ends at a multiple of its length; the others must reach beyond that time.
        """
        return {
            plan.feed.name: plan.head_ms(until_ms) if plan.rollup else until_ms
            for plan in self.plans
        }

    def until(
        self,
        condition: Callable[[], object],
        what: str,
        *,
        deadline_seconds: float = 60.0,
        poll_seconds: float = 0.05,
    ) -> None:
        """Wait for a condition; a server that is away meanwhile does not fulfil it."""

        def asked() -> object:
            try:
                return condition()
            except (RedisError, StackError):
                return None

        wait_until(asked, deadline_seconds=deadline_seconds, what=what, poll_seconds=poll_seconds)

    def until_flowing(self) -> None:
        """Wait until every feed is planned, and its watermark known, and samples are loaded."""
        self.until(
            lambda: (
                self.feeds().keys() == {plan.feed.name for plan in self.plans}
                and all(feed.reconciled for feed in self.feeds().values())
                and self.ledger.audit().total.loaded > 1000
            ),
            "samples are loaded",
            deadline_seconds=120.0,
        )

    def until_loaded(
        self, begin_by_ms: Mapping[str, int], until_ms: int, *, deadline_seconds: float
    ) -> None:
        """Wait until every feed is loaded up to an instant of Prometheus' time.

        ``begin_by_ms``: where a feed that lost its ledger must begin at the latest.
        """

        heads_ms = self.heads_ms(until_ms)

        def reached() -> bool:
            feeds = self.feeds()
            return feeds.keys() == heads_ms.keys() and all(
                feed.reconciled
                and feed.loaded_watermark_ms >= heads_ms[name]
                and feed.origin_ms <= begin_by_ms.get(name, feed.origin_ms)
                for name, feed in feeds.items()
            )

        self.until(
            reached,
            f"every feed is loaded up to {until_ms} from where it must begin",
            deadline_seconds=deadline_seconds,
            poll_seconds=0.1,
        )

    # What faults need.

    def pick(self, module: str, rng: random.Random) -> ServiceProcess:
        """Any process of a service that runs."""
        running = [process for process in self.stack.services[module] if process.running]
        return rng.choice(running or self.stack.services[module])

    def pause(self, seconds: float) -> None:
        """Let time pass: what faults lie apart, what an outage lasts. Nothing is waited for."""
        time.sleep(seconds)

    def start_missing(self) -> None:
        """Start services that were ended on purpose; does not wait."""
        for service in self.stack.all_services():
            if not service.running:
                service.start(wait=False)

    def all_up(self) -> None:
        """Wait until every service is ready."""
        for service in self.stack.all_services():
            service.wait_ready(60.0)

    def repair(self) -> None:
        """Whatever a fault left behind that failed half-way: undone."""
        stack = self.stack
        for service in stack.all_services():
            service.resume()
        for name in ("influxdb", "prometheus"):
            self.proxies.send(name, "clear")
        for name in self.proxies.ports:
            self.proxies.send(name, "listen")
        for server in (stack.redis, *stack.influx.servers, stack.prometheus):
            server.resume()
            server.start()
        self.redis.config_set("maxmemory", 0)
        self.redis.replicaof("NO", "ONE")
        self.start_missing()

    def direct_environ(self) -> dict[str, str]:
        """Settings of the servers themselves, with more patience than a service has."""
        stack = self.stack
        patience = "60"
        return {
            "ETL__EXTRACT__PROMETHEUS_URL": stack.prometheus.url,
            "ETL__EXTRACT__TIMEOUT": patience,
            "ETL__EXTRACT__WINDOW_LEASE_SECONDS": "600",
            "ETL__LOAD__INFLUXDB__URL": stack.influx.url,
            "ETL__LOAD__INFLUXDB__TIMEOUT_SECONDS": patience,
            "ETL__PIPELINE__ENTRY_LEASE_SECONDS": "600",
            "ETL__PIPELINE__LIVE_SECONDS": "600",
            "ETL__PIPELINE__REDIS_URL": stack.redis.plain_url,
        }

    def _write_past(self) -> None:
        file = self.stack.run_dir / "past.om"
        self.past.write(file, self.exporter.address)
        self.stack.prometheus.backfill(file)
        file.unlink()

    def _kill_helpers(self) -> None:
        self.exporter.close()
        self.proxies.close()
