"""Every alert is named, worded, tested and explained as all of them are."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from monitoring.alerts.unreachable import UNREACHABLE
from monitoring.cases import CASES
from monitoring.catalogue import all_alerts, all_recordings, groups
from monitoring.model import Alert
from monitoring.render.runbook import PAGE, sections
from monitoring.thresholds import Thresholds
from tests.support.promql_names import selectors

T = Thresholds()
ALERTS = all_alerts(T)
BY_NAME = {alert.name: alert for alert in ALERTS}
RUNBOOK = {section.alert: section.text for section in sections()}
_FUNCTIONS = ("humanize", "humanizeDuration", "humanizePercentage")

each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def test_the_alerts_that_were_promised_exist() -> None:
    assert set(BY_NAME) == {
        # the six of the reference
        "EtlHealthCheckFailed",
        "EtlMetricsEndpointUnavailable",
        "EtlNoSuccess",
        "EtlHighFailureRate",
        "EtlLowThroughput",
        "EtlExcessiveProcessingTime",
        # the pipeline
        "EtlStageDown",
        "EtlStageStalled",
        "EtlBacklogGrowing",
        "EtlOldestEntryTooOld",
        "EtlDeadLettersAppearing",
        "EtlDeadLettersNearCap",
        "EtlRejectedShareHigh",
        "EtlCircuitOpen",
        "EtlCircuitFlapping",
        "EtlBackPressureLasting",
        "EtlLedgerOutOfBalance",
        "EtlPendingEntriesDeleted",
        "EtlConfigRefused",
        "EtlRecheckAbandoned",
        "EtlPayloadsLost",
        "EtlExtractionGap",
        "EtlWindowFailing",
        "EtlClocksDiffer",
        "EtlSourceAlternates",
        "EtlReplicaLacking",
        "EtlSettleTooShort",
        "EtlQueryEmpty",
        "EtlNativeHistogramsDropped",
        "EtlSinkRefusesUs",
        "EtlSamplesBeyondRetention",
        "EtlSinkLimitReached",
        "EtlSinkRetentionUnknown",
        "EtlSealsNotWritten",
        "EtlVerifyDiffers",
        "EtlVerifyRepairs",
        "EtlVerifyBehind",
        "EtlRedisFileFailing",
        "EtlRedisMayEvict",
        "EtlRedisEvicted",
        "EtlForeignJobs",
        "EtlRedisMemoryHigh",
        "EtlFreshnessBudgetBurningFast",
        "EtlFreshnessBudgetBurningSlowly",
        "EtlWatchdog",
        # what the others are blind without
        "EtlRedisUnreachable",
        "EtlProcessLogUnreadable",
    }
    assert len(ALERTS) == len(BY_NAME)


@each_alert
def test_alert_is_named_and_worded_by_the_rules(alert: Alert) -> None:
    assert re.fullmatch(r"Etl([A-Z][a-z]+)+", alert.name)
    assert alert.severity in ("critical", "warning", "none")
    assert "{{" not in alert.summary  # it is the same for all instances
    assert re.fullmatch(r"[A-Z][^\n]+\.", alert.summary)
    assert re.fullmatch(r"([A-Z{]|etl-metrics )[^\n]+\.", alert.description)
    for action in re.findall(r"{{(.*?)}}", alert.description):
        assert re.fullmatch(rf" \.(Labels\.[a-z]+|Value \| ({'|'.join(_FUNCTIONS)})) ", action), (
            action
        )
    assert alert.for_seconds >= 0


@each_alert
def test_description_names_only_labels_that_the_query_leaves(alert: Alert) -> None:
    used = set(re.findall(r"\.Labels\.(\w+)", alert.description))
    grouped = re.match(r"(?:min|max|sum) by \(([^)]*)\)", alert.query)
    if grouped:
        assert used <= {label.strip() for label in grouped[1].split(",")}
    elif used:
        # Not aggregated: the labels of the series, or of what is absent.
        assert used <= {"job", "instance"}


def test_stage_down_keeps_the_job_of_a_stage_that_is_absent() -> None:
    """Its query begins with a bracket; the shape above does not see its `by (job)`."""
    assert "sum by (job) (up" in BY_NAME["EtlStageDown"].query
    assert "{{ .Labels.job }}" in BY_NAME["EtlStageDown"].description


@each_alert
def test_query_holds_no_comparison_that_filters(alert: Alert) -> None:
    """Grafana takes "no value" for missing data; the comparison is the limit's business.

    Inside `burst` and the ledger's guard comparisons choose samples, and the rest of the expression
    has a value all the same.
    """
    query = re.sub(r"\(up offset \w+ == 1\)|\(etl_uptime_seconds < \d+\)", "", alert.query)
    assert not re.search(r"(==|!=|<|>)(?! bool)", re.sub(r"{[^}]*}", "", query))


@each_alert
def test_up_of_a_fixed_job_has_absent_beside_it(alert: Alert) -> None:
    # `burst` only checks whether a process was scraped before.
    query = re.sub(r"\(up offset \w+ == 1\)", "", alert.query)
    if any(selector.metric == "up" for selector in selectors(query)):
        assert "absent(up{" in alert.query


# Read now and compared at once, a gauge that one scrape missed would hide what is wrong.
_GAUGE_FUNCTIONS = (
    "last_over_time(",
    "max_over_time(",
    "min_over_time(",
    "avg_over_time(",
    "deriv(",
)
_NOT_GAUGES = re.compile(r"up|.+_total|etl_uptime_seconds|etl:.+|query_tier:.+|vector")


@each_alert
def test_gauges_are_read_over_a_time_that_bridges_missed_scrapes(alert: Alert) -> None:
    for selector in selectors(alert.query):
        if _NOT_GAUGES.fullmatch(selector.metric) or selector.metric == "etl_redis_up":
            continue
        where = alert.query.index(selector.metric)
        assert alert.query[:where].endswith(_GAUGE_FUNCTIONS), selector


def test_bridges_are_several_scrapes_and_no_longer_than_any_wait_for_an_alert() -> None:
    assert T.bridge_seconds >= 3 * T.scrape_interval_seconds
    shortest = min(alert.for_seconds for alert in ALERTS if alert.for_seconds)
    assert T.bridge_seconds <= shortest


def test_grafana_can_schedule_its_evaluation() -> None:
    assert T.grafana_evaluation_seconds % 10 == 0


def test_names_of_groups_and_records_are_unique() -> None:
    every = [group for file in groups(T).values() for group in file]
    assert not [name for name, n in Counter(group.name for group in every).items() if n > 1]
    records = Counter(recording.record for recording in all_recordings(T))
    assert not [name for name, n in records.items() if n > 1]
    for record in records:
        assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", record)


# --- tests of the alerts ----------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
def test_every_alert_is_tested_to_fire_to_be_quiet_and_without_series(name: str) -> None:
    kinds = {case.kind for _, cases in CASES.values() for case in cases if case.alert == name}
    # One that always fires is never quiet; when it is "over" is tested in test_timing.py.
    assert kinds - {"over"} == {"fires", "absent"} | ({"quiet"} if name != "EtlWatchdog" else set())


def test_cases_are_sentences_of_alerts_that_exist_in_the_file_that_is_tested() -> None:
    sentences = Counter(
        f"{case.alert} {case.name}" for _, cases in CASES.values() for case in cases
    )
    assert not [sentence for sentence, n in sentences.items() if n > 1]
    for rules, cases in CASES.values():
        there = {alert.name for group in groups(T)[rules] for alert in group.alerts}
        for case in cases:
            assert case.alert in there
            assert re.match(r"(fires|is quiet|adds up) ?", case.name), case.name
            assert (case.kind == "fires") <= bool(case.firing)
            assert (case.kind == "quiet") <= (not case.firing)
            assert case.at_seconds % case.interval_seconds == 0


# --- the runbook ------------------------------------------------------------------------------


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert list(RUNBOOK) == [*BY_NAME, UNREACHABLE.name]


@pytest.mark.parametrize("alert", [*ALERTS, UNREACHABLE], ids=lambda alert: alert.name)
def test_section_says_severity_panel_and_what_to_do(alert: Alert) -> None:
    text = RUNBOOK[alert.name]
    head = f"{alert.severity} · panel **{alert.panel.title}** of `{alert.panel.dashboard}`"
    assert text.splitlines()[0] == head
    means, check, do = (text.index(f"**{heading}:**") for heading in ("Means", "Check", "Do"))
    assert means < check < do


@each_alert
def test_runbook_url_leads_to_the_heading(alert: Alert) -> None:
    page, _, anchor = alert.runbook_url.partition("#")
    # Whatever stands before it: RUNBOOK_URL may be the whole address.
    assert page.endswith("docs/runbook.md")
    headings = re.findall(r"^#+ (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}


def test_links_of_the_runbook_lead_somewhere() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        page, _, anchor = target.partition("#")
        if page:
            continue  # other pages: test_monitoring_docs.py
        assert anchor in {name.lower() for name in RUNBOOK}, target
