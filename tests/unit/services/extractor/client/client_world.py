"""What the tests of the Prometheus client share: good bodies, and a request that must fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.config import ExtractSettings, Query
from common.errors import (
    SourceError,
)
from services.extractor.prometheus import PrometheusClient
from tests.support.answering_server import AnsweringServer

Serve = Callable[..., AnsweringServer]

EXPR = Query(name="q", expr='rate(x{a="b"}[1m])', step=15)

ONE = b'{"metric":{"a":"b"},"values":[[1700000000,"1"],[1700000015.5,"NaN"]]}'
MATRIX = b'{"status":"success","data":{"resultType":"matrix","result":[%s]}}' % b",".join(
    [ONE] * 500
)
NOW = b'{"status":"success","data":{"resultType":"scalar","result":[1,"1700000000.123"]}}'


def client_settings(url: str, **more: object) -> ExtractSettings:
    return ExtractSettings.model_validate({"prometheus_url": url, **more})


def client_of(url: str, **more: object) -> PrometheusClient:
    return PrometheusClient(client_settings(url, **more))


def failure(client: PrometheusClient) -> SourceError:
    """What reading raises; its message is one line and names the query."""
    with pytest.raises(SourceError) as raised:
        for _ in client.read(EXPR, 0, 15_000):
            pass
    message = str(raised.value)
    assert "query 'rate(x{a=\"b\"}[1m])'" in message
    assert "\n" not in message
    assert "object at 0x" not in message
    return raised.value


def error_body(error_type: str, text: str) -> bytes:
    return f'{{"status":"error","errorType":"{error_type}","error":"{text}"}}'.encode()
