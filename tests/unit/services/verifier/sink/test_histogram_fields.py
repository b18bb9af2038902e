"""Histograms that are fields of one measurement, read back from the stand-in of InfluxDB 3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from math import inf

import pytest
from pydantic import SecretStr

from common.config import InfluxSettings
from common.errors import SinkError
from common.samples.layout import ANY_BOUND, Place
from common.sink.http_session import SinkSession
from services.verifier.points import SeriesKey
from services.verifier.sink.read import Sink
from tests.doubles.influxdb3 import Engine3, InfluxDB3

HISTOGRAMS = """\
h,code=200 count=7,sum=1.5,0.5=3,1=6,+Inf=7 1000
h,code=200 count=9,sum=2.5,0.5=4,1=7,+Inf=9 2000
h,code=500 count=1,sum=0.5,0.5=1,1=1,+Inf=1 1000
g count=2,sum=8,0.5=1,1=2,+Inf=2 1000
k count=3,sum=9,8=1,+Inf=3 1000
load value=4 1000
"""
COUNTED = ("count", "sum", ANY_BOUND)
PLACES = [Place("load"), *(Place(name, field) for name in "hgk" for field in COUNTED)]


@pytest.fixture
def engine() -> Engine3:
    engine = Engine3("db")
    write(engine, HISTOGRAMS)
    return engine


@pytest.fixture(params=["influxql", "sql"])
def sink(engine: Engine3, request: pytest.FixtureRequest) -> Iterator[Sink]:
    with InfluxDB3(engine) as server:
        settings = InfluxSettings(
            url=server.url,
            org="o",
            bucket="db",
            token=SecretStr(engine.token),
            timeout_seconds=5,
            query_language=request.param,
        )
        with closing(Sink(SinkSession(settings, connections=1), "db")) as opened:
            yield opened


def write(engine: Engine3, lines: str) -> None:
    query = {"db": "db", "precision": "millisecond"}
    headers = {"Authorization": f"Bearer {engine.token}"}
    status, _, body = engine.write(query, headers, lines.encode())
    assert status == 204, body


def plain(sink: Sink, places: list[Place]) -> dict[tuple[str, str, str], dict[int, float]]:
    return {
        (key.measurement, dict(key.tags).get("code", ""), key.field): dict(
            zip(column.timestamps_ms.tolist(), column.values.tolist(), strict=True)
        )
        for key, column in sink.read(places, 0, 5_000).items()
    }


def test_all_fields_of_histograms_come_in_one_statement(engine: Engine3, sink: Sink) -> None:
    found = plain(sink, PLACES)
    assert found["h", "200", "0.5"] == {1_000: 3.0, 2_000: 4.0}
    assert found["h", "200", "+Inf"] == {1_000: 7.0, 2_000: 9.0}
    assert found["h", "500", "sum"] == {1_000: 0.5}
    assert found["k", "", "8"] == {1_000: 1.0}
    assert found["load", "", "value"] == {1_000: 4.0}
    assert len(found) == 2 * 5 + 5 + 4 + 1
    reads = [one for one in engine.statements if one.startswith("SELECT ") and "schema" not in one]
    if engine.statements[0].startswith("SELECT"):
        # The schema, and each table.
        assert (len(reads), len(engine.statements)) == (4, 5)
    else:
        # The fields; both measurements with the same bounds, the one with others, and the last.
        assert (len(reads), len(engine.statements)) == (3, 4)
    assert any(all(f'"{name}"' in one for name in ("0.5", "1", "+Inf", "sum")) for one in reads)


def test_a_point_need_not_have_all_of_the_fields(engine: Engine3, sink: Sink) -> None:
    write(engine, "h,code=200 2=8 3000\nh,code=200 0.5=5 4000\nh count=1 1000")
    found = plain(sink, PLACES)
    assert found["h", "200", "2"] == {3_000: 8.0}
    assert found["h", "200", "0.5"] == {1_000: 3.0, 2_000: 4.0, 4_000: 5.0}
    assert found["h", "", "count"] == {1_000: 1.0}
    assert ("h", "", "sum") not in found


def test_what_is_no_number_is_another_value_and_not_missing(engine: Engine3, sink: Sink) -> None:
    write(engine, 'x count=1,0.5="1" 1000')
    found = plain(sink, [Place("x", field) for field in COUNTED])
    assert found == {("x", "", "count"): {1_000: 1.0}, ("x", "", "0.5"): {1_000: inf}}


def test_bounds_are_listed_once_until_they_are_to_be_listed_anew(
    engine: Engine3, sink: Sink
) -> None:
    """By SQL each time: what it reads of a table depends on the schema."""
    before = plain(sink, PLACES)
    write(engine, "k 9=2 2000")
    if engine.statements[0].startswith("SHOW"):
        assert plain(sink, PLACES) == before
        # One that is expected is read in any case.
        assert plain(sink, [*PLACES, Place("k", "9")])["k", "", "9"] == {2_000: 2.0}
        assert sum(one.startswith("SHOW") for one in engine.statements) == 1
        sink.list_anew()
    assert plain(sink, PLACES)["k", "", "9"] == {2_000: 2.0}


def test_many_bounds_are_read_in_several_statements(engine: Engine3, sink: Sink) -> None:
    bounds = ",".join(f"{number}={number}" for number in range(450))
    write(engine, f"wide {bounds} 1000")
    found = sink.read([Place("wide", ANY_BOUND)], 0, 5_000)
    assert {key.field: column.values.tolist() for key, column in found.items()} == {
        str(number): [float(number)] for number in range(450)
    }
    assert all(key == SeriesKey.of("wide", {}, key.field) for key in found)
    assert len(engine.statements) == 1 + 3


def test_a_refusal_is_named(engine: Engine3, sink: Sink) -> None:
    engine.buckets.clear()
    with pytest.raises(SinkError, match="database not found: db"):
        sink.read(PLACES, 0, 5_000)
