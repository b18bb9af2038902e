"""What was in force survives as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from common.config import InForce, Query, Settings, load_settings
from common.errors import WireError
from common.samples.layout import NAME, NAME_TAG, Layout
from services.extractor.windows import plans_of

QUERIES = [
    {"name": "raw", "select": 'load{job="a\\\\b",zone!=""}'},
    {"name": "rate", "expr": "sum by (host) (rate(load[5m]))", "step": "1m30s"},
]
RULES = [
    {"source_labels": ["a", "b"], "separator": "-", "regex": "(.*)x", "target_label": "c"},
    {"action": "labeldrop", "regex": "tmp_.*"},
]


def settings(
    folder: Path, *, labels: Mapping[str, str] | None = None, **transform: object
) -> Settings:
    file = folder / "etl.yaml"
    document = {
        "extract": {"prometheus_url": "http://p", "queries": QUERIES, "labels": dict(labels or {})},
        "load": {"influxdb": {"url": "http://i", "org": "o", "bucket": "b"}},
        "transform": transform,
    }
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_settings(file, {})


def points_of(query: Query) -> tuple[str, str, str, int]:
    return query.name, query.kind, query.text, query.step_ms


def test_text_and_back(tmp_path: Path) -> None:
    now = settings(tmp_path, relabel=RULES, valid_metrics=["load*", "ra?e"])
    for query, plan in zip(now.extract.queries, plans_of(now), strict=True):
        before = InForce.of(query, now)
        after = InForce.parse(query.name, plan.configuration)
        assert points_of(after.query) == points_of(query)
        assert after.transforms_like(before)
        assert after.expr_names == ("rate",)
        assert after.to_json() == before.to_json() == plan.configuration


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({"preset": "telegraf_v2", "integer_metrics": ["load"]}, Layout("prometheus", NAME)),
        ({"measurement": "all", "name_tag": True}, Layout("all", "value", NAME_TAG)),
        ({"histograms": "fields"}, Layout(histograms="fields")),
    ],
)
def test_a_layout_is_part_of_it_unless_it_is_the_default(
    tmp_path: Path, layout: dict[str, object], expected: Layout
) -> None:
    plain = settings(tmp_path)
    raw = plain.extract.queries[0]
    assert "layout" not in InForce.of(raw, plain).to_json()
    document = yaml.safe_load((tmp_path / "etl.yaml").read_text(encoding="utf-8"))
    document["load"]["layout"] = layout
    (tmp_path / "etl.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    changed = load_settings(tmp_path / "etl.yaml", {})
    after = InForce.of(raw, changed)
    assert InForce.parse(raw.name, after.to_json()).layout == expected
    assert not after.names_like(InForce.of(raw, plain))
    with pytest.raises(WireError):
        InForce.parse(raw.name, after.to_json().replace('"layout":[', '"layout":[1,2,'))


def test_labels_are_a_part_of_it(tmp_path: Path) -> None:
    plain = settings(tmp_path)
    labelled = settings(tmp_path, labels={"zone": "b", "site": "a"})
    for query, of_plain in zip(labelled.extract.queries, plain.extract.queries, strict=True):
        before = InForce.of(query, labelled)
        after = InForce.parse(query.name, before.to_json())
        assert after.query.labels == {"site": "a", "zone": "b"}
        assert after.to_json() == before.to_json()
        assert after.transforms_like(before)
        assert not after.transforms_like(InForce.of(of_plain, plain))
    assert "labels" not in InForce.of(plain.extract.queries[0], plain).to_json()


def test_the_text_changes_with_the_transform_and_with_nothing_else(tmp_path: Path) -> None:
    plain = settings(tmp_path)
    texts = {
        InForce.of(plain.extract.queries[0], one).to_json()
        for one in (
            plain,
            settings(tmp_path, max_future_seconds=7),
            settings(tmp_path, relabel=RULES),
            settings(tmp_path, relabel=RULES[::-1]),
            settings(tmp_path, valid_metrics=["load"]),
        )
    }
    assert len(texts) == 4


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"kind":"expr","text":"up","step_ms":null}', "[" * 100_000]
)
def test_what_is_no_configuration_is_one_error(text: str) -> None:
    with pytest.raises(WireError, match="query q: an earlier configuration cannot be read"):
        InForce.parse("q", text)


def test_native_histograms_are_a_part_of_it_where_they_are_carried(tmp_path: Path) -> None:
    plain = settings(tmp_path)
    query = plain.extract.queries[0]
    carrying = query.model_copy(update={"native_histograms": "classic"})
    before = InForce.of(carrying, plain)
    after = InForce.parse(query.name, before.to_json())
    assert after.query.carries_histograms
    assert after.to_json() == before.to_json()
    assert carrying.fingerprint("hot") != query.fingerprint("hot")
    assert "native_histograms" not in InForce.of(query, plain).to_json()
    with pytest.raises(WireError):
        InForce.parse(query.name, before.to_json().replace("classic", "fields"))


def test_an_expression_that_carries_them_writes_several_names(tmp_path: Path) -> None:
    plain = settings(tmp_path)
    raw, rate = plain.extract.queries
    carrying = rate.model_copy(update={"native_histograms": "classic"})
    extract = plain.extract.model_copy(update={"queries": (raw, carrying)})
    found = InForce.of(carrying, plain.model_copy(update={"extract": extract}))
    assert found.expr_names == ("rate", "rate_bucket", "rate_count", "rate_sum")
    assert InForce.parse("rate", found.to_json()).query.names == carrying.names
