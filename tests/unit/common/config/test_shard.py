"""One pipeline's queries spread over several, each with a Redis of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.config import InForce, Settings, effective
from common.samples.series import SeriesEncoder
from common.state.identity import conflict, identity_of
from tests.support.settings_files import LOAD, MINIMAL, PLAIN, problems

NAMES = [f"query_{number}" for number in range(200)]


def settings(shard: str | None, names: list[str] = NAMES, expr: str | None = None) -> Settings:
    queries: list[dict[str, Any]] = [{"name": name, "select": f"m_{name}"} for name in names]
    if expr:
        queries.append({"name": expr, "expr": "1", "step": "15s"})
    extract = PLAIN["extract"] | {"queries": queries}
    pipeline = {} if shard is None else {"shard": shard}
    return Settings.model_validate(PLAIN | {"extract": extract, "pipeline": pipeline})


def names_of(shards: int, names: list[str] = NAMES) -> list[list[str]]:
    numbers = range(1, shards + 1)
    found = [settings(f"{number}/{shards}", names) for number in numbers]
    return [[query.name for query in one.extract.queries] for one in found]


def test_each_query_belongs_to_one_shard_and_they_are_alike_in_size() -> None:
    shards = names_of(8)

    assert sorted(name for one in shards for name in one) == sorted(NAMES)
    assert min(map(len, shards)) > len(NAMES) / 8 / 2
    assert names_of(1) == [NAMES]


def test_a_query_more_moves_no_other_and_a_shard_more_few() -> None:
    before = names_of(8)

    assert [[name for name in one if name != "new"] for one in names_of(8, [*NAMES, "new"])] == (
        before
    )
    after = names_of(9)
    assert all(set(later) <= set(earlier) for earlier, later in zip(before, after, strict=False))
    assert 0 < len(after[8]) < len(NAMES) / 4


def test_series_are_named_as_by_one_pipeline_with_all_queries() -> None:
    """Whether a metric has the name of another's `expr` decides about its samples."""
    whole = settings(None, expr="mean")
    (home,) = [n for n in (1, 2) if "mean" not in _names(settings(f"{n}/2", expr="mean"))]
    part = settings(f"{home}/2", expr="mean")
    query = part.extract.queries[0]

    assert "mean" not in _names(part)
    assert InForce.of(query, part).to_json() == InForce.of(query, whole).to_json()
    labels = [b'{"__name__":"mean","job":"x"}']
    keys = [
        SeriesEncoder.from_settings(one).keys("select", query.name, labels) for one in (whole, part)
    ]
    assert keys[0] == keys[1]


def test_what_is_shown_can_be_read_again() -> None:
    part = settings("2/8")
    again = Settings.model_validate(effective(part, mask=False))

    assert again.extract.queries == part.extract.queries


def test_another_shard_is_another_pipeline_in_redis() -> None:
    one, other = identity_of(settings("1/8")), identity_of(settings("2/8"))

    assert conflict(one, one, "etl") is None
    assert "shard 1/8, this one http://prometheus:9090 shard 2/8" in str(
        conflict(other, one, "etl")
    )
    assert identity_of(settings(None)).source == "http://prometheus:9090"


@pytest.mark.parametrize(
    "shard", ["0/8", "9/8", "8", "2/", "/8", "2 / 8", "2/8/1", "-1/8", "1/1001", "02/8", "a/b", ""]
)
def test_a_shard_that_is_none_is_one_sentence(tmp_path: Path, shard: str) -> None:
    assert problems(tmp_path, f"{MINIMAL}pipeline: {{shard: '{shard}'}}") == [
        "etl.yaml:3: pipeline.shard: must be a number and how many there are, such as 2/8, up to "
        f"1000/1000, not '{shard}'"
    ]


def test_a_shard_without_a_query_is_refused(tmp_path: Path) -> None:
    text = f"{LOAD}extract: {{prometheus_url: 'http://p', queries: [{{name: a, select: up}}]}}\n"
    found = [problems(tmp_path, f"{text}pipeline: {{shard: {n}/2}}") for n in (1, 2)]

    assert sorted(found) == [
        [],
        [
            f"etl.yaml:3: pipeline.shard: {2 - found.index([])}/2 gets none of the 1 queries: "
            "use fewer shards"
        ],
    ]


def _names(found: Settings) -> list[str]:
    return [query.name for query in found.extract.queries]
