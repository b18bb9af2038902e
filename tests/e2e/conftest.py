"""Fixtures: one running pipeline for each file of end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.stack import LocalStack
from tests.e2e.pipeline import Pipeline

# Short leases, so that what a dead worker had is taken over within the test.
QUICK: dict[str, Any] = {
    "extract": {"window_lease_seconds": 8, "timeout": 3, "backoff_max_seconds": 2},
    "load": {
        "influxdb": {"timeout_seconds": 2},
        "backoff_max_seconds": 1,
        "circuit_open_seconds": 1,
    },
    "pipeline": {"entry_lease_seconds": 8, "watermark_seconds": 1},
}
SERVICES = {"extractor": 2, "transformer": 2, "loader": 2}


@pytest.fixture(scope="module")
def pipeline(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    run_dir = tmp_path_factory.mktemp("pipeline")
    with LocalStack(run_dir, toolbox=toolbox, config_overrides=QUICK) as stack:
        stack.start_services(SERVICES)
        running = Pipeline(stack)
        running.until_flowing()
        yield running
        assert set(stack.stop_services().values()) == {0}
        running.redis.close()
