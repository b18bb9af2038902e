"""What is proposed for what was found, and the file that says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.config import load_settings
from common.samples.layout import DEFAULT_LAYOUT, NAME_TAG, Layout
from etlctl.init.proposal import propose
from etlctl.init.sink import SinkFacts
from etlctl.init.source import Job, SourceFacts, of_replicas, of_sources
from etlctl.init.text import Connections, etl_yaml

DAY_MS = 86_400_000
SINK = SinkFacts("1.6.7", is_1=True, bucket_is_there=True)
WHERE = Connections("http://prometheus:9090", "http://influxdb:8086", "o", "b")


def facts(*jobs: Job, lowest_ms: int | None = None, **more: object) -> SourceFacts:
    return SourceFacts(
        version="3.5.0",
        retention="15d",
        now_ms=20 * DAY_MS,
        lowest_ms=lowest_ms,
        metrics=10,
        settle_seconds=26.5,
        jobs=jobs,
        **more,  # type: ignore[arg-type]
    )


def test_what_it_comes_to() -> None:
    jobs = Job("node", 2, 1000, 15.0), Job("slow", 1, 100, 60.0)
    proposal = propose(facts(*jobs, lowest_ms=10 * DAY_MS), jobs)
    by_name = {query.name: query for query in proposal.queries}
    assert by_name["node"].samples_a_day == 1000 * 5760
    assert by_name["slow"].samples_a_day == 100 * 1440
    assert by_name["health"].samples_a_day == 3 * 5760
    assert proposal.samples_a_day == 1000 * 5760 + 100 * 1440 + 3 * 5760
    assert proposal.stored_bytes_a_day == 3 * proposal.samples_a_day
    assert proposal.history_samples == 10 * proposal.samples_a_day
    assert (proposal.interval_seconds, proposal.settle_seconds) == (15, 27)
    assert proposal.lookback_seconds == 3600


@pytest.mark.parametrize(
    ("history_seconds", "written"),
    [(0, "1h"), (7, "5m"), (1000, "16m"), (3599, "59m"), (9e9, "1h")],
)
def test_the_first_start_reaches_back_as_far_as_there_is_something_yet_not_for_seconds(
    history_seconds: float, written: str
) -> None:
    jobs = (Job("node", 1, 10, 15.0),)
    lowest_ms = round(20 * DAY_MS - history_seconds * 1000) if history_seconds else None
    found = facts(*jobs, lowest_ms=lowest_ms)
    text = etl_yaml(WHERE, found, SINK, propose(found, jobs))
    assert f"  initial_lookback_seconds: {written}\n" in text


def test_intervals_that_the_configuration_does_not_take_are_rounded_up() -> None:
    jobs = (Job("fast", 1, 10, 0.25),)
    proposal = propose(facts(*jobs), jobs)
    assert proposal.interval_seconds == 1
    assert proposal.queries[0].step_seconds == 1
    assert proposal.history_samples == 0


def test_labels_with_very_many_values_are_named_with_the_rule_that_drops_them() -> None:
    jobs = (Job("node", 1, 10, 15.0),)
    found = facts(*jobs, many_values={"request_id": 50_000})
    text = etl_yaml(WHERE, found, SINK, propose(found, jobs))
    assert "# Label request_id has 50,000 values. To do without it:" in text
    rule = text.split("#   - ")[1].splitlines()[0]
    assert yaml.safe_load(rule) == {"action": "labeldrop", "regex": "request_id"}


@settings(max_examples=40, deadline=None)
@example(names=["TRUE", "\x7f", "\U0001f600", "a\nb", "#: -", "last"])
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, max_size=5)
)
def test_any_job_makes_a_file_that_is_valid(tmp_path_factory: object, names: list[str]) -> None:
    folder: Path = tmp_path_factory.mktemp("made")  # type: ignore[attr-defined]
    jobs = tuple(Job(name, 1, 10, 15.0) for name in names) or (Job("one", 1, 10, 15.0),)
    found, some = facts(*jobs), jobs[: max(1, len(jobs) - 1)]
    file = folder / "etl.yaml"
    file.write_text(etl_yaml(WHERE, found, SINK, propose(found, some)), encoding="utf-8")
    queries = load_settings(file, environ={}).extract.queries
    assert len(queries) == 1 + len(some)


def test_one_table_is_proposed_for_many_metrics_where_influxdb_3_has_one_for_each(
    tmp_path: Path,
) -> None:
    jobs = (Job("node", 1, 10, 15.0),)
    three = SinkFacts("3.5.0", is_1=False, bucket_is_there=True)
    cases = ((1_001, three, True), (1_000, three, False), (9_999, SINK, False))
    for metrics, sink, proposed in cases:
        found = replace(facts(*jobs), metrics=metrics)
        file = tmp_path / "etl.yaml"
        file.write_text(etl_yaml(WHERE, found, sink, propose(found, jobs)), encoding="utf-8")
        layout = load_settings(file, environ={}).load.layout.layout
        expected = Layout("prometheus", name_tag=NAME_TAG) if proposed else DEFAULT_LAYOUT
        assert layout == expected
        assert ("may have 256 of them" in file.read_text(encoding="utf-8")) == proposed


def test_of_replicas_the_fullest_and_the_longest_hold() -> None:
    first = facts(Job("node", 2, 1000, 15.0), Job("gone", 1, 5, 15.0), lowest_ms=3 * DAY_MS)
    second = facts(Job("node", 2, 900, 15.0), lowest_ms=DAY_MS, many_values={"id": 2000})
    second = replace(second, settle_seconds=None, version="3.4.0")
    found = of_replicas([first, second])
    assert [(job.name, job.series) for job in found.jobs] == [("gone", 5), ("node", 1000)]
    assert (found.lowest_ms, found.settle_seconds) == (DAY_MS, 26.5)
    assert found.many_values == {"id": 2000}
    assert found.version == "3.5.0, 3.4.0"
    assert found.retention == "15d"
    assert of_replicas([first]).jobs == first.jobs


def test_several_sources_are_read_where_they_have_the_job(tmp_path: Path) -> None:
    north = facts(Job("node", 2, 1000, 15.0), Job("db", 1, 50, 30.0))
    south = facts(Job("node", 3, 500, 60.0))
    found = of_sources({"north": north, "south": south})
    proposal = propose(found, found.jobs)
    by_name = {query.name: query for query in proposal.queries}
    assert by_name["node"].series == 1500
    assert by_name["health"].series == 6
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("t\n")
    where = replace(
        WHERE,
        prometheus_url="",
        sources={"north": "http://n:9090, http://n2:9090", "south": "http://s:9090/prometheus"},
        prometheus_bearer_token_file=str(token),
        prometheus_params={"yes": "1"},
    )
    file = tmp_path / "etl.yaml"
    file.write_text(etl_yaml(where, found, SINK, proposal), encoding="utf-8")
    settings = load_settings(file, environ={})
    of_north, of_south = settings.extract.sources
    assert of_north.replicas == ("http://n:9090", "http://n2:9090")
    assert of_south.url == "http://s:9090/prometheus"
    for source in (of_north, of_south):
        assert source.labels == {"prometheus": source.name}
        assert source.auth.bearer_token_file == str(token)
        assert source.params == {"yes": ("1",)}
    names = [query.name for query in settings.extract.queries]
    assert sorted(names) == [
        *("db@north", "health@north", "health@south", "node@north", "node@south"),
    ]


def test_replicas_are_written_as_such(tmp_path: Path) -> None:
    found = facts(Job("node", 2, 1000, 15.0))
    where = replace(WHERE, prometheus_url="http://a:9090,http://b:9090")
    file = tmp_path / "etl.yaml"
    file.write_text(etl_yaml(where, found, SINK, propose(found, found.jobs)), encoding="utf-8")
    assert load_settings(file, environ={}).extract.replicas == ("http://a:9090", "http://b:9090")
