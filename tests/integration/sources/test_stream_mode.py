"""Why the loader does not send ``Stream-Mode: 1`` to VictoriaMetrics, however much that saves."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from common.config.load import InfluxSettings
from services.loader.influx import InfluxSink
from services.loader.responses import Kind
from tests.integration.sources.conftest import victoria_metrics_of

pytestmark = pytest.mark.victoria_metrics
# A field without a value.
BODY = gzip.compress(b"m,a=b value=1 1700000000000\nm,a=c value 1700000000000\n")


def test_a_line_that_it_cannot_read_is_refused_unless_it_is_read_as_a_stream(
    tmp_path: Path, log_dir: Path
) -> None:
    """As a stream it is taken for written, and is nowhere: that would be a silent loss."""
    with victoria_metrics_of(tmp_path / "server", log_dir) as server:
        for headers, kind in (({}, Kind.UNEXPECTED), ({"Stream-Mode": "1"}, Kind.WRITTEN)):
            settings = InfluxSettings.model_validate(
                {"url": server.url, "org": "o", "bucket": "b", "headers": headers}
            )
            sink = InfluxSink(settings, connections=1)
            assert sink.write("b", BODY).kind is kind
            sink.close()
