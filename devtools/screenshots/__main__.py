"""``make screenshots``: runs the pipeline for a while and draws it into docs/images/.

The status page is a picture of the real page in a headless Chromium. The dashboards are no pictures
of Grafana: their panels are drawn from the same definitions, with what a real Prometheus answers to
their own queries. ``etlctl top`` is drawn by its own code from what it read.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from common.config import load_settings
from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.screenshots.ask import Source
from devtools.screenshots.chromium import Chromium, found
from devtools.screenshots.draw import Row, dashboard
from devtools.screenshots.terminal import picture, watch
from devtools.servers.stack import ETL_METRICS_JOB, LocalStack, new_run_dir
from etlctl.command_line import run
from etlctl.top.board import Board
from monitoring.catalogue import all_alerts
from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.spec import DashboardSpec
from monitoring.model import Alert
from monitoring.thresholds import Thresholds

IMAGES = PROJECT_ROOT / "docs" / "images"
MOST_BYTES = 150_000
PROCESSES = {"extractor": 1, "transformer": 1, "loader": 1, "verifier": 1}
_WIDTH, _HEIGHT = 1200, 1000
_PHONE_WIDTH, _PHONE_HEIGHT = 390, 780

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Seconds = Annotated[
    float,
    typer.Option(
        "--seconds",
        metavar="SECONDS",
        min=30,
        envvar="SCREENSHOT_SECONDS",
        help="How long the pipeline runs before it is drawn.",
    ),
]


@app.command()
def screenshots(seconds: Seconds = 180.0) -> None:
    """Run the pipeline on real servers for a while and draw it into docs/images/."""
    program = found()
    if program is None:
        raise StackError("there is no Chromium: install Debian's package chromium")
    IMAGES.mkdir(parents=True, exist_ok=True)
    stack = LocalStack(
        new_run_dir("screenshots"),
        etl_metrics={"ETL_METRICS_REDIS_POLL_SECONDS": "2"},
        prometheus_settings={
            "rule_files": [str(PROJECT_ROOT / "deploy" / "prometheus" / "rules" / "*.yml")]
        },
    )
    try:
        stack.start()
        stack.start_services(PROCESSES)
        url = f"{stack.urls[ETL_METRICS_JOB]}/"
        began, board = time.time(), Board()
        watch(board, load_settings(stack.config_path, secrets=("pipeline",)), seconds)
        _write("top.svg", picture(board))
        with tempfile.TemporaryDirectory() as folder, Chromium(program, Path(folder)) as browser:
            page_when_well(browser, url)
            dashboards(Source(stack.prometheus.url, began, time.time()))
            stack.services["loader"][0].stop()
            page_with_a_fault(browser, url)
    finally:
        stack.stop()


def page_when_well(browser: Chromium, url: str) -> None:
    """The page on a desktop."""
    tab = browser.open(url, width=_WIDTH, height=_HEIGHT)
    tab.wait_for(lambda one: "All is well" in one.text("#verdict"), "a pipeline that is well")
    _write("status-page.png", tab.picture())


def page_with_a_fault(browser: Chromium, url: str) -> None:
    """The page on a telephone, in the dark, after the loader was ended."""
    tab = browser.open(url, width=_PHONE_WIDTH, height=_PHONE_HEIGHT, dark=True)
    tab.wait_for(lambda one: "no loader runs" in one.text("#verdict"), "a fault", 120)
    _write("status-page-fault.png", tab.picture())


def dashboards(source: Source) -> None:
    """Each dashboard: what is open at first, and what is collapsed as a picture of its own."""
    alerts = {alert.name: alert for alert in all_alerts(Thresholds())}
    for board in DASHBOARDS:
        for collapsed, suffix in ((False, ""), (True, "-details")):
            rows = _rows(source, board, alerts, collapsed=collapsed)
            if rows:
                title = f"{board.title}: its panels, drawn from their definitions and queries"
                _write(f"{board.uid}{suffix}.svg", dashboard(title, rows).encode())


def _rows(
    source: Source, board: DashboardSpec, alerts: Mapping[str, Alert], *, collapsed: bool
) -> list[Row]:
    return [
        (
            row.title,
            [
                (
                    panel,
                    alerts[panel.limit_of].limit if panel.limit_of else panel.limit,
                    source.lines(board, panel),
                )
                for panel in row.panels
            ],
        )
        for row in board.rows
        if row.collapsed == collapsed
    ]


def _write(name: str, content: bytes) -> None:
    if len(content) > MOST_BYTES:
        raise StackError(f"{name}: {len(content):,} bytes are more than {MOST_BYTES:,}")
    (IMAGES / name).write_bytes(content)
    sys.stdout.write(json.dumps({"image": name, "bytes": len(content)}) + "\n")


if __name__ == "__main__":
    run(app, "screenshots")
