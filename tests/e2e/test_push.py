"""Prometheus pushes to a running pipeline: samples are there early, and the pull proves them.

Over TLS; by remote write 2.0 where it can (``make test-matrix``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from devtools.servers.binaries import Toolbox
from devtools.servers.ports import HOST, free_port
from devtools.servers.stack import LocalStack
from devtools.servers.stack_config import Pace
from tests.e2e.conftest import QUICK
from tests.e2e.pipeline import KEYS, Pipeline
from tests.support.remote_write import HEADERS, HEADERS_V2, request_v2, sample, series, snappy

# Long enough that what is in the sink before cannot have been pulled.
SETTLE_SECONDS = 4.0
PASSWORD = "a password of the sender"
ACCOUNT = "test_app@push"
# Not before Prometheus 3: 2.42 refuses the key.
MESSAGE = (
    {"protobuf_message": "io.prometheus.write.v2.Request"}
    if os.environ.get("ETL_TEST_PROMETHEUS") == "sid"
    else {}
)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: a certificate with its key, and who vouches for it."""
    folder, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "server.pem").touch(mode=0o600)
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder


@pytest.fixture(scope="module")
def pipeline(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory, certificates: Path, port: int
) -> Iterator[Pipeline]:
    run_dir = tmp_path_factory.mktemp("push")
    certificate = str(certificates / "server.pem")
    push = {"host": HOST, "port": port, "password": PASSWORD, "cert_file": certificate}
    remote_write = {
        "url": f"https://{HOST}:{port}/api/v1/write",
        "basic_auth": {"username": "prometheus", "password": PASSWORD},
        "tls_config": {"ca_file": str(certificates / "ca.pem")},
        **MESSAGE,
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


class Sender:
    """Somebody who knows the password."""

    def __init__(self, port: int, certificates: Path) -> None:
        self._url = f"https://{HOST}:{port}/api/v1/write"
        self._authority = str(certificates / "ca.pem")

    def post(self, body: bytes, password: str = PASSWORD, **headers: str) -> requests.Response:
        auth = ("prometheus", password)
        return requests.post(
            self._url,
            data=body,
            headers=HEADERS | headers,
            auth=auth,
            verify=self._authority,
            timeout=20,
        )


@pytest.fixture
def sender(port: int, certificates: Path) -> Sender:
    return Sender(port, certificates)


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
    # What its sender believes: none is lost.
    metrics = requests.get(f"{pipeline.stack.prometheus.url}/metrics", timeout=20).text
    failed = re.findall(
        r"^prometheus_remote_storage_samples_failed_total\S* (\S+)", metrics, re.MULTILINE
    )
    assert failed == ["0"]


def test_each_request_is_answered_by_its_kind(pipeline: Pipeline, sender: Sender) -> None:
    assert sender.post(snappy(b""), password="another").status_code == 401
    assert sender.post(snappy(b"")).status_code == 204
    assert sender.post(b"\x05a").status_code == 400
    assert sender.post(b"\0" * (5 << 20)).status_code == 413
    body = snappy(request_v2(({"__name__": "x", "job": "nobody's"}, [sample(1, 1.0)])))
    answer = sender.post(body, **HEADERS_V2)
    assert answer.status_code == 204
    assert answer.headers["X-Prometheus-Remote-Write-Samples-Written"] == "1"


def test_back_pressure_is_told_to_the_sender(pipeline: Pipeline, sender: Sender) -> None:
    records = KEYS.in_flight("raw")
    high_water_bytes = 1 << 40
    pipeline.redis.hset(records, "0-1", f"1 {high_water_bytes} test_app@hot - x")
    try:
        pipeline.until(lambda: sender.post(snappy(b"")).status_code == 429, "429")
    finally:
        pipeline.redis.hdel(records, "0-1")
    pipeline.until(lambda: sender.post(snappy(b"")).status_code == 204, "204")


def test_the_pull_proves_what_was_pushed_whoever_was_away(
    pipeline: Pipeline, sender: Sender
) -> None:
    stack = pipeline.stack
    body = snappy(series({"__name__": "x", "job": "test-app"}, [sample(1, 1.0)]))
    stack.redis.kill()
    pipeline.until(lambda: sender.post(body).status_code == 503, "503 while Redis is away")
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
    assert sender.post(b"\x05a").status_code == 400

    def are_counted() -> bool:
        answered = {
            int(found["metric"]["status"]): float(found["value"][1])
            for found in stack.prometheus.query("etl_push_requests_total")
        }
        return answered.get(204, 0) > 0 and answered.get(400, 0) > 0

    pipeline.until(are_counted, "Prometheus has the answers by their kind")
