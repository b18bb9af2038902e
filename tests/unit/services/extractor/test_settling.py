"""Whether samples settle for long enough, and how far the source's clock is believed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.config import ExtractSettings, Query
from common.errors import SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.state.windows import Feed
from services.extractor.history import ServerRun, SourceCheck
from services.extractor.source.scrape_settings import ScrapeSettings, Target
from services.extractor.source.settling import ASK_AGAIN_MS, SettleCheck
from services.extractor.windows import Plan

FAST, SLOW = Target("fast", 15, 10), Target("slow", 60, 20)


def body(**data: Any) -> bytes:
    return json.dumps({"status": "success", "data": data}).encode()


def target(job: str, interval: Any, timeout: Any, **more: Any) -> dict[str, Any]:
    reported = {"labels": {"job": job}, "scrapeInterval": interval, "scrapeTimeout": timeout}
    return {"scrapePool": job, "scrapeUrl": "http://a/metrics", **reported, **more}


def config(text: str) -> bytes:
    return body(yaml=text)


GLOBAL = "global:\n  scrape_interval: 1m\n  scrape_timeout: 10s\n  evaluation_interval: 2m\n"
JOB = """- job_name: {name}
  honor_timestamps: true
  scrape_interval: {interval}
  scrape_timeout: {timeout}
  metrics_path: /metrics
  scheme: http
