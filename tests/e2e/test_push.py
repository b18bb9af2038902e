"""Prometheus pushes to a running pipeline: samples are there early, and the pull proves them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from devtools.servers.binaries import Toolbox
from devtools.servers.ports import HOST, free_port
from devtools.servers.stack import LocalStack
from devtools.servers.stack_config import Pace
from tests.e2e.conftest import QUICK
from tests.e2e.pipeline import KEYS, Pipeline
from tests.support.remote_write import HEADERS, sample, series, snappy

# Long enough that what is in the sink before cannot have been pulled.
SETTLE_SECONDS = 4.0
PASSWORD = "a password of the sender"
ACCOUNT = "test_app@push"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pipeline(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory, port: int
) -> Iterator[Pipeline]:
    run_dir = tmp_path_factory.mktemp("push")
    push = {"host": HOST, "port": port, "password": PASSWORD}
    remote_write = {
        "url": f"http://{HOST}:{port}/api/v1/write",
        "basic_auth": {"username": "prometheus", "password": PASSWORD},
        "queue_config": {"batch_send_deadline": "500ms", "max_backoff": "500ms"},
    }
    scraping = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    with LocalStack(
        run_dir,
        toolbox=toolbox,
        config_overrides=QUICK | {"extract": QUICK["extract"] | {"push": push}},
        # At its end it would wait for who takes no more.
        prometheus_flags=("--storage.remote.flush-deadline=1s",),
        pace=Pace(settle_seconds=SETTLE_SECONDS),
        prometheus_settings={
            "global": {**scraping, "external_labels": {"cluster": "of the sender"}},
            "remote_write": [remote_write],
        },
    ) as stack:
        stack.start_services({"extractor": 1, "transformer": 1, "loader": 1})
        running = Pipeline(stack)
        running.until_flowing()
        yield running
        assert set(stack.stop_services().values()) == {0}
        running.redis.close()


@pytest.fixture
def url(port: int) -> str:
    return f"http://{HOST}:{port}/api/v1/write"


def post(url: str, body: bytes) -> requests.Response:
    auth = ("prometheus", PASSWORD)
    return requests.post(url, data=body, headers=HEADERS, auth=auth, timeout=20)


def pushed(pipeline: Pipeline) -> Any:
    return pipeline.audit().accounts.get(ACCOUNT)


def until_pushed(pipeline: Pipeline, more_samples: int = 50) -> None:
    before = account.loaded if (account := pushed(pipeline)) else 0

    def are_there() -> bool:
        account = pushed(pipeline)
        return account is not None and account.loaded >= before + more_samples

    pipeline.until(are_there, "pushed samples are loaded")


def newest_ms(pipeline: Pipeline) -> int:
    """The time of the newest sample that the sink has of a metric."""
    found = pipeline.stack.influx.query(
        'SELECT last("value") FROM "up"', database=pipeline.bucket(), epoch="ms"
    )
    return max((int(series["values"][0][0]) for series in found), default=0)


def test_samples_are_in_the_sink_before_they_can_be_pulled(pipeline: Pipeline) -> None:
    until_pushed(pipeline)

    # The head is read last: it only moves on.
    pipeline.until(
        lambda: newest_ms(pipeline) > pipeline.feeds()["test_app@hot"].head_ms,
        "a sample lies behind the head",
    )


def test_who_sends_must_show_the_password(pipeline: Pipeline, url: str) -> None:
    answer = requests.post(url, data=snappy(b""), headers=HEADERS, timeout=20)
    assert answer.status_code == 401
    assert requests.get(url, auth=("prometheus", PASSWORD), timeout=20).status_code == 405
    assert post(url, snappy(b"")).status_code == 204
    assert post(url, b"\x05a").status_code == 400
    assert post(url, b"\0" * (5 << 20)).status_code == 413


def test_back_pressure_is_told_to_the_sender(pipeline: Pipeline, url: str) -> None:
    records = KEYS.in_flight("raw")
    high_water_bytes = 1 << 40
    pipeline.redis.hset(records, "0-1", f"1 {high_water_bytes} test_app@hot - x")
    try:
        pipeline.until(lambda: post(url, snappy(b"")).status_code == 429, "429")
    finally:
        pipeline.redis.hdel(records, "0-1")
    pipeline.until(lambda: post(url, snappy(b"")).status_code == 204, "204")


def test_the_pull_proves_what_was_pushed_whoever_was_away(pipeline: Pipeline, url: str) -> None:
    stack = pipeline.stack
    body = snappy(series({"__name__": "x", "job": "test-app"}, [sample(1, 1.0)]))
    stack.redis.kill()
    pipeline.until(lambda: post(url, body).status_code == 503, "503 while Redis is away")
    stack.redis.start()
    until_pushed(pipeline)
    (extractor,) = stack.services["extractor"]
    extractor.kill()
    extractor.start()
    until_pushed(pipeline)

    # What the sink holds is what the source holds, whichever way it came; and nothing else.
    assert pipeline.prove()["verdict"] == "equal"
    assert pushed(pipeline).loaded > 0
    assert pushed(pipeline).dead_lettered == 0
    answered = {
        int(found["metric"]["status"]): float(found["value"][1])
        for found in stack.prometheus.query("max_over_time(etl_push_requests_total[2m])")
    }
    assert answered[204] > 0
    assert answered[400] > 0
