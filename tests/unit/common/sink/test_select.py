"""What is asked of a measurement, as InfluxQL and as SQL."""

from __future__ import annotations

from typing import Any

from common.sink.select import Select, name_of, quote, quote_text, text_of
from tests.doubles.influx3_sql import rows_of
from tests.doubles.influx_engine import Bucket

DAY_MS = 86_400_000
FEED = {"query": "q", "tier": "hot"}


def bucket() -> Bucket:
    """Four points of a measurement on two days, of two pipelines."""
    found = Bucket()
    found.types = {
        ("m", "pipeline"): "tag",
        ("m", "query"): "tag",
        ("m", "tier"): "tag",
        ("m", "start_ms"): "integer",
        ("m", "text"): "string",
    }
    points = [
        ("a", 1_000, 900, "one"),
        ("b", 2_000, 400, "it's"),
        ("a", DAY_MS + 1, 950, None),
        ("a", DAY_MS + 2, 970, "four"),
    ]
    for pipeline, at_ms, start_ms, text in points:
        tags = (("pipeline", pipeline), *FEED.items())
        found.points["m", tags, "start_ms", at_ms] = start_ms
        if text is not None:
            found.points["m", tags, "text", at_ms] = text
    return found


def rows(select: Select) -> list[dict[str, Any]]:
    held = bucket()
    known = {column for table, column in held.types if table == select.measurement}
    return rows_of(held, select.sql(known))


def test_points_in_order_of_time() -> None:
    one = Select(("start_ms", "text"), "m", FEED, after_ms=1_000, until_ms=DAY_MS + 1, limit=9)
    assert one.influxql() == (
        'SELECT "start_ms", "text" FROM "m" WHERE "query" = \'q\' AND "tier" = \'hot\' AND '
        f"time > 1000000000 AND time <= {DAY_MS + 1}000000 ORDER BY time LIMIT 9"
    )
    assert rows(one) == [
        {"time": 2_000, "start_ms": 400, "text": "it's"},
        {"time": DAY_MS + 1, "start_ms": 950},
    ]
    newest = Select(("start_ms",), "m", newest_first=True, limit=1)
    assert newest.influxql() == 'SELECT "start_ms" FROM "m" ORDER BY time DESC LIMIT 1'
    assert rows(newest) == [{"time": DAY_MS + 2, "start_ms": 970}]


def test_the_newest_of_each_group() -> None:
    one = Select(("start_ms", "text"), "m", FEED, last_by=("pipeline",))
    assert one.influxql().startswith('SELECT last("start_ms"), "text" FROM "m" WHERE "query" = ')
    assert one.influxql().endswith(' GROUP BY "pipeline"')
    found = sorted(rows(one), key=lambda row: str(row["pipeline"]))
    assert [(row["pipeline"], row["time"], row["text"]) for row in found] == [
        ("a", DAY_MS + 2, "four"),
        ("b", 2_000, "it's"),
    ]


def test_the_lowest_of_each_day() -> None:
    one = Select(("start_ms",), "m", FEED, after_ms=0, lowest_by_day=True)
    assert one.influxql() == (
        'SELECT min("start_ms") AS "start_ms" FROM "m" WHERE "query" = \'q\' AND "tier" = \'hot\''
        " AND time > 0 GROUP BY time(1d) fill(none)"
    )
    found = sorted(rows(one), key=lambda row: int(row["time"]))
    assert found == [{"time": 0, "start_ms": 400}, {"time": DAY_MS, "start_ms": 950}]


def test_what_the_table_does_not_have_is_null_and_equals_nothing() -> None:
    assert rows(Select(("other",), "m", {"pipeline": "b"})) == [{"time": 2_000}]
    assert rows(Select(("start_ms",), "m", {"other": "b"})) == []
    assert rows(Select(("start_ms",), "m", {"pipeline": "b"}, last_by=("other",)))[0]["newest"] == 1


def test_quotes() -> None:
    assert (quote('a"b\\c\n'), quote_text("it's\\")) == ('"a\\"b\\\\c\\n"', "'it\\'s\\\\'")
    assert (name_of('a"b\\c'), text_of("it's\\")) == ('"a""b\\c"', "'it''s\\'")
    (row,) = rows(Select(("start_ms",), "m", {"text": "it's"}))
    assert row["start_ms"] == 400
