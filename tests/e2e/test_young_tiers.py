"""The project's own tiers in their first hour: nothing of them is loaded, and nothing is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from devtools import PROJECT_ROOT
from devtools.servers.binaries import Toolbox
from devtools.servers.stack import LocalStack
from devtools.servers.stack_config import read_config
from tests.e2e.conftest import QUICK
from tests.e2e.pipeline import Pipeline

pytestmark = pytest.mark.timeout(180)

SERVICES = {"extractor": 1, "transformer": 1, "loader": 1, "verifier": 1}


def tiers() -> dict[str, Any]:
    """Of config/etl.yaml, with windows that no hour of the day ends."""
    found: dict[str, Any] = read_config(PROJECT_ROOT / "config" / "etl.yaml")["load"]["tiers"]
    return {
        name: tier if name == "hot" else tier | {"window": "10000d"} for name, tier in found.items()
    }


@pytest.fixture(scope="module")
def pipeline(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    overrides = QUICK | {"load": QUICK["load"] | {"tiers": tiers()}}
    with LocalStack(
        tmp_path_factory.mktemp("young"), toolbox=toolbox, config_overrides=overrides
    ) as stack:
        stack.start_services(SERVICES)
        running = Pipeline(stack)
        running.until_flowing(500)
        yield running
        running.redis.close()


def test_every_service_is_ready(pipeline: Pipeline) -> None:
    urls = [service.url for service in pipeline.stack.all_services()]
    assert len(urls) == len(SERVICES)
    pipeline.until(
        lambda: all(requests.get(f"{url}/readyz", timeout=5).status_code == 200 for url in urls),
        "all are ready",
    )


def test_source_and_sink_are_equal_and_other_tiers_have_no_window_yet(pipeline: Pipeline) -> None:
    assert pipeline.prove()["verdict"] == "equal"

    document = json.loads(pipeline.etlctl("verify", "--json").stdout)
    assert list(document["tiers"]) == ["hot"]
    queries = [one["name"] for one in pipeline.config()["extract"]["queries"]]
    assert document["no_window_yet"] == [
        f"{query}@{tier}" for tier in ("warm", "cold") for query in queries
    ]
    for options in ((), ("--sealed",)):
        found = pipeline.etlctl("verify", *options)
        assert found.returncode == 0, found.stdout + found.stderr
        for tier in ("warm", "cold"):
            assert f"{tier}: no window yet" in found.stdout


def test_status_and_coverage_say_that_all_is_well(pipeline: Pipeline) -> None:
    for command in ("status", "coverage"):
        found = pipeline.etlctl(command)
        assert found.returncode == 0, found.stdout + found.stderr
        assert found.stdout.startswith("All is well")
    assert "test_app@warm: no window yet" in found.stdout
