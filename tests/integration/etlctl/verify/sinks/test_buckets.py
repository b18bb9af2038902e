"""Series of different buckets on a real sink: written, verified and sealed as one tier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from common.config import load_settings
from common.samples.seal import Digest
from etlctl.once.transformed import transformed
from etlctl.once.write import written
from services.extractor.prometheus import PrometheusClient
from tests.integration.etlctl.verify.test_layouts import loaded
from tests.integration.etlctl.verify.world import SAMPLES, SELECT, World

HOSTS = ("a", "b c,d=e")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def buckets(world: World) -> Iterator[list[str]]:
    """Two more databases beside the world's, one for each host."""
    names = [f"{world.database}_a", f"{world.database}_b"]
    for name in names:
        world.influx.create_database(name)
    hosts = dict(zip(HOSTS, names, strict=True))
    world.changes = {"load.bucket_from": {"label": "host", "buckets": hosts}}
    yield names
    for name in names:
        world.influx.drop_database(name)


def test_what_is_in_several_buckets_is_equal_and_intact(
    world: World, capsys: Capture, buckets: list[str]
) -> None:
    settings = load_settings(world.config())
    (query,) = settings.extract.queries
    with closing(PrometheusClient(settings.extract)) as source:
        found = transformed(settings, source, query, world.start_ms, world.end_ms, world.end_ms)
    assert written(settings.load, query, found) == (len(world.expected()), [])
    for name, host in zip(buckets, HOSTS, strict=True):
        hosts = world.influx.query('SHOW TAG VALUES WITH KEY = "host"', database=name)
        assert {row[1] for series in hosts for row in series["values"]} == {host}
    result = world.verify(capsys, "--json")
    assert result.code == 0, result.out
    assert result.query()["equal"] == result.query()["expected"] == len(world.expected())
    digest = sum((one.digest or Digest() for one in found.outputs), Digest())
    world.write_raw(
        f"etl_seal,pipeline={world.namespace},query={query.name},tier=hot"
        f' start_ms={world.start_ms}i,points={digest.points}i,digest="{digest.text}",'
        f"sealed_ms=1700000000000i {world.end_ms}"
    )
    result = world.run(capsys, "verify", "--sealed", "--json")
    assert (result.code, result.query()["in_another_bucket"]) == (0, 0)
    loads = [point for point in world.expected() if point[0][0] == "load"]
    # The bucket that is read last has another value of a series that is not its own.
    replace(world, database=buckets[1]).write(
        (series, time_ms, value + 1)
        for series, time_ms, value in loads
        if ("host", HOSTS[0]) in series[1]
    )
    result = world.verify(capsys)
    assert result.code == 0 and "in another bucket" not in result.out, result.out
    world.influx.query("DROP SERIES FROM load", database=buckets[1])
    assert world.verify(capsys).code == 1
    assert world.run(capsys, "verify", "--sealed").code == 1
    lost = [point for point in loads if ("host", HOSTS[1]) in point[0][1]]
    world.write(lost)
    result = world.verify(capsys)
    assert result.code == 0, result.out
    heading, said = "Found only in another bucket than load.bucket_from names", result.out
    assert f"{heading} for the series:\n  {query.name}: {len(lost)} points\n" in said
    assert world.verify(capsys, "--json").query()["in_another_bucket"] == len(lost)
    result = world.run(capsys, "verify", "--sealed")
    assert result.code == 0, result.out
    assert f"{query.name}: {len(lost)} points only in another bucket than" in result.out
    result = world.run(capsys, "verify", "--sealed", "--json")
    assert result.query()["in_another_bucket"] == len(lost)


RELABEL = {"source_labels": ["job"], "target_label": "job", "replacement": "${1}_x"}


@pytest.mark.parametrize("rules", [[], [RELABEL]], ids=["told apart", "not told apart"])
def test_what_labels_do_not_tell_apart_is_said_to_be_at_most(
    world: World, capsys: Capture, buckets: list[str], rules: list[dict[str, Any]]
) -> None:
    """Where a rule writes the label that queries match, those of others count too."""
    world.queries = [SELECT, {"name": "other", "select": '{job="other"}'}]
    world.changes["transform.relabel"] = rules
    digest = loaded(world, load_settings(world.config()))["raw"]
    world.write_raw(
        f"etl_seal,pipeline={world.namespace},query=raw,tier=hot"
        f' start_ms={world.start_ms}i,points={digest.points}i,digest="{digest.text}",'
        f"sealed_ms=1700000000000i {world.end_ms}"
    )
    found = sum("host" in dict(tags) for (_, tags), _, _ in world.expected())
    at_most = "up to " if rules else ""
    found += SAMPLES if rules else 0
    out = world.run(capsys, "verify", "--sealed").out
    assert f"raw: {at_most}{found} points only in another bucket than" in out, out
    query = world.run(capsys, "verify", "--sealed", "--json").query()
    assert (query["in_another_bucket"], query["in_another_bucket_at_most"]) == (found, bool(rules))
