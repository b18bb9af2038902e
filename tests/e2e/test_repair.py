"""What is missing or altered in the sink is found and extracted again, by real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.state.ranges import without
from tests.e2e.pipeline import Pipeline

pytestmark = pytest.mark.timeout(180)

METRIC = "http_requests_total"


def longest(pipeline: Pipeline, until_ms: int) -> dict[str, Any]:
    """The series of the metric with the most points up to a time; the first of several."""
    found = pipeline.stack.influx.query(
        f"SELECT value FROM {METRIC} WHERE time <= {until_ms}ms GROUP BY *",
        database=pipeline.bucket(),
        epoch="ms",
    )
    return max(found, key=lambda series: len(series["values"]))


def points(pipeline: Pipeline, until_ms: int) -> dict[int, float]:
    """Its points by time."""
    return dict(longest(pipeline, until_ms)["values"])


def series_key(pipeline: Pipeline, until_ms: int) -> str:
    """Its key in line protocol."""
    tags = longest(pipeline, until_ms)["tags"]
    return ",".join([METRIC, *(f"{k}={v}" for k, v in sorted(tags.items()) if v)])


def delete(pipeline: Pipeline, time_ms: int) -> None:
    """Take the points of the metric at one time out of the sink."""
    pipeline.stack.influx.query(
        f"DELETE FROM {METRIC} WHERE time = {time_ms}ms", database=pipeline.bucket()
    )


def loaded_range(pipeline: Pipeline) -> tuple[int, int]:
    """What is loaded by now of every query, and holds some points."""
    pipeline.until_flowing(500)
    to_ms = pipeline.now_ms()
    pipeline.until_loaded_up_to(to_ms)
    return min(feed.origin_ms for feed in pipeline.feeds().values()), to_ms


def verify(pipeline: Pipeline, range_ms: tuple[int, int], *options: str) -> tuple[int, Any]:
    start_ms, end_ms = range_ms
    done = pipeline.etlctl(
        "verify", "--from", str(start_ms / 1000), "--to", str(end_ms / 1000), "--json", *options
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_verify_repairs_what_is_missing_and_what_was_altered(pipeline: Pipeline) -> None:
    range_ms = loaded_range(pipeline)
    times_ms = sorted(points(pipeline, range_ms[1]))
    hole_ms, altered_ms = times_ms[0], times_ms[-1]
    before = points(pipeline, range_ms[1])
    pipeline.write(f"{series_key(pipeline, range_ms[1])} value=-12345 {altered_ms}")
    delete(pipeline, hole_ms)

    code, found = verify(pipeline, range_ms)
    assert code == 1
    (query,) = [one for one in found["queries"] if one["unexplained"]]
    assert (query["missing"] >= 1, query["different"]) == (True, 1)
    ranges = query["unloaded_ms"]
    for time_ms in (hole_ms, altered_ms):
        assert any(start < time_ms <= end for start, end in ranges)

    code, proven = verify(pipeline, range_ms, "--repair")
    assert code == 0, json.dumps(proven)
    assert proven["verdict"] == "equal"
    (repaired,) = proven["repaired"]
    assert repaired["query"] == query["query"]
    assert without(map(tuple, ranges), map(tuple, repaired["ranges"])) == []
    assert points(pipeline, range_ms[1]) == before
    audit = pipeline.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
    assert [gap for feed in pipeline.feeds() for gap in pipeline.windows.gaps(feed)] == []


def test_what_a_report_says_is_repaired(pipeline: Pipeline, tmp_path: Path) -> None:
    range_ms = loaded_range(pipeline)
    before = points(pipeline, range_ms[1])
    delete(pipeline, sorted(before)[len(before) // 2])
    code, found = verify(pipeline, range_ms)
    assert code == 1
    report = tmp_path / "report.json"
    report.write_text(json.dumps(found))
    done = pipeline.etlctl("repair", str(report), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["verdict"] == "equal"
    assert points(pipeline, range_ms[1]) == before
    for text, said in (
        ("{", "is no report of"),
        (
            json.dumps(found | {"tiers": {"hot": {"from_ms": 1, "to_ms": "soon"}}}),
            "is no report of",
        ),
        (json.dumps({"problems": [], "exit_code": 3}), "is no report of"),
    ):
        report.write_text(text)
        refused = pipeline.etlctl("repair", str(report))
        assert (refused.returncode, said in refused.stderr) == (2, True)


def test_a_point_that_nobody_expects_is_left_for_a_person(pipeline: Pipeline) -> None:
    range_ms = loaded_range(pipeline)
    time_ms = max(points(pipeline, range_ms[1])) - 1
    pipeline.write(f"{series_key(pipeline, range_ms[1])} value=1 {time_ms}")
    try:
        code, found = verify(pipeline, range_ms, "--repair")
        assert code == 1
        assert found["repaired"] == []
        assert sum(query["extra"] for query in found["queries"]) == 1
    finally:
        delete(pipeline, time_ms)


def test_a_range_is_extracted_again_by_hand(pipeline: Pipeline) -> None:
    range_ms = loaded_range(pipeline)
    before = points(pipeline, range_ms[1])
    hole_ms = sorted(before)[len(before) // 2]
    delete(pipeline, hole_ms)
    (name,) = [q["name"] for q in pipeline.config()["extract"]["queries"] if "select" in q]
    done = pipeline.etlctl(
        *("extract", "again", "--query", name, "--wait-seconds", "60"),
        *("--from", str(hole_ms / 1000 - 1), "--to", str(hole_ms / 1000)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is extracted again" in done.stdout
    assert points(pipeline, range_ms[1]) == before
    assert verify(pipeline, range_ms)[0] == 0

    pipeline.until_sealed()
    sealed = pipeline.etlctl("verify", "--sealed", "--query", name)
    assert "loaded again in part" not in sealed.stdout, "whole windows were extracted again"


def test_what_cannot_be_extracted_again_is_said(pipeline: Pipeline) -> None:
    loaded_range(pipeline)
    (name,) = [q["name"] for q in pipeline.config()["extract"]["queries"] if "select" in q]
    of_query = ("extract", "again", "--query", name)
    too_old = pipeline.etlctl(*of_query, "--from=-3d", "--to=-2d")
    assert too_old.returncode == 1
    assert "is not extracted again: " in too_old.stdout
    assert "nothing of the range can be extracted again" in too_old.stderr
    for arguments, said in (
        ((*of_query, "--from=-1h", "--to=-2h"), "nothing lies between"),
        ((*of_query, "--from=2100-01-01T00:00:00Z", "--to=2101-01-01T00:00:00Z"), "has not come"),
        ((*of_query, "--from=soon", "--to=now"), "--from: 'soon' is not a time"),
        (("extract", "again", "--query", "nope", "--from=-1h", "--to=now"), "--query nope: is not"),
        ((*of_query, "--tier", "icy", "--from=-1h", "--to=now"), "--tier icy: is not"),
    ):
        refused = pipeline.etlctl(*arguments)
        assert refused.returncode == 2, refused.stderr
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
