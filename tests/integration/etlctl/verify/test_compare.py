"""``etlctl verify`` against a real Prometheus and a real influxd: what differs."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

from common.config import load_settings
from common.samples.layout import Place
from devtools import PROJECT_ROOT
from services.verifier.connect import sink_of
from services.verifier.points import SeriesKey
from tests.integration.etlctl.verify.world import EXPR, SELECT, World, bits

Capture = pytest.CaptureFixture[str]

# Finite and not: what the three metrics of the job hold, see verify.world.history.
SOURCE = 3 * 240 + 120
EXPECTED = SOURCE - 72


def figures(query: dict[str, Any]) -> dict[str, Any]:
    return {
        name: query[name]
        for name in ("expected", "found", "equal", "missing", "extra", "different", "unexplained")
        if query[name]
    }


def test_equal_sides(world: World, capsys: Capture) -> None:
    world.write(world.expected())
    result = world.verify(capsys, "--json")
    query = result.query()
    assert result.code == 0, result.err
    assert (result.document["verdict"], query["verdict"]) == ("equal", "equal")
    assert query["source"] == SOURCE
    assert query["dropped"] == {"nan": 24, "inf": 48}
    assert figures(query) == {"expected": EXPECTED, "found": EXPECTED, "equal": EXPECTED}


def test_the_table_says_equal(world: World, capsys: Capture) -> None:
    world.write(world.expected())
    result = world.verify(capsys)
    assert result.code == 0
    assert "Source and sink are equal: " in result.out
    assert "raw" in result.out


def test_a_point_that_was_deleted_is_missing(world: World, capsys: Capture) -> None:
    world.write(world.expected())
    time_ms = world.start_ms + 15_000
    world.delete("load", {"host": "a", "job": "app"}, time_ms)
    result = world.verify(capsys, "--json")
    query = result.query()
    assert result.code == 1
    assert figures(query) == {
        "expected": EXPECTED,
        "found": EXPECTED - 1,
        "equal": EXPECTED - 1,
        "missing": 1,
        "unexplained": 1,
    }
    (example,) = query["examples"]
    assert example["kind"] == "missing"
    assert example["measurement"] == "load"
    assert example["tags"] == {"host": "a", "job": "app"}
    assert example["timestamp_ms"] == time_ms
    assert example["found"] is None


def test_a_value_one_bit_away_is_different(world: World, capsys: Capture) -> None:
    points = world.expected()
    series, time_ms, value = points[3]
    near = 3.0000000000000004 if value == 3.0 else value * (1 + 2**-52)
    assert near != value
    world.write([*points, (series, time_ms, near)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert figures(result.query()) == {
        "expected": EXPECTED,
        "found": EXPECTED,
        "equal": EXPECTED - 1,
        "different": 1,
        "unexplained": 1,
    }
    (example,) = result.query()["examples"]
    assert (example["expected"], example["found"]) == (value, near)


def test_zero_in_place_of_minus_zero_is_different(world: World, capsys: Capture) -> None:
    points = world.expected()
    minus = [point for point in points if bits(point[2]) == bits(-0.0)]
    series, time_ms, _ = minus[0]
    world.write([*points, (series, time_ms, 0.0)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query()["different"] == 1
    assert "expected -0.0, found 0.0" in world.verify(capsys).out


def test_a_point_too_many_in_a_known_series_is_extra(world: World, capsys: Capture) -> None:
    points = world.expected()
    world.write([*points, (points[0][0], world.start_ms + 15_001, 1.0)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert figures(result.query()) == {
        "expected": EXPECTED,
        "found": EXPECTED + 1,
        "equal": EXPECTED,
        "extra": 1,
        "unexplained": 1,
    }


@pytest.mark.parametrize(
    ("series", "extra", "foreign"),
    [
        (("load", (("host", "ghost"), ("job", "app"))), 1, 0),
        (("load", (("host", "a"), ("job", "other"))), 0, 1),
        (("strange", (("job", "app"),)), 0, 0),
    ],
    ids=["ours", "another job's", "a metric that Prometheus never had"],
)
def test_a_series_too_many_counts_if_it_can_only_be_ours(
    world: World,
    capsys: Capture,
    series: tuple[str, tuple[tuple[str, str], ...]],
    extra: int,
    foreign: int,
) -> None:
    world.write([*world.expected(), (series, world.start_ms + 15_000, 1.0)])
    result = world.verify(capsys, "--json")
    assert (result.query()["extra"], result.document["foreign"]) == (extra, foreign)
    assert result.code == (1 if extra else 0)


def test_another_tag_set_is_missing_and_extra(world: World, capsys: Capture) -> None:
    points = world.expected()
    (name, tags), time_ms, value = points[0]
    world.write([((name, (*tags, ("zone", "x"))), time_ms, value), *points[1:]])
    assert figures(world.verify(capsys, "--json").query()) == {
        "expected": EXPECTED,
        "found": EXPECTED,
        "equal": EXPECTED - 1,
        "missing": 1,
        "extra": 1,
        "unexplained": 2,
    }


def test_a_value_that_is_no_number_is_different(world: World, capsys: Capture) -> None:
    world.queries = [{"name": "raw", "select": 'late{job="app"}'}]
    odd = [point for point in world.expected() if point[0][0] == "late"]
    lines = [f'late,host=a,job=app value="1" {time_ms}' for _, time_ms, _ in odd]
    world.write_raw("\n".join(lines))
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query()["different"] == len(odd)
    assert result.query()["examples"][0]["found"] == "not a number"


def test_an_empty_bucket_gives_three_examples_one_a_series(world: World, capsys: Capture) -> None:
    result = world.verify(capsys, "--json")
    assert result.code == 1
    examples = result.query()["examples"]
    assert len(examples) == 3
    for example in examples:
        series = (example["measurement"], tuple(example["tags"].items()))
        times = [time_ms for key, time_ms, _ in world.expected() if key == series]
        assert example["points"] == {"missing": len(times)}
        assert (example["timestamp_ms"], example["last_ms"]) == (min(times), max(times))
    lines = world.verify(capsys).out.splitlines()
    at = lines.index("Without a reason, for example:")
    assert all(line.startswith("  raw: ") for line in lines[at + 1 : at + 4])
    assert lines[at + 4 :] == [f"Source and sink differ: {EXPECTED} points without a reason."]


def test_a_query_that_matches_nothing_is_named_and_not_equal(world: World, capsys: Capture) -> None:
    world.queries = [SELECT, {"name": "none", "select": '{job="nobody"}'}]
    world.write(world.expected())
    result = world.verify(capsys, "--json")
    assert (result.code, result.document["verdict"]) == (8, "nothing_to_compare")
    assert (result.query("raw")["verdict"], result.query("none")["verdict"]) == (
        "equal",
        "nothing_to_compare",
    )
    said = world.verify(capsys).out
    assert "none: it matches no sample of the source in this range" in said
    assert said.splitlines()[-1] == "There was nothing to compare of none; the rest is equal."
    assert world.verify(capsys, "--accept", "nothing_to_compare").code == 0


def test_an_expression_is_compared_on_its_grid(world: World, capsys: Capture) -> None:
    world.queries = [EXPR]
    points = world.expected_by_host()
    world.write(points)
    result = world.verify(capsys, "--json")
    assert result.code == 0, result.out
    assert result.query("by_host")["expected"] == len(points) == 240
    time_ms = points[100][1]
    world.delete("by_host", {"host": "a"}, time_ms)
    world.write([(("by_host", (("who", "knows"),)), time_ms, 1.0)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    query = result.query("by_host")
    assert (query["missing"], query["extra"], query["unexplained"]) == (1, 1, 2)


def test_one_query_of_several(world: World, capsys: Capture) -> None:
    world.queries = [SELECT, EXPR]
    world.write(world.expected())
    result = world.verify(capsys, "--json", "--query", "raw")
    assert result.code == 0
    assert [one["query"] for one in result.document["queries"]] == ["raw"]
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query("by_host")["missing"] == len(world.expected_by_host())


def test_the_range_is_open_at_its_start_and_closed_at_its_end(
    world: World, capsys: Capture
) -> None:
    first_ms, second_ms = world.start_ms + 15_000, world.start_ms + 30_000
    inside = [point for point in world.expected() if first_ms < point[1] <= second_ms]
    world.write(inside)
    bounds = ["--from", str(first_ms / 1_000), "--to", str(second_ms / 1_000)]
    result = world.run(capsys, "verify", *bounds, "--json")
    assert result.code == 0, result.out
    assert result.query()["expected"] == len(inside) > 0


def test_the_transform_is_applied(world: World, capsys: Capture) -> None:
    world.changes = {
        "transform.valid_metrics": ["load"],
        "transform.relabel": [
            {"source_labels": ["host"], "regex": "b.*", "action": "drop"},
            {"source_labels": ["host"], "target_label": "machine", "replacement": "m-$1"},
            {"action": "labeldrop", "regex": "host"},
        ],
    }
    world.write(
        ((name, (("job", "app"), ("machine", "m-a"))), time_ms, value)
        for (name, tags), time_ms, value in world.expected()
        if name == "load" and dict(tags)["host"] == "a"
    )
    result = world.verify(capsys, "--json")
    assert result.code == 0, result.out
    query = result.query()
    assert query["expected"] == 240
    assert query["dropped"] == {"relabel_dropped": 240, "not_whitelisted": 360}


def test_series_that_relabelling_makes_one_count_as_collisions(
    world: World, capsys: Capture
) -> None:
    world.queries = [{"name": "raw", "select": 'load{job="app"}'}]
    world.changes = {"transform.relabel": [{"action": "labeldrop", "regex": "host"}]}
    result = world.verify(capsys, "--json")
    assert result.query()["dropped"] == {"collision": 240}
    assert result.query()["expected"] == 240
    # Which of the two comes last is up to Prometheus: either value will do, a third will not.
    for host in ("a", "b c,d=e"):
        world.write(
            ((name, (("job", "app"),)), time_ms, value)
            for (name, tags), time_ms, value in world.expected()
            if name == "load" and dict(tags)["host"] == host
        )
        result = world.verify(capsys, "--json")
        assert result.code in (0, 6)  # equal, or explained
        assert set(result.query()["explained"]["different"]) <= {"collision"}
        assert result.query()["found"] == 240
    world.write([(("load", (("job", "app"),)), world.start_ms + 15_000, 0.5)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query()["unexplained"] == 1


def test_long_series_arrive_in_chunks(world: World) -> None:
    count = 25_000  # influxd answers 10,000 at a time
    world.write((("long", (("s", str(n)),)), t, t / 7) for n in range(2) for t in range(1, count))
    with closing(sink_of(load_settings(world.config()), "hot")) as sink:
        points = sink.read([Place("long"), Place("none")], 1, count)
    assert set(points) == {SeriesKey.of("long", {"s": "0"}), SeriesKey.of("long", {"s": "1"})}
    for column in points.values():
        assert column.timestamps_ms.tolist() == list(range(2, count))
        assert column.values.tolist() == [t / 7 for t in range(2, count)]


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("read", [True, False])
def test_the_exit_code_is_the_comparison_s_whatever_becomes_of_the_output(
    world: World, equal: bool, read: bool
) -> None:
    world.write(world.expected() if equal else world.expected()[1:])
    command = [sys.executable, "-m", "etlctl", "verify", "--config", str(world.config())]
    command += ["--from", str(world.start_ms // 1_000), "--to", str(world.end_ms // 1_000)]
    # A terminal that has neither dashes nor ellipses, or a reader that has gone.
    environ = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "PYTHONIOENCODING": "iso8859-5"}
    reader, writer = os.pipe()
    if not read:
        os.close(reader)
    ran = subprocess.run(
        command, env=environ, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writer)
    if read:
        with os.fdopen(reader, "rb") as printed:
            assert (b"are equal" if equal else b"sink differ") in printed.read()
    assert (ran.returncode, ran.stderr) == (0 if equal else 1, b"")
