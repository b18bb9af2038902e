"""What ``status`` shows fits 80 columns, health first."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from common.state.feeds import FeedStatus
from common.state.ledger import Account, Audit, Depth
from common.state.status.reading import PipelineStatus
from common.state.workers import WorkerReport
from etlctl.status.alerts import Alerts
from etlctl.status.present import screen

NOW_MS = 1_764_000_000_000
HOUR_MS = 3_600_000
FIGURES = {
    "etl_current_rate_records_per_second": 12_345.6,
    "etl_avg_processing_time_seconds": 0.034,
}
WORKERS = [
    WorkerReport(f"{service}-{number}", service, NOW_MS, True, {}, FIGURES)
    for service in ("extractor", "transformer", "loader")
    for number in range(2)
]


def feed(name: str, waiting_ms: int = 0) -> FeedStatus:
    query, tier = name.split("@")
    backlog = [(NOW_MS - waiting_ms - 40_000, NOW_MS - 40_000)] if waiting_ms else []
    return FeedStatus(
        *(query, tier, "f", NOW_MS - 24 * HOUR_MS, NOW_MS - 40_000, backlog, [], [], 0, NOW_MS, 0),
        reconciled=True,
        empty_since_ms=NOW_MS,
        lag_limit_ms=180_000,
    )


def status(*feeds: FeedStatus) -> PipelineStatus:
    named = {f"{one.query}@{one.tier}": one for one in feeds}
    accounts = dict.fromkeys(named, Account(1_234_567, 1_234_500, {"nan": 30}, 7, 30))
    streams = {"raw": Depth(1, 20, 300, NOW_MS - 2_000), "points": Depth()}
    audit = Audit(NOW_MS, accounts, streams, 0, 2, {}, back_pressure=False)
    dead_letters = {"loader rejected": 2}
    return PipelineStatus(audit, named, WORKERS, 100_000, dead_letters=dead_letters)


def shown(found: PipelineStatus, alerts: Alerts) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False)
    for one in screen(found, alerts):
        console.print(one)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_how_long_samples_settle_is_said_once_for_queries_alike() -> None:
    why = "scrape time-out (10s) of job app + 2 s"
    settling = [
        replace(feed(name), settle_ms=ms, settle_why=text)
        for name, ms, text in (
            ("a@hot", 12_000, why),
            ("a@warm", 12_000, why),
            ("b@hot", 12_000, why),
            ("c@hot", 90_000, "configured"),
        )
    ]
    text = " ".join(shown(status(*settling, feed("d@hot")), Alerts([])))
    assert f"Samples settle for 12s ({why}): a, b." in text
    assert "Samples settle for 1m30s (configured): c." in text
    assert text.count("Samples settle") == 2


def test_well() -> None:
    lines = shown(status(feed("up@hot")), Alerts([]))

    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("All is well: ")
    assert lines[1] == "Alerts firing: none."
    assert "Backlog: none." in lines
    assert "Dead letters: 2 of 100,000, 7 samples: loader rejected 2." in lines
    assert ["extractor", "2", "2", "24,691", "0.034", "s"] in [line.split() for line in lines]
    order = [lines.index(title) for title in ("Stages", "Queries", "In flight")]
    assert order == sorted(order)


def test_behind_in_a_first_catch_up() -> None:
    found = status(feed("up@hot"), feed("http_requests@hot", HOUR_MS))

    lines = shown(found, Alerts(["EtlBacklogGrowing", "EtlStageDown"]))

    assert max(map(len, lines)) <= 80
    assert lines[0] == "Not all is well: queries are behind."
    assert lines[1].startswith("* http_requests@hot is behind: what is loaded is 3,640 s old")
    assert "Alerts firing: EtlBacklogGrowing, EtlStageDown." in lines
    # 3,600 of 82,760 s of 1,234,567 samples, at 24,691 a second.
    assert "Backlog: 3,600 s of 1 feed; done in about 3s." in lines


def test_what_is_not_known_is_said() -> None:
    lines = shown(status(), Alerts(None, "Prometheus does not have the pipeline's rules"))

    assert "Alerts firing: not known: Prometheus does not have the pipeline's rules." in lines
