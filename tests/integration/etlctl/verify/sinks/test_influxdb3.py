"""InfluxDB 3 is verified by InfluxQL and by SQL: the stand-in, and a real one where one is named.

``ETL_TEST_INFLUXDB3_URL`` and ``ETL_TEST_INFLUXDB3_TOKEN_FILE`` name the real one; it must have
room for three more databases, which are deleted afterwards.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from common.config import load_settings
from common.samples.seal import Digest
from etlctl.once.transformed import transformed
from etlctl.once.write import written
from services.extractor.prometheus import PrometheusClient
from services.verifier.connect import sink_of
from services.verifier.sealed.seals import sealed_queries
from tests.doubles.influxdb3 import Engine3, InfluxDB3
from tests.integration.etlctl.verify.sinks.test_buckets import HOSTS
from tests.integration.etlctl.verify.test_layouts import loaded
from tests.integration.etlctl.verify.world import EXPR, SELECT, World

Capture = pytest.CaptureFixture[str]

LANGUAGES = ["influxql", "sql"]
LAYOUTS: list[dict[str, Any]] = [{}, {"measurement": "prometheus", "name_tag": True}]
REAL = ["real 3"] if "ETL_TEST_INFLUXDB3_URL" in os.environ else []


def _on(world: World, url: str, token: str) -> World:
    """The world with an InfluxDB 3 as its sink."""
    world.database = f"v{uuid.uuid4().hex[:10]}"
    headers = {"Authorization": f"Bearer {token}"}

    def write_raw(lines: str) -> None:
        response = requests.post(
            f"{url}/api/v3/write_lp",
            params={"db": world.database, "precision": "millisecond"},
            data=lines.encode(),
            headers=headers,
            timeout=30,
        )
        assert response.status_code == 204, response.text

    world.write_raw = write_raw  # type: ignore[method-assign]
    world.changes = {"load.influxdb.url": url, "load.influxdb.token": token}
    return world


@pytest.fixture(params=["stand-in 3", *REAL])
def on_three(request: pytest.FixtureRequest, world: World) -> Iterator[World]:
    if request.param == "real 3":
        token = Path(os.environ["ETL_TEST_INFLUXDB3_TOKEN_FILE"]).read_text("utf-8").strip()
        url = os.environ["ETL_TEST_INFLUXDB3_URL"].rstrip("/")
        yield _on(world, url, token)
        for name in (world.database, *buckets_of(world).values()):
            requests.delete(
                f"{url}/api/v3/configure/database",
                params={"db": name, "hard_delete_at": "now"},
                headers={"Authorization": f"Bearer {token}"},
                timeout=30,
            )
    else:
        engine = Engine3()
        with InfluxDB3(engine) as server:
            yield _on(world, server.url, engine.token)


def buckets_of(world: World) -> dict[str, str]:
    """One beside the world's for each host."""
    return {host: f"{world.database}_{number}" for number, host in enumerate(HOSTS)}


def serves(world: World, language: str) -> bool:
    """Whether the sink answers everything that is asked in a language: the stand-in's InfluxQL
    knows no seals.
    """
    return language == "sql" or world.changes["load.influxdb.url"] == os.environ.get(
        "ETL_TEST_INFLUXDB3_URL", ""
    ).rstrip("/")


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_written_is_equal_and_intact(
    on_three: World, capsys: Capture, language: str, layout: dict[str, Any]
) -> None:
    world = on_three
    world.queries = [SELECT, EXPR]
    world.changes |= {"load.influxdb.query_language": language, "load.layout": layout}
    digests = loaded(world, load_settings(world.config()))
    result = world.verify(capsys, "--json")
    assert result.code == 0, result.out
    assert result.query()["equal"] == result.query()["expected"] == len(world.expected())
    assert result.query("by_host")["equal"] == len(world.expected_by_host())
    for query, digest in digests.items():
        world.write_raw(
            f"etl_seal,pipeline={world.namespace},query={query},tier=hot"
            f' start_ms={world.start_ms}i,points={digest.points}i,digest="{digest.text}",'
            f'sealed_ms=1700000000000i,window="w" {world.end_ms}'
        )
    with closing(sink_of(load_settings(world.config()), "hot")) as sink:
        assert sealed_queries(sink, world.namespace) == ["by_host", "raw"], "older than a day too"
    if serves(world, language):
        result = world.run(capsys, "verify", "--sealed")
        assert result.code == 0, result.out + result.err
    # Another value, and a point that nobody wrote.
    name = "prometheus,__name__=load,host=a,job=app" if layout else "load,host=a,job=app"
    at_ms = world.start_ms + 15_000
    world.write_raw(f"{name} value=-7 {at_ms}\n{name} value=7 {at_ms + 1}")
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert (result.query()["extra"], result.query()["different"]) == (1, 1), result.out


@pytest.mark.parametrize("language", LANGUAGES)
def test_series_of_several_buckets_are_equal_and_intact(
    on_three: World, capsys: Capture, language: str
) -> None:
    world = on_three
    world.changes |= {
        "load.influxdb.query_language": language,
        "load.bucket_from": {"label": "host", "buckets": buckets_of(world)},
    }
    settings = load_settings(world.config())
    (query,) = settings.extract.queries
    with closing(PrometheusClient(settings.extract)) as source:
        found = transformed(settings, source, query, world.start_ms, world.end_ms, world.end_ms)
    assert written(settings.load, query, found) == (len(world.expected()), [])
    result = world.verify(capsys, "--json")
    assert result.code == 0, result.out
    assert result.query()["equal"] == len(world.expected())
    assert result.query()["in_another_bucket"] == 0
    if serves(world, language):
        digest = sum((one.digest or Digest() for one in found.outputs), Digest())
        world.write_raw(
            f"etl_seal,pipeline={world.namespace},query={query.name},tier=hot"
            f' start_ms={world.start_ms}i,points={digest.points}i,digest="{digest.text}",'
            f'sealed_ms=1700000000000i,window="w" {world.end_ms}'
        )
        result = world.run(capsys, "verify", "--sealed", "--json")
        assert (result.code, result.query()["in_another_bucket"]) == (0, 0), result.out
    # A value that its own bucket has otherwise, and a point that no bucket should have.
    at_ms = world.start_ms + 15_000
    world.write_raw(
        f"load,host=a,job=app value=-7 {at_ms}\nload,host=a,job=app value=7 {at_ms + 1}"
    )
    result = world.verify(capsys, "--json")
    assert (result.query()["extra"], result.query()["different"]) == (1, 0)
    assert result.query()["in_another_bucket"] == 1


def test_without_influxql_the_answer_names_what_is_served(world: World, capsys: Capture) -> None:
    engine = Engine3()
    engine.serves_influxql = False
    with InfluxDB3(engine) as server:
        _on(world, server.url, engine.token)
        loaded(world, load_settings(world.config()))
        result = world.verify(capsys)
        assert result.code == 3 and "answers 404 to a query: not found" in result.err
        world.changes["load.influxdb.query_language"] = "sql"
        assert world.verify(capsys).code == 0
        world.changes["load.influxdb.bucket"] = "nowhere"
        result = world.verify(capsys)
        assert result.code == 3 and "answers 404 to SQL: " in result.err
        assert "database not found: nowhere" in result.err
