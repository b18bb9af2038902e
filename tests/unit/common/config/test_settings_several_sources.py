"""``extract.sources``: a query of its own for each source that it reads, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from common.config import InForce, Settings, effective
from common.samples.series import SeriesEncoder
from common.state.identity import conflict, identity_of
from tests.support.settings_files import LOAD, PLAIN, problems

NORTH: dict[str, Any] = {"name": "north", "url": "http://north:9090", "labels": {"site": "n"}}
SOUTH = {
    "name": "south",
    "url": "https://south/prometheus",
    "labels": {"site": "s"},
    "headers": {"X-Scope-OrgID": "team"},
}
QUERIES: list[dict[str, Any]] = [
    {"name": "raw", "select": "up"},
    {"name": "total", "expr": "sum(up)", "step": "15s", "sources": ["south"]},
]


def settings(*sources: dict[str, Any], queries: Any = QUERIES, **more: Any) -> Settings:
    extract = {"sources": list(sources), "queries": queries}
    return Settings.model_validate({**PLAIN, "extract": extract, **more})


def test_each_query_is_one_for_each_source_that_it_reads() -> None:
    whole = settings(NORTH, SOUTH)

    found = [(one.name, one.metric, one.source, dict(one.labels)) for one in whole.extract.queries]
    assert found == [
        ("raw@north", "raw", "north", {"site": "n"}),
        ("raw@south", "raw", "south", {"site": "s"}),
        ("total@south", "total", "south", {"site": "s"}),
    ]
    north, south = whole.each_source
    assert [one.name for one in north.extract.queries] == ["raw@north"]
    assert (north.extract.source, north.extract.prometheus_url) == ("north", NORTH["url"])
    assert (south.extract.source, south.extract.prometheus_url) == ("south", SOUTH["url"])
    assert south.extract.headers["X-Scope-OrgID"].get_secret_value() == "team"
    assert north.extract.headers == {}
    assert whole.of_source("south") == south
    assert whole.of_source("") is whole


def test_a_single_source_of_the_list_is_as_one_without_a_name() -> None:
    queries = [{**QUERIES[0], "sources": ["north"]}, {**QUERIES[1], "sources": []}]
    named = settings(NORTH, queries=queries)
    extract = {
        "prometheus_url": NORTH["url"],
        "labels": NORTH["labels"],
        "queries": [QUERIES[0], {**QUERIES[1], "sources": []}],
    }
    plain = Settings.model_validate({**PLAIN, "extract": extract})

    assert named == plain
    assert named.each_source == (named,)
    tokens = [one.fingerprint("hot") for one in named.extract.queries]
    assert tokens == [one.fingerprint("hot") for one in plain.extract.queries]
    assert identity_of(named) == identity_of(plain)


@pytest.mark.parametrize("sources", [(NORTH,), (NORTH, SOUTH)])
def test_what_is_in_force_can_be_read_again(sources: Any) -> None:
    queries = [QUERIES[0], {**QUERIES[1], "sources": [sources[-1]["name"]]}]
    whole = settings(*sources, queries=queries)

    again = Settings.model_validate(effective(whole, mask=False))

    assert again == whole
    assert again.extract.queries == whole.extract.queries


def test_series_are_named_by_the_query_of_the_file() -> None:
    whole = settings(NORTH, SOUTH)
    *_, query = whole.extract.queries

    key = SeriesEncoder.from_settings(whole).key("expr", query.name, b'{"site":"s"}')

    assert key == b"total,site=s"
    in_force = InForce.of(query, whole)
    assert in_force.expr_names == ("total",)
    assert InForce.parse(query.name, in_force.to_json()).query.name == "total@south"


def test_shards_share_the_pairs() -> None:
    names = [
        [one.name for one in settings(NORTH, SOUTH, pipeline={"shard": shard}).extract.queries]
        for shard in ("1/2", "2/2")
    ]
    assert sorted(name for of in names for name in of) == ["raw@north", "raw@south", "total@south"]


def test_another_source_makes_another_pipeline_and_their_order_does_not() -> None:
    both = identity_of(settings(NORTH, SOUTH))
    assert conflict(both, identity_of(settings(SOUTH, NORTH)), "etl") is None
    south = {**SOUTH, "url": "https://elsewhere"}
    assert conflict(identity_of(settings(NORTH, south)), both, "etl") is not None
    tls = {**NORTH, "url": "https://north:9090"}
    assert conflict(identity_of(settings(tls, SOUTH)), both, "etl") is None


SAME = (
    "a and b would write the same series of query raw: give each a value of its own for a label "
    "that relabelling keeps, such as {site: b}"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sources: [{name: a, url: http://a}, {name: b, url: http://b}], "
            "queries: [{name: raw, select: up}]",
            f"extract.sources[1].labels: {SAME}",
        ),
        (
            "sources: [{name: a, url: http://a, labels: {site: x}}, {name: b, url: http://b}], "
            "queries: [{name: raw, select: up}]",
            f"extract.sources[1].labels: {SAME}",
        ),
        (
            "sources: [{name: a, url: http://a}, {name: b, url: http://b}], queries: "
            "[{name: x, select: up, sources: [a]}, {name: y, select: 'up', sources: [b]}]",
            "extract.queries[1]: y may select the same series as x (queries[0]): give them",
        ),
        (
            "sources: [{name: a, url: http://a}], queries: [{name: x, select: up, sources: [c]}]",
            "extract.queries[0].sources: c is not in extract.sources, which has a",
        ),
        (
            "prometheus_url: http://a, queries: [{name: x, select: up, sources: [c]}]",
            "extract.queries[0].sources: c is not in extract.sources, which is not given",
        ),
        (
            "sources: [{name: a, url: http://a}], labels: {site: x}",
            "extract.labels: belongs to one of sources: put it there",
        ),
        (
            "sources: [{name: a, url: http://a}], prometheus_url: http://b",
            "extract.prometheus_url: is not the first of sources: give one of both",
        ),
        (
            "sources: [{name: a, url: http://a}, {name: a, url: http://b}]",
            "extract.sources[1].name: a is already the name of sources[0]",
        ),
        (
            "sources: [{name: a, url: http://a}, {name: b, url: http://b}], "
            "queries: [{name: x, select: up, sources: [b]}]",
            "extract.sources[0]: a is read by no query",
        ),
        (
            "sources: [{name: A-1, url: http://a}]",
            "extract.sources[0].name: must match pattern '^[a-z][a-z0-9_]*$', not 'A-1'",
        ),
        ("sources: [{name: a, url: ftp://a}]", "extract.sources[0].url: must begin with http://"),
        (
            "sources: [{name: a, url: http://a, auth: {server_name: x}}]",
            "extract.sources[0].auth.server_name: would never be used: url does not begin with",
        ),
        ("sources: []", "extract.prometheus_url: is missing"),
    ],
)
def test_problems(tmp_path: Any, text: str, said: str) -> None:
    found = problems(tmp_path, f"extract: {{{text}}}\n{LOAD}")
    assert any(said in one for one in found), found


@pytest.mark.parametrize("name", ["headers", "params", "labels"])
def test_texts_of_a_source_are_as_written(tmp_path: Any, name: str) -> None:
    """``1`` would be a number elsewhere, which none of them takes."""
    text = f"extract: {{sources: [{{name: a, url: 'http://a', {name}: {{x: 1}}}}]}}\n{LOAD}"
    assert problems(tmp_path, text) == []


def test_labels_that_a_rule_drops_tell_no_sources_apart() -> None:
    drop = {"relabel": [{"action": "labeldrop", "regex": "site"}]}
    with pytest.raises(ValueError, match="would write the same series"):
        settings(NORTH, SOUTH, transform=drop)


def test_queries_of_one_source_still_exclude_each_other() -> None:
    queries = [*QUERIES, {"name": "more", "select": 'up{job="x"}', "sources": ["south"]}]
    with pytest.raises(ValueError, match="more may select the same series as raw"):
        settings(NORTH, SOUTH, queries=queries)


@pytest.mark.parametrize(
    "extract",
    [
        {"replicas": ["http://a:1", "http://b:2"]},
        {"sources": [{"name": "x", "replicas": ["http://a:1", "http://b:2"]}]},
        {"prometheus_url": "http://a:1", "replicas": ["http://a:1", "http://b:2"]},
    ],
)
def test_replicas_stand_for_the_url(extract: dict[str, Any]) -> None:
    found = Settings.model_validate({**PLAIN, "extract": extract})

    assert found.extract.prometheus_url == "http://a:1"
    each = found.extract.each_replica
    assert [one.prometheus_url for one in each] == ["http://a:1", "http://b:2"]
    assert [one.each_replica for one in each] == [(one,) for one in each]
    assert Settings.model_validate(effective(found, mask=False)) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "prometheus_url: http://c, replicas: [http://a, http://b]",
            "extract.prometheus_url: is not the first of replicas: give one of both",
        ),
        ("replicas: [http://a, http://a]", "extract.replicas: has a URL twice"),
        (
            "replicas: [http://a, https://b]",
            "extract.replicas: must all begin with http:// or all with https://",
        ),
        ("replicas: [ftp://a]", "extract.replicas[0]: must begin with http:// or https://"),
        ("replicas: []", "extract.prometheus_url: is missing"),
        ("sources: [{name: a, replicas: []}]", "extract.sources[0].url: is missing"),
        (
            "replicas: [http://a, http://b], push: {port: 0, password: x}",
            "extract.push.port: cannot be given with replicas",
        ),
        (
            "sources: [{name: a, url: http://a}], push: {port: 0, password: x}",
            "extract.push.port: cannot be given with sources",
        ),
        (
            "sources: [{name: a, url: http://a}], replicas: [http://a, http://b]",
            "extract.replicas: belongs to one of sources: put it there",
        ),
    ],
)
def test_problems_of_replicas(tmp_path: Any, text: str, said: str) -> None:
    found = problems(tmp_path, f"extract: {{{text}}}\n{LOAD}")
    assert any(said in one for one in found), found
