"""Layouts on real servers: what is written under one is verified equal, and its seals intact."""

from __future__ import annotations

import gzip
from contextlib import closing
from typing import Any

import pytest

from common.config import Settings, load_settings
from common.samples.rollup import Rollup
from common.samples.seal import Digest
from common.samples.series import SeriesEncoder
from etlctl.once.transformed import transformed
from services.extractor.prometheus import PrometheusClient
from services.transformer.clean import clean
from services.transformer.rollup import roll_up
from services.transformer.rollup_lines import encode_rollup
from services.verifier.connect import sink_of
from services.verifier.sealed.window_digests import rollup_digests
from tests.integration.etlctl.verify.world import EXPR, SELECT, World
from tests.support.samples import batch_of

Capture = pytest.CaptureFixture[str]

LAYOUTS: list[dict[str, Any]] = [
    {"preset": "telegraf_v2"},
    {"measurement": "prom_${__name__}", "field": "gauge"},
    {"measurement": "prometheus", "name_tag": True},
    {"integer_metrics": ["late"]},
]
HOSTILE = (
    *("version", 'quote"name', "a b,c=d", "größe", "time", "_x", "value", "#x", "back\\slash"),
    *("h_count", "h_sum"),
)


def loaded(world: World, settings: Settings) -> dict[str, Digest]:
    """Write the whole history of each query; the digests of what was written."""
    digests = {}
    for query in settings.extract.queries:
        with closing(PrometheusClient(settings.extract)) as source:
            found = transformed(settings, source, query, world.start_ms, world.end_ms, world.end_ms)
        world.write_raw("\n".join(found.lines()))
        digests[query.name] = sum((one.digest or Digest() for one in found.outputs), Digest())
    return digests


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_what_is_written_under_a_layout_is_equal_and_intact(
    world: World, capsys: Capture, layout: dict[str, Any]
) -> None:
    world.queries = [SELECT, EXPR]
    world.changes = {"load.layout": layout}
    world.write_raw(f"cpu,job=app usage_idle=1,gauge=2 {world.start_ms + 1}")
    digests = loaded(world, load_settings(world.config()))
    result = world.verify(capsys, "--json")
    assert result.code == 0, result.out
    assert result.query()["equal"] == result.query()["expected"] == len(world.expected())
    assert result.query("by_host")["equal"] == len(world.expected_by_host())
    for query, digest in digests.items():
        world.write_raw(
            f"etl_seal,pipeline={world.namespace},query={query},tier=hot"
            f' start_ms={world.start_ms}i,points={digest.points}i,digest="{digest.text}",'
            f"sealed_ms=1700000000000i {world.end_ms}"
        )
    result = world.run(capsys, "verify", "--sealed")
    assert result.code == 0, result.out + result.err


def test_another_value_and_another_point_are_found(world: World, capsys: Capture) -> None:
    world.changes = {"load.layout": {"preset": "telegraf_v2"}}
    loaded(world, load_settings(world.config()))
    at_ms = world.start_ms + 15_000
    world.write_raw(
        f"prometheus,job=app odd=7 {at_ms + 1}\nprometheus,host=a,job=app load=-7 {at_ms}"
    )
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert (result.query()["extra"], result.query()["different"]) == (1, 1)


@pytest.mark.parametrize("layout", [*LAYOUTS[:3], {"histograms": "fields"}], ids=str)
def test_rollups_read_back_to_the_digest_that_was_written(
    world: World, layout: dict[str, Any]
) -> None:
    """Also of names that InfluxDB keeps for itself, and of one that a label has too."""
    world.changes = {"load.layout": layout}
    settings = load_settings(world.config())
    in_force = settings.load.layout.layout
    points = [(1_000, 1.0), (2_000, 2.5), (61_000, -3.0)]
    series = [({"__name__": name, "version": "1", "avg": "x"}, points) for name in HOSTILE]
    samples = batch_of(series).samples
    keys = SeriesEncoder(layout=in_force).keys("select", "raw", samples.series)
    kept, _ = clean(samples, [key for key in keys if isinstance(key, bytes)], 10**9, 0)
    rollup = Rollup.of(60_000, ("avg", "max", "count"))
    (output,) = encode_rollup(roll_up(kept, 0, 120_000, rollup)[0])
    world.write_raw(gzip.decompress(output.payload).decode())
    with closing(sink_of(settings, "hot")) as sink:
        places = [one for one in sink.places([in_force], rolled=True) if in_force.may_hold(one)]
        assert set(places) == {in_force.place(name) for name in HOSTILE}
        found = sink.read(places, 0, 120_000, fields=("avg", "max", "count"))
    assert sum(len(column.timestamps_ms) for column in found.values()) == 2 * len(HOSTILE)
    assert rollup_digests(found.items(), [120_000], ("avg", "max", "count")) == [output.digest]
