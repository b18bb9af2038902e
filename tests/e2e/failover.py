"""A pipeline of real processes on a Redis that fails over, on one host or several."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from common.state.connection.redis_client import connect
from common.state.connection.sentinels import SentinelLogin
from devtools.servers.binaries import Toolbox
from devtools.servers.place import LOOPBACK, Place
from devtools.servers.redis_failover import RedisFailover
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.stack import LocalStack
from devtools.servers.waiting import wait_until
from tests.e2e.conftest import QUICK
from tests.e2e.pipeline import Pipeline

PASSWORD = "of-the-data-servers"
SENTINEL_PASSWORD = "of-the-sentinels"
# Long enough that servers on a busy machine are not taken for dead.
DOWN_AFTER_MS = 3000
# How much a failover may lose here: commands that no replica has acknowledged for so long.
MAX_LAG_SECONDS = 2
# With the servers there are a dozen processes, which start side by side.
STARTED_WITHIN_SECONDS = 120.0


class FailoverPipeline(Pipeline):
    """The pipeline, and the Redis servers below it."""

    patience_seconds = 180.0

    def __init__(self, stack: LocalStack, failover: RedisFailover) -> None:
        login = SentinelLogin(None, SENTINEL_PASSWORD)
        super().__init__(stack, connect(failover.url, PASSWORD, sentinel_login=login))
        self.failover = failover

    def heal(self) -> None:
        """All servers up again, and the pipeline at work."""
        for server in (*self.failover.servers, *self.failover.sentinels):
            server.resume()
            server.start()
        self.failover.wait_whole()
        self.until_flowing()

    def unready(self) -> list[str]:
        return [process.name for process in self.all_processes() if process.probe() is not None]

    def unlive(self) -> list[str]:
        return [process.name for process in self.all_processes() if process.missing_live()]

    def all_processes(self) -> list[ServiceProcess]:
        watchers = [self.stack.etl_metrics] if self.stack.etl_metrics is not None else []
        return [*self.stack.all_services(), *watchers]

    def prove_all(self) -> dict[str, Any]:
        """Everything since all feeds began: the first plan may take more than one turn."""
        return self.prove(max(feed.origin_ms for feed in self.feeds().values()))

    def fail_over_from(self, old: RedisServer, *, all_ready: bool = True) -> float:
        """Wait until loading goes on; seconds until the ledger takes writes again."""
        began = time.monotonic()

        def is_written() -> bool:
            try:
                return bool(self.redis.set("probe", "1", px=60_000))
            except RedisError:
                return False

        wait_until(is_written, deadline_seconds=60, what="writes go on", poll_seconds=0.05)
        written_seconds = time.monotonic() - began
        self.failover.wait_for_another_master_than(old)
        self.until_flowing()
        flowing_seconds = time.monotonic() - began
        if all_ready:
            self.until(lambda: not self.unready(), "everything is ready again")
        print(f"writes after {written_seconds:.1f} s, samples loaded after {flowing_seconds:.1f} s")
        return written_seconds


@contextlib.contextmanager
def failing_over_pipeline(
    toolbox: Toolbox,
    folder: Path,
    services: Sequence[tuple[str, Place]],
    *,
    redis_places: Sequence[Place] = (LOOPBACK,),
    servers_place: Place = LOOPBACK,
    etl_metrics: bool = False,
) -> Iterator[FailoverPipeline]:
    """``services`` (module, place) on three Redis servers and Sentinels, at work; ended on exit."""
    secrets = {"redis_password_file": PASSWORD, "redis_sentinel_password_file": SENTINEL_PASSWORD}
    for name, secret in secrets.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(secret)
    with RedisFailover(
        toolbox,
        folder / "redis",
        password=PASSWORD,
        down_after_ms=DOWN_AFTER_MS,
        settings={
            "min-replicas-to-write": "1",
            "min-replicas-max-lag": str(MAX_LAG_SECONDS),
        },
        sentinel_password=SENTINEL_PASSWORD,
        places=redis_places,
    ) as failover:
        pipeline: dict[str, Any] = {"redis_url": failover.url}
        pipeline |= {name: str(folder / name) for name in secrets}
        # etl-metrics reads no etl.yaml; what the stack itself would tell it is emptied.
        metrics = {"ETL_METRICS_REDIS_URL": "", "ETL_METRICS_REDIS_PASSWORD_FILE": ""}
        metrics |= {f"ETL__PIPELINE__{name.upper()}": value for name, value in pipeline.items()}
        stack = LocalStack(
            folder / "stack",
            toolbox=toolbox,
            config_overrides={**QUICK, "pipeline": {**QUICK["pipeline"], **pipeline}},
            etl_metrics=metrics if etl_metrics else None,
        )
        for server in (*stack.influx.servers, stack.prometheus, stack.simulator):
            server.place = servers_place
        with stack:
            for module, place in services:
                stack.start_service(module, wait=False, place=place)
            for service in stack.all_services():
                service.wait_ready(STARTED_WITHIN_SECONDS)
            running = FailoverPipeline(stack, failover)
            running.until_flowing()
            yield running
            assert set(stack.stop_services().values()) == {0}
            running.redis.close()
