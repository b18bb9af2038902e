"""A source whose clock is a minute ahead for some seconds: no sample is missing in the sink."""

from __future__ import annotations

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.stack import LocalStack
from tests.e2e.conftest import QUICK, SERVICES
from tests.e2e.pipeline import Pipeline
from tests.e2e.source_front import SourceFront

pytestmark = pytest.mark.timeout(180)

AHEAD_SECONDS = 60.0


def test_no_window_is_committed_before_its_time(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with SourceFront() as front:
        overrides = {**QUICK, "extract": {**QUICK["extract"], "prometheus_url": front.url}}
        run_dir = tmp_path_factory.mktemp("clock")
        with LocalStack(run_dir, toolbox=toolbox, config_overrides=overrides) as stack:
            front.target = stack.prometheus.url
            stack.start_services(SERVICES)
            pipeline = Pipeline(stack)
            pipeline.until_flowing()

            front.ahead_seconds = AHEAD_SECONDS
            began_ms = pipeline.now_ms()
            pipeline.until(lambda: pipeline.now_ms() - began_ms >= 5_000, "five seconds to pass")
            front.ahead_seconds = 0.0

            pipeline.until_flowing()
            # What was planned too far by any extractor is extracted in its time.
            assert pipeline.prove()["verdict"] == "equal"
            events = [line["event"] for line in pipeline.events("extractor")]
            assert "source_clock_jumped" in events
            assert set(stack.stop_services().values()) == {0}
            pipeline.redis.close()
