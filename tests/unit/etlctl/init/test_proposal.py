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
from etlctl.init.source import Job, SourceFacts
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
