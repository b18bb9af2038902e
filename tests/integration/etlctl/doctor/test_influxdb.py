"""What can be wrong with an InfluxDB: a real 1.6, and a stand-in for 2 where only that can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from common.errors import SinkError
from devtools.servers.influx_server import InfluxServer
from devtools.servers.ports import free_port
from etlctl.doctor import tables
from services.verifier.sink.read import Sink
from tests.doubles.influx_engine import ORG, TOKEN, Bucket, Engine
from tests.doubles.influxdb2 import InfluxDB2
from tests.doubles.influxdb3 import Engine3, InfluxDB3
from tests.integration.etlctl.doctor.world import World

HOUR = 3600


def put(influx: InfluxServer, database: str, *lines: str) -> None:
    parameters = {"bucket": database, "org": "o", "precision": "ms"}
    url = f"{influx.url}/api/v2/write"
    response = requests.post(url, params=parameters, data="\n".join(lines), timeout=10)
    assert response.status_code == 204, response.text


def test_a_wrong_token(world: World, make_influx: Callable[..., InfluxServer]) -> None:
    influx = make_influx(token="right", databases=[world.database])
    world.influx_url = influx.url
    world.changes["load.influxdb.token"] = "wrong"
    found = world.of("influxdb")
    name = f"hot ({world.database})"
    assert found.keys() == {"reachable", f"{name} write"}
    level, text = found[f"{name} write"]
    assert level == "failure" and "refuses our credentials" in text and "token_file" in text
    world.changes["load.influxdb.token"] = "right"
    assert {level for level, _ in world.of("influxdb").values()} == {"ok"}


def test_one_of_several_urls_is_away(world: World, influx_server: InfluxServer) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    world.influx_url = away
    world.changes["load.influxdb.urls"] = [away, influx_server.url]
    found = world.of("influxdb")
    level, text = found["reachable"]
    assert level == "warning" and away in text and "another URL is used" in text
    assert found[f"hot ({world.database}) read"][0] == "ok"


def test_a_bucket_that_is_missing_leaves_the_others(
    world: World, influx_server: InfluxServer
) -> None:
    warm = {"bucket": "not_there", "resolution": "10s", "aggregates": ["avg"]}
    world.changes["load.tiers"] = {"warm": warm}
    found = world.of("influxdb")
    assert found[f"hot ({world.database}) series"][0] == "ok"
    level, text = found["warm (not_there) write"]
    assert level == "failure" and "make it: etlctl sink init" in text
    assert "warm (not_there) read" not in found


def test_a_token_that_may_not_read(world: World) -> None:
    engine = Engine(world.database)
    engine.may_read = False
    with InfluxDB2(engine) as influx:
        world.influx_url = influx.url
        world.changes |= {"load.influxdb.token": TOKEN, "load.influxdb.org": ORG}
        found = world.of("influxdb")
    level, text = found[f"hot ({world.database}) read"]
    assert level == "failure" and "takes points for" in text and "shows none" in text
    assert f"hot ({world.database}) retention" not in found


def test_retention_against_tiers(world: World, influx_server: InfluxServer) -> None:
    def said(kept_hours: int, configured: str | None) -> tuple[str, str]:
        influx_server.query(
            f'ALTER RETENTION POLICY autogen ON "{world.database}" DURATION {kept_hours}h '
            "SHARD DURATION 1h"
        )
        hot = {"bucket": world.database} | ({"retention": configured} if configured else {})
        world.changes["load.tiers"] = {"hot": hot}
        return world.of("influxdb")[f"hot ({world.database}) retention"]

    level, text = said(24, "14d")
    assert level == "failure" and "keeps points for 1d, and load.tiers.hot.retention is 14d" in text
    assert world.code == 1
    assert said(24, "1d") == ("ok", "keeps points for 1d → ")
    level, text = said(48, "1d")
    assert level == "warning" and "what is older than 1d is never written" in text
    assert said(48, None) == ("ok", "keeps points for 2d → ")
    world.changes["extract.initial_lookback_seconds"] = "3d"
    level, text = said(48, None)
    assert level == "warning" and "less than extract.initial_lookback_seconds (3d)" in text


def test_fields_of_another_type(world: World, influx_server: InfluxServer) -> None:
    put(
        influx_server,
        world.database,
        'prometheus_build_info value="text",other=1i 1700000000000',
        "health value=1i 1700000000000",
        "unlike_ours value=1i 1700000000000",
    )
    name = f"hot ({world.database}) field types"
    level, text = world.of("influxdb")[name]
    assert level == "failure"
    assert "health.value (integer), prometheus_build_info.value (string) →" in text
    # Then nobody knows what a selector matches.
    world.prometheus_url = f"http://127.0.0.1:{free_port()}"
    level, text = world.of("influxdb")[name]
    assert level == "warning" and "unlike_ours.value (integer)" in text


def test_a_server_that_does_not_say_what_it_holds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(sink: Sink, statement: str) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
        raise SinkError(f"cannot execute {statement}")

    monkeypatch.setattr(Sink, "named_table", refused)
    found = world.of("influxdb")
    name = f"hot ({world.database})"
    level, text = found[f"{name} field types"]
    assert level == "warning" and "cannot execute SHOW FIELD KEYS" in text
    assert found[f"{name} series"] == ("ok", "it does not say how many series it has → ")
    assert found[f"{name} retention"] == ("ok", "keeps points for ever, as far as it says → ")


def test_a_1_x_that_is_too_old(world: World, influx_server: InfluxServer) -> None:
    """Straight to a 1.6: it has no path that we write to."""
    world.influx_url = influx_server.direct_url
    level, text = world.of("influxdb")[f"hot ({world.database}) write"]
    assert level == "failure" and "1.x before 1.8 has no /api/v2/write" in text


@pytest.mark.parametrize(("layout", "tables"), [({}, 3), ({"histograms": "fields"}, 1)])
def test_a_histogram_of_fields_needs_one_table(
    world: World, layout: dict[str, str], tables: int
) -> None:
    metrics = '{__name__=~"prometheus_tsdb_compaction_chunk_range_seconds_.+",job="prometheus"}'
    world.queries = [{"name": "histogram", "select": metrics}]
    world.changes["load.layout"] = layout
    with InfluxDB3(Engine3(world.database)) as influx:
        world.influx_url = influx.url
        world.changes["load.influxdb.token"] = TOKEN
        level, text = world.of("influxdb")["tables"]
    assert level == "ok" and f"and ours need {tables} more" in text


def test_tables_of_influxdb_3_near_their_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are there and those to come: ``health`` and the metric that is selected."""
    engine = Engine3(world.database)
    with InfluxDB3(engine) as influx:
        world.influx_url = influx.url
        world.changes["load.influxdb.token"] = TOKEN
        level, text = world.of("influxdb")["tables"]
        assert level == "ok"
        # The doctor writes a point of its own into an empty bucket.
        assert "1 tables of at most 2,000 in all databases, and ours need 2 more" in text
        engine.serves_influxql = False
        world.changes["load.influxdb.query_language"] = "sql"
        assert {level for level, _ in world.of("influxdb").values()} == {"ok"}
        monkeypatch.setattr(tables, "TABLES_MAX", 3)
        monkeypatch.setattr(tables, "COLUMNS_MAX", 3)
        assert world.of("influxdb")["tables"][0] == "warning"
        monkeypatch.setattr(tables, "TABLES_MAX", 2)
        level, text = world.of("influxdb")["tables"]
        assert level == "failure" and "becomes dead letters" in text and "name_tag: true" in text
        world.changes["load.layout"] = {"measurement": "all", "name_tag": True}
        monkeypatch.setattr(tables, "COLUMNS_MAX", 500)
        level, text = world.of("influxdb")["tables"]
        assert level == "warning" and "ours need 1 more" in text
        # Any metric may have series for any of the buckets.
        engine.buckets["other"] = Bucket()
        world.changes["load.bucket_from"] = {"label": "job", "buckets": {"a": "other"}}
        monkeypatch.setattr(tables, "TABLES_MAX", 2_000)
        level, text = world.of("influxdb")["tables"]
        assert level == "ok" and "ours need up to 2 more" in text
        labels = {f"l{number}": "x" for number in range(4)}
        engine.buckets["other"].types |= {("all", label): "tag" for label in labels}
        monkeypatch.setattr(tables, "TAGS_MAX", 4)
        level, text = world.of("influxdb")["tables"]
        assert level == "warning" and "table all has 4 tag columns of at most 4" in text
