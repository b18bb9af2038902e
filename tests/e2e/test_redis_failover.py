"""A pipeline of real processes on a Redis that fails over: whoever is master, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.place import LOOPBACK
from devtools.servers.stack import MODULES
from tests.e2e.failover import FailoverPipeline, failing_over_pipeline

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def failing_over(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FailoverPipeline]:
    services = [(module, LOOPBACK) for module in MODULES]
    folder = tmp_path_factory.mktemp("failover")
    with failing_over_pipeline(toolbox, folder, services, etl_metrics=True) as running:
        yield running


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
    failing_over.until(lambda: not failing_over.unlive(), "all live")

    def is_said() -> bool:
        # As an error of a command, or as the reason of a pause, whichever met it first.
        events = failing_over.events("transformer")
        said = (event.get(name, "") for event in events for name in ("error", "reason"))
        return any("NOREPLICAS" in text for text in said)

    failing_over.until(is_said, "the transformer says why")
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
