"""What docs/performance.md says of vmagent, which the benchmark runs beside this project."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from devtools.bench.live_world import Scrape, exporter
from devtools.bench.peers.live import stamps_of
from devtools.bench.peers.vmagent import VmagentServer
from devtools.bench.servers import VictoriaServer
from devtools.servers.binaries import VICTORIA_METRICS, Toolbox
from devtools.servers.http import missing_status, session
from devtools.servers.waiting import wait_until

pytestmark = pytest.mark.victoria_metrics
SCRAPE = Scrape(series_of_a_job=2, interval_seconds=0.5, timeout_seconds=0.5)
REFUSED = "vmagent_remotewrite_retries_count_total"
TAKEN = "vmagent_remotewrite_blocks_sent_total"


def counted(agent: VmagentServer, name: str) -> bool:
    """Whether vmagent has counted one of those."""
    with session() as opened:
        page = opened.get(f"{agent.url}/metrics", timeout=30).text
    return bool(re.search(rf"^{re.escape(name)}\S* [1-9]", page, re.MULTILINE))


def test_what_it_scrapes_while_the_sink_is_away_arrives_later(
    tmp_path: Path, log_dir: Path
) -> None:
    toolbox, began = Toolbox(sources=(VICTORIA_METRICS,)), time.time()
    sink = VictoriaServer(toolbox, tmp_path / "sink", log_dir=log_dir)
    with exporter(SCRAPE.series_of_a_job) as target:
        agent = VmagentServer(
            toolbox,
            tmp_path / "vmagent",
            target=target,
            sink_url=sink.url,
            scrape=SCRAPE,
            log_dir=log_dir,
        )
        with agent:
            wait_until(
                lambda: counted(agent, REFUSED), deadline_seconds=60, what="a post that fails"
            )
            back_ms = time.time() * 1000
            with sink:
                wait_until(lambda: counted(agent, TAKEN), deadline_seconds=60, what="one that does")
                # Who asks before that finds nothing for the next ten seconds either.
                assert missing_status(f"{sink.url}/internal/force_flush") is None

                def is_there() -> bool:
                    """What was scraped before the sink was."""
                    return any(stamp_ms < back_ms for _, stamp_ms in stamps_of(sink.url, began))

                wait_until(is_there, deadline_seconds=60, what="what it has kept")
