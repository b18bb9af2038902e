"""What a tier may hold, and what of a query it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import Settings, advice
from common.samples.rollup import Rollup
from tests.support.settings_files import EXTRACT, load, problems

FILE = """
extract:
  prometheus_url: http://p
  queries:
    - {{name: e, expr: up, step: 30s{expr}}}
    - {{name: s, select: up{select}}}
load:
  influxdb: {{url: 'http://i', org: o, bucket: main}}
  tiers:
    warm: {{bucket: w, resolution: 5m, aggregates: [count, avg, increase]{warm}}}
    cold: {{bucket: c, resolution: 1h, aggregates: [max, min]}}
"""


def text(expr: str = "", select: str = "", warm: str = "") -> str:
    return FILE.format(expr=expr, select=select, warm=warm)


def settings(folder: Path, **parts: str) -> Settings:
    return load(folder, text(**parts))


def test_a_tier_says_what_its_queries_keep_in_one_order(tmp_path: Path) -> None:
    of_expr, of_select = settings(tmp_path).extract.queries
    assert of_select.rollup("hot") is None
    assert of_select.rollup("warm") == Rollup(300_000, ("avg", "count", "increase"))
    assert of_select.rollup("cold") == Rollup(3_600_000, ("min", "max"))
    # What an expression gives is no counter.
    assert of_expr.rollup("warm") == Rollup(300_000, ("avg", "count"))


def test_a_query_may_have_its_own_tiers_and_aggregates(tmp_path: Path) -> None:
    found = settings(tmp_path, select=", tiers: [hot, cold], aggregates: [last]")
    query = found.extract.queries[1]
    assert [tier for tier in found.load.tiers if query.is_in(tier)] == ["hot", "cold"]
    assert query.rollup("cold") == Rollup(3_600_000, ("last",))


def test_a_window_is_an_hour_or_the_resolution(tmp_path: Path) -> None:
    tiers = settings(tmp_path, warm=", window: 10m").load.tiers
    assert (tiers["warm"].window_ms, tiers["cold"].window_ms) == (600_000, 3_600_000)
    assert settings(tmp_path).load.tiers["warm"].window_ms == 3_600_000


def test_a_bucket_that_the_hot_tier_does_not_use_is_remarked_on(tmp_path: Path) -> None:
    for hot, said in (
        ("main", ()),
        ("h", ("load.influxdb.bucket: main is not used, load.tiers.hot.bucket names h",)),
    ):
        file = text().replace("tiers:\n    warm", f"tiers:\n    hot: {{bucket: {hot}}}\n    warm")
        assert advice(load(tmp_path, file)) == said
    assert advice(settings(tmp_path)) == ()


def test_a_rollup_changes_the_fingerprint_of_its_own_tier_alone(tmp_path: Path) -> None:
    before = settings(tmp_path).extract.queries[1]
    after = settings(tmp_path, select=", aggregates: [last]").extract.queries[1]
    assert before.fingerprint("hot") == after.fingerprint("hot")
    assert before.fingerprint("warm") != after.fingerprint("warm")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"warm": ", window: 7m"}, "window: is 420 s: it must be a multiple of the resolution"),
        ({"select": ", tiers: [warm, frozen]"}, "tiers"),
        ({"expr": ", aggregates: [increase]"}, "aggregates: has increase, which is of raw samples"),
        ({"select": ", aggregates: [median]"}, "aggregates"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    tmp_path: Path, parts: dict[str, str], said: str
) -> None:
    assert any(said in line for line in problems(tmp_path, text(**parts)))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("5m", "7m", "warm.resolution: is 420 s: it must divide a day"),
        ("5m", "45s", "step: is 30 s: the resolution of load.tiers.warm (45 s) must be a multiple"),
        ("[count, avg, increase]", "[increase]", "queries[0]: is an expr, which has no increase"),
        ("30s", "300ms", "step: is 0.3 s: a point of load.tiers.cold is made of 12000"),
        ("5m", "0.0005", "resolution: must be a whole number of milliseconds"),
        ("5m", "2h", "cold.resolution: is 3600 s: it must be coarser than warm's"),
        ("bucket: w,", "bucket: main,", "main is already the bucket of hot"),
    ],
)
def test_a_resolution_that_cannot_be_is_refused(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    assert any(said in line for line in problems(tmp_path, text().replace(before, after)))


def test_a_tier_that_a_query_names_must_be_there(tmp_path: Path) -> None:
    without_cold = "\n".join(line for line in text(select=", tiers: [cold]").splitlines()[:-1])
    (line,) = problems(tmp_path, without_cold)
    assert "queries[1].tiers: cold is not in load.tiers, which has hot, warm" in line


@pytest.mark.parametrize(
    ("tiers", "wanted"),
    [
        ("{lukewarm: {bucket: x}}", "load.tiers.lukewarm"),
        ("{hot: {}}", "load.tiers.hot.bucket: is missing"),
        ("{hot: {bucket: x, resolution: 1m}}", "load.tiers.hot.resolution: has no meaning"),
        ("{hot: {bucket: x, aggregates: [avg]}}", "load.tiers.hot.aggregates: has no meaning"),
        ("{warm: {bucket: x, aggregates: [avg]}}", "load.tiers.warm: has no resolution"),
        ("{warm: {bucket: x, resolution: 1m}}", "load.tiers.warm: has no aggregates"),
        (
            "{hot: {bucket: x}, warm: {bucket: x, resolution: 1m, aggregates: [avg]}}",
            "load.tiers.warm.bucket: x is already the bucket of hot",
        ),
        (
            "{warm: {bucket: x, resolution: 1h, aggregates: [avg]}, "
            "cold: {bucket: y, resolution: 1m, aggregates: [avg]}}",
            "load.tiers.cold.resolution: is 60 s: it must be coarser than warm's (3600 s)",
        ),
        ("{hot: {bucket: x, retention: -5}}", "load.tiers.hot.retention: must be greater than 0"),
    ],
)
def test_tiers_are_refused(tmp_path: Path, tiers: str, wanted: str) -> None:
    influxdb = "influxdb: {url: 'http://i', org: o, bucket: b}"
    found = problems(tmp_path, f"{EXTRACT}load:\n  {influxdb}\n  tiers: {tiers}\n")
    assert len(found) == 1
    assert found[0].startswith(f"etl.yaml:4: {wanted}"), found
