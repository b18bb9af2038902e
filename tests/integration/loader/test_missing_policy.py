"""A real influxd without the retention policy of a bucket ``database/policy``."""

from __future__ import annotations

import time

import requests
from prometheus_client import CollectorRegistry

from common.runtime.telemetry import Telemetry
from common.state.verdict import Pause
from devtools.servers.influx_server import InfluxServer
from services.loader.admission import Admission
from services.loader.responses import Kind, Outcome, classify
from tests.doubles.loading import BUCKET, load_settings


def test_a_request_without_points_finds_out_that_it_is_missing_and_that_it_is_there_again(
    influx_server: InfluxServer, influx_database: str
) -> None:
    """So such a request ends the pause no earlier than points would, and needs none to end it."""

    def post(body: bytes) -> Outcome:
        response = requests.post(
            f"{influx_server.direct_url}/write",
            params={"db": influx_database, "rp": "gone", "precision": "ms"},
            data=body,
            timeout=30,
        )
        sent, content = response.headers, response.content
        return classify(response.status_code, sent, content, now_seconds=time.time())

    line = b"m value=1 %d" % (time.time() * 1000)
    admission = Admission(load_settings(), Telemetry("loader", CollectorRegistry()))
    refused = post(line)
    assert (refused.kind, refused.status) == (Kind.MISSING, 500)
    assert isinstance(admission.report(refused, BUCKET), Pause)
    for _ in range(2):
        reason = admission.check(lambda bucket: post(b""))
        assert reason is not None
        assert "retention policy not found: gone" in reason
        assert admission.paused_by == "missing"

    policy = f'"gone" ON "{influx_database}" DURATION 1d REPLICATION 1'
    influx_server.query(f"CREATE RETENTION POLICY {policy}")

    assert admission.check(lambda bucket: post(b"")) is None
    assert not admission.in_doubt
    assert admission.report(post(line), BUCKET) is None
