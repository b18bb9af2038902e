"""docs/monitoring.md and docs/runbook.md are true, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from common.durations import format_duration
from deploy.image.receiver_secrets import SECRET_FILES
from monitoring import DEPLOY_FOLDER
from monitoring.__main__ import app
from monitoring.alerts.unreachable import UNREACHABLE
from monitoring.catalogue import all_alerts, all_recordings
from monitoring.render.files import render
from monitoring.render.panel_names import DASHBOARD_FOLDER
from monitoring.render.receivers import EMAIL_TO, SEVERITIES_OF, WEBHOOK_URL
from monitoring.thresholds import Thresholds

DOCS = DEPLOY_FOLDER.parent / "docs"
PAGE = (DOCS / "monitoring.md").read_text(encoding="utf-8")
T = Thresholds()
ALERTS = {alert.name: alert for alert in (*all_alerts(T), UNREACHABLE)}


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    match = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert match, heading
    lines = [line for line in match[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}


@pytest.mark.parametrize("name", ["monitoring.md", "runbook.md"])
def test_links_lead_to_pages_and_headings_that_exist(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", (DOCS / name).read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        page = DOCS / (file or name)
        assert page.is_file(), target
        assert not anchor or anchor in anchors(page), target


def test_every_alert_is_listed_with_its_severity() -> None:
    listed = {cells[0]: cells[1] for cells in rows("What is alerted")}
    assert listed == {name: alert.severity for name, alert in ALERTS.items()}
    assert list(listed) == list(ALERTS)


def test_times_of_the_table_are_those_of_the_alerts() -> None:
    for name, _, condition in rows("What is alerted"):
        wait = re.search(r"for (\d+) min\b", condition)
        seconds = ALERTS[name].for_seconds
        if wait and name not in ("EtlStageStalled", "EtlNoSuccess", "EtlOldestEntryTooOld"):
            assert int(wait[1]) * 60 == seconds, name
        elif not wait and "see above" not in condition:
            assert seconds == 0, name


def test_levels_of_the_table_are_those_of_the_thresholds() -> None:
    conditions = {cells[0]: cells[2] for cells in rows("What is alerted")}
    for name, text in {
        "EtlHighFailureRate": f"more than {T.failures:g} failures in 5 min",
        "EtlLowThroughput": f"fewer than {T.throughput_records_per_second:g} records",
        "EtlExcessiveProcessingTime": f"more than {T.processing_seconds:g} s",
        "EtlWindowFailing": f"more than {T.window_failures:g} times in a row",
        "EtlCircuitFlapping": f"more than {T.circuit_closings:g} times in 15 min",
        "EtlRejectedShareHigh": f"more than {T.rejected_share * 100:g} %",
        "EtlRedisMemoryHigh": f"more than {T.redis_memory_share * 100:g} %",
        "EtlOldestEntryTooOld": f"more than {T.oldest_entry_seconds / 60:g} min",
    }.items():
        assert text in conditions[name]
    assert f"fresher than {T.freshness_seconds:g} seconds" in PAGE
    for burn in (T.fast_burn, T.fast_burn_slower, T.slow_burn, T.slow_burn_slower):
        assert f"{burn:g} times" in PAGE or f"{burn:g} time," in PAGE


def test_every_recording_is_listed() -> None:
    text = PAGE.replace("`ratio_", "`etl:freshness_burn:ratio_")
    for recording in all_recordings(T):
        if not recording.record.startswith("etl:freshness_stale:ratio_"):
            assert f"`{recording.record}`" in text
    shortest, longest = T.fast_short_seconds, T.slow_slower_long_seconds
    for seconds in (shortest, longest):
        assert f"ratio_{format_duration(int(seconds * 1000))}`" in PAGE


def test_every_job_is_listed_with_its_user() -> None:
    config = yaml.safe_load(render()["prometheus/prometheus.yml"])
    listed = {
        job: cells[2].strip("`")
        for cells in rows("What is scraped")
        for job in re.findall(r"`([\w-]+)`", cells[0])
    }
    assert listed == {
        job["job_name"]: job["basic_auth"]["username"] for job in config["scrape_configs"]
    }


def test_every_variable_and_secret_file_of_the_receivers_is_told() -> None:
    documented = set(re.findall(r"`(ALERT_[A-Z_]+)`", PAGE))
    assert documented == {EMAIL_TO, WEBHOOK_URL, *SEVERITIES_OF.values()}
    assert set(re.findall(r"`(alert_\w+)`", PAGE)) == set(SECRET_FILES.values())


def test_every_dashboard_is_listed_and_their_folder_named() -> None:
    uids = {Path(name).stem for name in render() if name.endswith(".json")}
    assert {cells[0].strip("`") for cells in rows("Dashboards")} == uids
    assert f"folder *{DASHBOARD_FOLDER}*" in PAGE


def test_every_command_is_shown() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert commands == set(re.findall(r"^python -m monitoring (\w+)", PAGE, re.MULTILINE))


def test_every_consideration_of_the_reference_has_a_row() -> None:
    table = rows("Production")
    assert len(table) == 13
    for cells in table:
        assert cells[1] == "done" and cells[2] and cells[3]


def test_every_point_of_the_real_grafana_names_tests_that_exist() -> None:
    table = rows("What a real Grafana showed")
    assert [cells[0] for cells in table] == [str(number) for number in range(1, 12)]
    for _, wrong, done, named in table:
        assert wrong and done
        # A file, and tests of it, as far as the next file.
        for file, tests in re.findall(r"`([\w/]+\.py)`(?:: ((?:`test_\w+`(?:, )?)+))?", named):
            path = DOCS.parent / (file if "/" in file else f"tests/unit/monitoring/{file}")
            text = path.read_text(encoding="utf-8")
            for test in re.findall(r"`(test_\w+)`", tests):
                assert f"def {test}(" in text, (file, test)


def test_assumptions_are_numbered_without_a_hole() -> None:
    text = PAGE[PAGE.index("## Assumptions about Grafana") :]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