"""
FAST_JOB = JOB.format(name="fast", interval="15s", timeout="10s")
SLOW_JOB = JOB.format(name="slow", interval="1m", timeout="20s")
SCRAPES = GLOBAL + "scrape_configs:\n" + FAST_JOB + SLOW_JOB
BOTH = body(activeTargets=[target("fast", "15s", "10s"), target("slow", "1m0s", "20s")])
FLAGS = body(**{"web.enable-remote-write-receiver": "false", "enable-feature": ""})


def group(seconds: float, *rules: tuple[str, str]) -> dict[str, Any]:
    return {"interval": seconds, "rules": [{"type": kind, "name": name} for kind, name in rules]}


def test_what_a_server_reports() -> None:
    with_rules = SCRAPES + "rule_files:\n- rules/*.yml\n"
    rules = body(
        groups=[
            group(30, ("recording", "job:m"), ("alerting", "Down")),
            group(300, ("recording", "job:n"), ("recording", "job:m")),
        ]
    )

    found = ScrapeSettings.parse(BOTH, config(with_rules), rules, FLAGS)

    seconds = {"job:m": 300, "job:n": 300, "ALERTS": 30, "ALERTS_FOR_STATE": 30}
    assert found == ScrapeSettings((FAST, SLOW), 120.0, seconds, "")
    without = ScrapeSettings.parse(BOTH, config(SCRAPES), b"", FLAGS)
    assert without == ScrapeSettings((FAST, SLOW), None, {}, "")
    assert ScrapeSettings.parse(BOTH, config(with_rules), b"{}", FLAGS).rules is None


def test_what_rules_write_comes_later_by_their_offset() -> None:
    """It has the time that they looked at: seen on 3.5, of recording rules and of alerts."""
    with_rules = SCRAPES.replace("2m\n", "2m\n  rule_query_offset: 1m\n") + "rule_files:\n- a.yml\n"
    rules = body(groups=[group(30, ("recording", "job:m"), ("alerting", "Down"))])

    found = ScrapeSettings.parse(BOTH, config(with_rules), rules, FLAGS)

    why = "the evaluation interval and offset (1m30s) of job:m + 2 s"
    assert found.settle(Query(name="q", select="job:m")) == (92.0, why)
    assert found.needed_seconds(Query(name="q", select="ALERTS")) == 90.0
    assert found.needed_seconds(Query(name="q", select='m{job="fast"}')) == 10.0
    found = ScrapeSettings.parse(BOTH, config(with_rules), b"", FLAGS)
    assert found.needed_seconds(Query(name="q", select="m")) == 180.0


@pytest.mark.parametrize(
    ("job", "more", "any_job", "own_times"),
    [
        (FAST_JOB, {}, False, False),
        (FAST_JOB + "  honor_labels: true\n", {}, True, False),
        (
            FAST_JOB + "  metric_relabel_configs:\n  - regex: (.*)\n    target_label: job\n",
            {},
            True,
            False,
        ),
        (FAST_JOB + "  metric_relabel_configs:\n  - action: labelmap\n", {}, True, False),
        (FAST_JOB + "  metric_relabel_configs:\n  - target_label: a\n", {}, False, False),
        # What rules make of its targets shows in these.
        (FAST_JOB + "  relabel_configs:\n  - target_label: job\n", {}, False, False),
        (FAST_JOB, {"scrapeUrl": "https://a:10250/metrics/cadvisor"}, False, True),
        (FAST_JOB, {"scrapeUrl": "http://a/federate?match[]=up"}, False, True),
        (
            FAST_JOB.replace("timestamps: true", "timestamps: false"),
            {"scrapeUrl": "http://a/federate"},
            False,
            False,
        ),
        # Of a file that the configuration does not show.
        (SLOW_JOB, {}, True, False),
    ],
)
def test_whose_series_and_times_a_job_has(
    job: str, more: dict[str, Any], any_job: bool, own_times: bool
) -> None:
    targets = body(activeTargets=[target("fast", "15s", "10s", **more)])
    found = ScrapeSettings.parse(targets, config("scrape_configs:\n" + job), b"", FLAGS)
    assert found.targets[0] == Target("fast", 15, 10, any_job, own_times)


def test_jobs_without_targets_may_get_some() -> None:
    targets = body(activeTargets=[target("fast", "15s", "10s")])
    found = ScrapeSettings.parse(targets, config(SCRAPES), b"", FLAGS)
    assert found.targets == (FAST, SLOW)
    renamed = SCRAPES + "  relabel_configs:\n  - target_label: job\n"
    found = ScrapeSettings.parse(targets, config(renamed), b"", FLAGS)
    assert found.targets == (FAST, Target("slow", 60, 20, any_job=True))


@pytest.mark.parametrize(
    "targets",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"data": 1}',
        body(activeTargets=None),
        body(activeTargets=[1, None, {}, {"labels": 1}]),
        body(activeTargets=[target("a", "often", "10s"), target("b", None, 1)]),
    ],
)
@pytest.mark.parametrize("configuration", [b"", b"{", body(), config("- rule_files:")])
def test_what_others_report_is_nothing(targets: bytes, configuration: bytes) -> None:
    found = ScrapeSettings.parse(targets, configuration)
    assert (found.targets, found.evaluation_seconds) == ((), None)
    settle = found.settle(Query(name="q", select="m"))
    assert settle == (30.0, "the source does not say how it scrapes")


@pytest.mark.parametrize("rules", [b"", b"{", body(groups=[1]), body(groups=[{"interval": "?"}])])
def test_rules_that_are_not_told_are_those_of_the_configuration(rules: bytes) -> None:
    with_rules = config(SCRAPES + "rule_files:\n- a.yml\n")
    found = ScrapeSettings.parse(BOTH, with_rules, rules, FLAGS)
    assert found.needed_seconds(Query(name="q", select="m")) == 120.0


@pytest.mark.parametrize(
    ("query", "rules", "expected"),
    [
        ({"select": 'm{job="fast"}'}, {}, 10.0),
        ({"select": 'm{job!="fast"}'}, {}, 20.0),
        ({"select": "m"}, {}, 20.0),
        ({"select": 'm{job="unknown"}'}, {}, 20.0),
        ({"select": 'm{job="fast"}'}, {"m": 120.0}, 120.0),
        ({"select": 'm{job="fast"}'}, {"n": 120.0}, 10.0),
        ({"select": '{job="fast"}'}, {"n": 120.0}, 120.0),
        ({"expr": 'rate(m{job="fast"}[5m])', "step": 15}, {}, 16.5),
        ({"expr": 'm{job="fast"} / on () n{job="slow"}', "step": 15}, {}, 66.0),
        ({"expr": "m / on () n", "step": 15}, {"n": 300.0}, 300.0),
    ],
)
def test_what_a_query_needs(
    query: dict[str, Any], rules: dict[str, float], expected: float
) -> None:
    settings = ScrapeSettings((FAST, SLOW), None, rules)
    assert settings.needed_seconds(Query(name="q", **query)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        (Target("j", 15, 10), "select", (10, "scrape time-out (10s) of job j")),
        (Target("j", 15, 10), "expr", (16.5, "1.1 × scrape interval (15s) of job j")),
        (Target("j", 10, 20), "expr", (20, "scrape time-out (20s) of job j")),
        (
            Target("j", 15, 10, own_times=True),
            "select",
            (
                26.5,
                "1.1 × scrape interval (15s) + time-out (10s) of job j, "
                "whose samples have times of their own",
            ),
        ),
    ],
)
def test_when_nothing_of_a_target_is_to_come_any_more(
    target: Target, kind: str, expected: tuple[float, str]
) -> None:
    seconds, why = target.needs(kind)
    assert seconds == pytest.approx(expected[0])
    assert why == expected[1]


def test_nothing_is_known_of_a_server_that_reports_nothing() -> None:
    assert ScrapeSettings((), None).needed_seconds(Query(name="q", select="m")) is None


@pytest.mark.parametrize(
    ("flags", "more", "expected"),
    [
        (FLAGS, "", (12.0, "scrape time-out (10s) of job fast + 2 s")),
        (b"", "", (30.0, "the source does not say all that writes to it")),
        (
            body(**{"web.enable-remote-write-receiver": "true"}),
            "",
            (30.0, "samples may be pushed to the source"),
        ),
        (
            body(**{"enable-feature": "native-histograms,otlp-write-receiver"}),
            "",
            (30.0, "samples may be pushed to the source"),
        ),
        (FLAGS, "remote_read:\n- url: http://b\n", (30.0, "the source reads from another")),
    ],
)
def test_the_default_holds_where_not_all_is_known(
    flags: bytes, more: str, expected: tuple[float, str]
) -> None:
    found = ScrapeSettings.parse(BOTH, config(SCRAPES + more), b"", flags)
    assert found.settle(Query(name="q", select='m{job="fast"}')) == expected
    seconds, why = found.settle(Query(name="q", expr='m{job="slow"}', step=15))
    assert seconds == pytest.approx(68.0), "what is known and longer holds"
    assert why == "1.1 × scrape interval (1m) of job slow + 2 s"


# -- said once for each run of the source ----------------------------------------------------------


class Rig:
    def __init__(self, *settle_seconds: float | None) -> None:
        self.registry = CollectorRegistry()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.telemetry = Telemetry("extractor", self.registry)
        self.answers: list[ScrapeSettings | SourceUnavailable] = []
        self.asked = 0
        self.now_ms = 1_000_000
        self.plans = [self.plan(number, seconds) for number, seconds in enumerate(settle_seconds)]
        self.check = SettleCheck(self.plans, self.scrape_settings, self.telemetry)

    def plan(self, number: int, settle_seconds: float | None) -> Plan:
        query = Query(name=f"q{number}", select='m{job="fast"}', settle_seconds=settle_seconds)
        feed = Feed(query.name, "hot", "select", "f")
        plan = Plan(feed, query, 15_000, query.settle_ms(None), 0, 0, 0)
        return replace(plan, settles_by_source=settle_seconds is None)

    def scrape_settings(self) -> ScrapeSettings:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, SourceUnavailable):
            raise answer
        return answer

    def turns(self, *runs: str | None) -> None:
        for name in runs:
            run = None if name is None else ServerRun(name, "c", "15d")
            self.check(SourceCheck(self.now_ms, run, 0, 0))

    def missing(self, number: int) -> float | None:
        labels = {"query": f"q{number}", "tier": "hot"}
        return self.registry.get_sample_value("etl_settle_missing_seconds", labels)


def events_in(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.message for record in caplog.records]


def test_too_short_a_time_is_told_once_for_each_run(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(6, 10)
    rig.answers = [ScrapeSettings((FAST,), None), ScrapeSettings((SLOW,), None)]

    rig.turns("first", "first", "first")

    assert (rig.asked, rig.missing(0), rig.missing(1)) == (1, 4.0, 0.0)
    assert events_in(caplog).count("settle_too_short") == 1
    rig.turns("second", "second")
    assert (rig.asked, rig.missing(0), rig.missing(1)) == (2, 14.0, 10.0)
    assert [plan.settle_ms for plan in rig.plans] == [6_000, 10_000], "what is configured holds"


def test_a_plan_follows_what_the_source_reports() -> None:
    """It keeps what it has until the source has told, and while that does not answer."""
    rig = Rig(None)
    (plan,) = rig.plans
    answers = [ScrapeSettings((one,), None, {}, "") for one in (FAST, SLOW, FAST)]
    rig.answers = [SourceUnavailable("503"), answers[0], SourceUnavailable("503"), *answers[1:]]
    heads_ms = []
    for run, settle_ms in (("a", 30_000), ("a", 12_000), ("b", 12_000), ("b", 22_000)):
        rig.turns(run)
        assert plan.settle_ms == settle_ms
        heads_ms.append(plan.head_ms(600_000))
    assert heads_ms == [570_000, 585_000, 585_000, 570_000]
    assert plan.settle_why == "scrape time-out (20s) of job slow + 2 s"
    assert rig.missing(0) == 0.0
    rig.now_ms += ASK_AGAIN_MS
    rig.turns("b", "b")
    assert (plan.settle_ms, rig.asked) == (12_000, 5), "targets change within a run, too"


@pytest.mark.parametrize("run", ["one", None])
def test_a_server_that_does_not_say_is_left_alone(
    run: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(20)
    rig.answers = [SourceUnavailable("503")] * 3

    rig.turns(*[run] * 10)

    assert rig.asked == 3
    assert rig.missing(0) is None
    assert "settle_too_short" not in events_in(caplog)


def test_a_query_may_have_a_settle_time_of_its_own_and_looking_ahead_is_added() -> None:
    assert Query(name="q", select="m").settle_ms(30) == 30_000
    assert Query(name="q", select="m").settle_ms(None) == 30_000
    assert Query(name="q", select="m", settle_seconds=90).settle_ms(30) == 90_000
    assert Query(name="q", expr="m offset -5m", step=15).settle_ms(30) == 330_000
    settings = ExtractSettings.model_validate(
        {
            "prometheus_url": "http://127.0.0.1:9",
            "queries": [{"name": "q", "select": "m", "settle_seconds": "1m30s"}],
        }
    )
    (query,) = settings.queries
    assert query.settle_ms(settings.settle_seconds) == 90_000
    assert not query.settles_by_source(settings.settle_seconds)


@pytest.mark.parametrize("written", [{}, {"settle_seconds": "auto"}, {"settle_seconds": None}])
def test_the_source_decides_where_nothing_is_configured(written: dict[str, Any]) -> None:
    settings = ExtractSettings.model_validate({"prometheus_url": "http://127.0.0.1:9", **written})
    assert settings.settle_seconds is None
    assert Query(name="q", select="m").settles_by_source(settings.settle_seconds)
