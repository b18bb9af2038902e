"""Whether samples settle for long enough, and how far the source's clock is believed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.config import ExtractSettings, Query
from common.errors import SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.state.windows import Feed
from services.extractor.history import ServerRun, SourceCheck
from services.extractor.source.scrape_settings import ScrapeSettings, Target
from services.extractor.source.settling import SettleCheck
from services.extractor.windows import Plan

FAST, SLOW = Target("fast", 15, 10), Target("slow", 60, 20)


def body(**data: Any) -> bytes:
    return json.dumps({"status": "success", "data": data}).encode()


def target(job: str, interval: Any, timeout: Any) -> dict[str, Any]:
    return {"labels": {"job": job}, "scrapeInterval": interval, "scrapeTimeout": timeout}


def config(text: str) -> bytes:
    return body(yaml=text)


GLOBAL = "global:\n  scrape_interval: 1m\n  scrape_timeout: 10s\n  evaluation_interval: 2m\n"


def test_what_a_server_reports() -> None:
    targets = body(
        activeTargets=[
            target("fast", "15s", "10s"),
            target("fast", "15s", "10s"),
            target("slow", "1m0s", "20s"),
        ]
    )

    found = ScrapeSettings.parse(targets, config(GLOBAL + "rule_files:\n- rules/*.yml\n"))

    assert found == ScrapeSettings((FAST, SLOW), 120.0)
    assert ScrapeSettings.parse(targets, config(GLOBAL)).evaluation_seconds is None


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
    assert ScrapeSettings.parse(targets, configuration) == ScrapeSettings((), None)


@pytest.mark.parametrize(
    ("query", "evaluation", "expected"),
    [
        ({"select": 'm{job="fast"}'}, None, 26.5),
        ({"select": 'm{job!="fast"}'}, None, 86.0),
        ({"select": "m"}, None, 86.0),
        ({"select": 'm{job="unknown"}'}, None, 86.0),
        ({"select": 'm{job="fast"}'}, 120.0, 120.0),
        ({"expr": 'rate(m{job="fast"}[5m])', "step": 15}, None, 26.5),
        ({"expr": 'm{job="fast"} / on () n{job="slow"}', "step": 15}, None, 86.0),
    ],
)
def test_what_a_query_needs(
    query: dict[str, Any], evaluation: float | None, expected: float
) -> None:
    needed = ScrapeSettings((FAST, SLOW), evaluation).needed_seconds(Query(name="q", **query))
    assert needed == pytest.approx(expected)


def test_nothing_is_known_of_a_server_that_reports_nothing() -> None:
    assert ScrapeSettings((), None).needed_seconds(Query(name="q", select="m")) is None


# -- said once for each run of the source ----------------------------------------------------------


class Rig:
    def __init__(self, *settle_seconds: float) -> None:
        self.registry = CollectorRegistry()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.telemetry = Telemetry("extractor", self.registry)
        self.answers: list[ScrapeSettings | SourceUnavailable] = []
        self.asked = 0
        plans = [self.plan(number, seconds) for number, seconds in enumerate(settle_seconds)]
        self.check = SettleCheck(plans, self.scrape_settings, self.telemetry)

    def plan(self, number: int, settle_seconds: float) -> Plan:
        query = Query(name=f"q{number}", select='m{job="fast"}', settle_seconds=settle_seconds)
        feed = Feed(query.name, "hot", "select", "f")
        return Plan(feed, query, 15_000, query.settle_ms(30), 0, 0, 0)

    def scrape_settings(self) -> ScrapeSettings:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, SourceUnavailable):
            raise answer
        return answer

    def turns(self, *runs: str | None) -> None:
        for name in runs:
            run = None if name is None else ServerRun(name, "c", "15d")
            self.check(SourceCheck(0, run, 0, 0))

    def missing(self, number: int) -> float | None:
        labels = {"query": f"q{number}", "tier": "hot"}
        return self.registry.get_sample_value("etl_settle_missing_seconds", labels)


def events_in(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.message for record in caplog.records]


def test_too_short_a_time_is_told_once_for_each_run(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(20, 26.5)
    rig.answers = [ScrapeSettings((FAST,), None), ScrapeSettings((SLOW,), None)]

    rig.turns("first", "first", "first")

    assert (rig.asked, rig.missing(0), rig.missing(1)) == (1, 6.5, 0.0)
    assert events_in(caplog).count("settle_too_short") == 1
    rig.turns("second", "second")
    assert (rig.asked, rig.missing(0), rig.missing(1)) == (2, 66.0, 59.5)


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
    assert Query(name="q", select="m", settle_seconds=90).settle_ms(30) == 90_000
    assert Query(name="q", expr="m offset -5m", step=15).settle_ms(30) == 330_000
    settings = ExtractSettings.model_validate(
        {
            "prometheus_url": "http://127.0.0.1:9",
            "queries": [{"name": "q", "select": "m", "settle_seconds": "1m30s"}],
        }
    )
    assert settings.queries[0].settle_ms(settings.settle_seconds) == 90_000
