"""A warm tier: every kind of damage is found against the source, and by its seals alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from common.config import load_settings
from tests.integration.etlctl.verify.tiers.warm import WINDOW_MS, Warm
from tests.integration.etlctl.verify.world import SELECT, STEP_MS

Capture = pytest.CaptureFixture[str]


def altered_field(warm: Warm) -> None:
    key, time_ms, values = warm.line(20)
    warm.write([(key, time_ms, {"max": values["max"] * (1 + 2**-52)})])


def missing_field(warm: Warm) -> None:
    key, time_ms, values = warm.line(20)
    deleted_point(warm)
    del values["increase"]
    warm.write([(key, time_ms, values)])


def deleted_point(warm: Warm) -> None:
    warm.delete(f"\"host\" = 'a' AND time = {warm.line(20)[1] * 1_000_000}")


def deleted_hour(warm: Warm) -> None:
    """After what the first buckets were made of, and nobody can tell whether the source has."""
    from_ms = warm.world.start_ms + WINDOW_MS
    warm.delete(f"\"host\" = 'a' AND time > {from_ms * 1_000_000}")


def added_point(warm: Warm) -> None:
    key, time_ms, values = warm.line(20)
    warm.write([(key, time_ms + 30_000, values)])


def shifted_millisecond(warm: Warm) -> None:
    key, time_ms, values = warm.line(20)
    deleted_point(warm)
    warm.write([(key, time_ms + 1, values)])


def duplicate_series(warm: Warm) -> None:
    key, time_ms, values = warm.line(20)
    warm.write([(key + b",zone=x", time_ms, values)])


@dataclass(frozen=True)
class Damage:
    """What ``do`` does, as ``verify`` counts it in points, and ``verify --sealed`` in windows."""

    do: Callable[[Warm], None]
    points: dict[str, int]
    windows: dict[str, int]


DAMAGES = [
    Damage(altered_field, {"different": 1}, {"intact": 6, "altered": 1}),
    Damage(missing_field, {"different": 1}, {"intact": 6, "altered": 1}),
    Damage(deleted_point, {"missing": 1}, {"intact": 6, "thinned": 1}),
    Damage(deleted_hour, {"missing": 50}, {"intact": 2, "thinned": 5}),
    Damage(added_point, {"extra": 1}, {"intact": 6, "extra": 1}),
    Damage(shifted_millisecond, {"missing": 1, "extra": 1}, {"intact": 6, "altered": 1}),
    Damage(duplicate_series, {"extra": 1}, {"intact": 6, "extra": 1}),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.do.__name__ for damage in DAMAGES])
def test_damage_is_found_whole(warm: Warm, capsys: Capture, damage: Damage) -> None:
    world = warm.world
    before = world.verify(capsys, "--tier", "warm")
    assert before.code == 0, before.out
    assert world.run(capsys, "verify", "--sealed", "--tier", "warm").code == 0

    damage.do(warm)

    against_source = world.verify(capsys, "--tier", "warm", "--json")
    assert against_source.code == 1
    query = against_source.query()
    assert query["tier"] == "warm"
    found = {kind: query[kind] for kind in ("missing", "extra", "different") if query[kind]}
    assert found == damage.points
    assert query["unexplained"] == sum(found.values())

    by_seals = world.run(capsys, "verify", "--sealed", "--tier", "warm", "--json")
    assert by_seals.code == 1
    windows = by_seals.query()["windows"]
    assert {kind: number for kind, number in windows.items() if number} == damage.windows


def test_every_tier_is_compared_with_a_sentence_of_its_own(warm: Warm, capsys: Capture) -> None:
    warm.world.write(warm.world.expected())

    equal = warm.world.verify(capsys)
    assert equal.code == 0
    assert "hot: Source and sink are equal" in equal.out
    assert f"warm: Source and sink are equal: {len(warm.lines)} points" in equal.out

    deleted_point(warm)

    document = warm.world.verify(capsys, "--json").document
    assert {name: tier["verdict"] for name, tier in document["tiers"].items()} == {
        "hot": "equal",
        "warm": "different",
    }
    assert document["verdict"] == "different"


def test_a_range_that_cuts_buckets_has_those_that_end_in_it(warm: Warm, capsys: Capture) -> None:
    world = warm.world
    start_ms, end_ms = world.start_ms + STEP_MS, world.end_ms - STEP_MS - 1
    bounds = ("--from", str(start_ms / 1_000), "--to", str(end_ms / 1_000))
    found = world.run(capsys, "verify", "--tier", "warm", "--json", *bounds)
    assert found.code == 0
    inside = [one for one in warm.lines if start_ms < one[1] <= end_ms]
    assert found.query()["equal"] == len(inside) > 0


def test_a_tag_named_as_an_aggregate_is_told_apart(warm: Warm, capsys: Capture) -> None:
    relabel = [{"source_labels": ["host"], "target_label": "max"}]
    warm.world.changes["transform.relabel"] = relabel
    warm.world.influx.query(f'DROP DATABASE "{warm.database}"')
    warm.world.influx.query(f'CREATE DATABASE "{warm.database}"')
    named = {
        b"load,host=a,job=app": b"load,host=a,job=app,label_max=a",
        (odd := b"load,host=b\\ c\\,d\\=e,job=app"): odd + b",label_max=b\\ c\\,d\\=e",
        b"late,host=a,job=app": b"late,host=a,job=app,label_max=a",
    }
    warm.write([(named.get(key, key), time_ms, values) for key, time_ms, values in warm.lines])
    assert warm.world.verify(capsys, "--tier", "warm", "--json").query()["verdict"] == "equal"


def test_a_tier_that_is_not_there(warm: Warm, capsys: Capture) -> None:
    result = warm.world.verify(capsys, "--tier", "cold")
    assert (result.code, result.out) == (2, "")
    assert "--tier cold: no such tier; there are hot, warm" in result.err
    warm.world.queries = [{**SELECT, "tiers": ["hot"]}]
    assert load_settings(warm.world.config()).load.tiers.keys() == {"hot", "warm"}
    result = warm.world.verify(capsys, "--tier", "warm")
    assert (result.code, result.out) == (2, "")
    assert "--tier warm: holds none of these queries" in result.err
