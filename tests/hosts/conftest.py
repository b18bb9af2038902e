"""Fixtures: hosts as network namespaces, and the pipeline spread over them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devtools.hosts.commands import missing
from devtools.hosts.network import Network
from devtools.servers.binaries import Toolbox
from tests.e2e.failover import failing_over_pipeline
from tests.hosts.spread_pipeline import HOSTS, SERVERS, SERVICES, SpreadPipeline


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Three hosts, and one for source and sink."""
    if (why := missing()) is not None:
        pytest.skip(why)
    # What runs in the hosts is not behind a proxy of the environment.
    with pytest.MonkeyPatch.context() as environment, Network((*HOSTS, SERVERS)) as network:
        for name in ("NO_PROXY", "no_proxy"):
            environment.setenv(name, "*")
        yield network


@pytest.fixture(scope="module")
def running(
    network: Network, toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SpreadPipeline]:
    """A Redis server, its Sentinel and stages on each host; source and sink on a fourth."""
    with failing_over_pipeline(
        toolbox,
        tmp_path_factory.mktemp("hosts"),
        [(module, network.place(host)) for host, modules in SERVICES.items() for module in modules],
        redis_places=[network.place(host) for host in HOSTS],
        servers_place=network.place(SERVERS),
    ) as pipeline:
        try:
            yield SpreadPipeline(pipeline, network)
        finally:
            network.heal()


@pytest.fixture
def spread(running: SpreadPipeline) -> SpreadPipeline:
    """The same for each case: every host connected, everything whole."""
    running.heal()
    return running
