"""A pipeline of real processes on a Redis that fails over: whoever is master, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from redis.exceptions import RedisError

from common.state.redis_client import connect
from common.state.sentinels import SentinelLogin
from devtools.servers.binaries import Toolbox
from devtools.servers.redis_failover import RedisFailover
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.stack import MODULES, LocalStack
from devtools.servers.waiting import wait_until
from tests.e2e.conftest import QUICK
from tests.e2e.pipeline import Pipeline

# With the servers there are a dozen processes, which start side by side.
STARTED_WITHIN_SECONDS = 120.0
pytestmark = pytest.mark.timeout(300)

PASSWORD = "of-the-data-servers"
SENTINEL_PASSWORD = "of-the-sentinels"
# Long enough that servers on a busy machine are not taken for dead, and replicas not for gone.
DOWN_AFTER_MS = 3000
MAX_LAG_SECONDS = 5
PATIENCE_SECONDS = 90.0
# With the servers there are a dozen processes, which start side by side.
STARTED_WITHIN_SECONDS = 120.0
pytestmark = pytest.mark.timeout(300)

PASSWORD = "of-the-data-servers"
SENTINEL_PASSWORD = "of-the-sentinels"
# How much a failover may lose here: commands that no replica has acknowledged for so long.
MAX_LAG_SECONDS = 2


class FailoverPipeline(Pipeline):
    """The pipeline, and the Redis servers below it."""

    def __init__(self, stack: LocalStack, failover: RedisFailover) -> None:
        login = SentinelLogin(None, SENTINEL_PASSWORD)
        super().__init__(stack, connect(failover.url, PASSWORD, sentinel_login=login))
        self.failover = failover

    def until(
        self,
        condition: Callable[[], object],
        what: str,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        super().until(condition, what, patience_seconds)

    def heal(self) -> None:
        """All servers up again, and the pipeline at work."""
        for server in (*self.failover.servers, *self.failover.sentinels):
            server.resume()
            server.start()
        self.failover.wait_whole()
        self.until_flowing()

    def unready(self) -> list[str]:
        return [
            service.name
            for service in self.all_processes()
            if requests.get(f"{service.url}/readyz", timeout=20).status_code != 200
        ]

    def all_processes(self) -> list[ServiceProcess]:
        assert self.stack.etl_metrics is not None
        return [*self.stack.all_services(), self.stack.etl_metrics]

    def prove_all(self) -> dict[str, Any]:
        """Everything since all feeds began: the first plan may take more than one turn."""
        return self.prove(max(feed.origin_ms for feed in self.feeds().values()))

    def fail_over_from(self, old: RedisServer) -> float:
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
        self.until(lambda: not self.unready(), "everything is ready again")
        print(f"writes after {written_seconds:.1f} s, ready after {time.monotonic() - began:.1f} s")
        return written_seconds


@pytest.fixture(scope="module")
def failing_over(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FailoverPipeline]:
    folder = tmp_path_factory.mktemp("failover")
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
    ) as failover:
        pipeline: dict[str, Any] = {"redis_url": failover.url}
        pipeline |= {name: str(folder / name) for name in secrets}
        # etl-metrics reads no etl.yaml; what the stack itself would tell it is emptied.
        metrics = {"ETL_METRICS_REDIS_URL": "", "ETL_METRICS_REDIS_PASSWORD_FILE": ""}
        metrics |= {f"ETL__PIPELINE__{name.upper()}": value for name, value in pipeline.items()}
        with LocalStack(
            folder / "stack",
            toolbox=toolbox,
            config_overrides={**QUICK, "pipeline": {**QUICK["pipeline"], **pipeline}},
            etl_metrics=metrics,
        ) as stack:
            for module in MODULES:
                stack.start_service(module, wait=False)
            for service in stack.all_services():
                service.wait_ready(STARTED_WITHIN_SECONDS)
            running = FailoverPipeline(stack, failover)
            running.until_flowing()
            yield running
            assert set(stack.stop_services().values()) == {0}
            running.redis.close()


@pytest.fixture(autouse=True)
def healthy(failing_over: FailoverPipeline) -> None:
    failing_over.heal()


def test_a_killed_master_loses_nothing(failing_over: FailoverPipeline) -> None:
    old = failing_over.failover.master()
    old.kill()
    failing_over.fail_over_from(old)

    assert failing_over.prove_all()["verdict"] == "equal"


@pytest.mark.hosts
def test_a_master_that_hangs_and_comes_back_loses_nothing(failing_over: FailoverPipeline) -> None:
    """Its clients' connections stay open, and for a while it takes itself for the master."""
    old = failing_over.failover.master()
    old.pause()
    failing_over.fail_over_from(old)
    old.resume()
    failing_over.failover.wait_whole()
    failing_over.until_flowing()

    assert failing_over.prove_all()["verdict"] == "equal"


@pytest.mark.hosts
def test_without_replicas_it_waits_and_loses_nothing(failing_over: FailoverPipeline) -> None:
    """The master refuses writes; the pipeline says so and goes on by itself."""
    replicas = failing_over.failover.replicas()
    for replica in replicas:
        replica.pause()
    failing_over.until(
        lambda: len(failing_over.unready()) >= len(failing_over.stack.all_services()) - 1,
        "the services are not ready",
    )
    for process in failing_over.all_processes():
        assert requests.get(f"{process.url}/livez", timeout=20).status_code == 200
    said = {event.get("error", "") for event in failing_over.events("transformer")}
    assert any("NOREPLICAS" in text for text in said)
    for replica in replicas:
        replica.resume()
    failing_over.until(lambda: not failing_over.unready(), "everything is ready again")

    assert failing_over.prove_all()["verdict"] == "equal"


@pytest.mark.hosts
def test_what_no_replica_has_is_extracted_again(failing_over: FailoverPipeline) -> None:
    """The replicas lack some seconds of acknowledged writes, as where nothing demands replicas.

    Windows that were extracted and loaded meanwhile are open again on the new master.
    """
    failover = failing_over.failover
    old, replicas = failover.master(), failover.replicas()
    with old.client() as admin:
        admin.config_set("min-replicas-to-write", 0)
    for replica in replicas:
        replica.kill()
    before = failing_over.audit().total
    failing_over.until_flowing(2000)
    with old.client() as admin:
        admin.set("only-on-the-old-one", "1")
    ahead = failing_over.audit().total
    old.kill()
    for replica in replicas:
        replica.start()
    print(f"{ahead.loaded - before.loaded} samples were loaded without replicas")
    failing_over.fail_over_from(old)
    assert not failing_over.redis.exists("only-on-the-old-one")

    assert failing_over.prove_all()["verdict"] == "equal"
