"""Several sources in one process: it lives while all of their loops go round."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from common.config import Settings
from services.extractor.__main__ import _work_each
from services.extractor.one_source import JointTick, packer
from services.extractor.staging import EntryBuilder
from tests.support.settings_files import PLAIN


def test_the_process_ticks_when_all_of_its_sources_have() -> None:
    ticks: list[int] = []
    joint = JointTick(("a", "b"), lambda: ticks.append(1))
    a, b = joint.of("a"), joint.of("b")
    for _ in range(3):
        a()
    assert ticks == []
    b()
    assert ticks == [1]
    b()
    b()
    assert ticks == [1], "a hangs"
    a()
    assert ticks == [1, 1]


@pytest.mark.parametrize(
    ("more", "joined"),
    [
        ({}, {"raw"}),
        ({"transform": {"relabel": [{"target_label": "a", "replacement": "b"}]}}, None),
        ({"extract": {"labels": {"a": "b"}}}, None),
    ],
)
def test_only_what_may_collide_is_looked_after(
    more: dict[str, Any], joined: set[str] | None
) -> None:
    up = {"name": "up", "select": "up"}
    raw = {"name": "raw", "select": "x", "native_histograms": "classic"}
    extract = {**PLAIN["extract"], **more.get("extract", {})}

    def packs(*queries: dict[str, str]) -> EntryBuilder:
        document = {**PLAIN, **more, "extract": {**extract, "queries": queries}}
        return packer(Settings.model_validate(document))

    assert packs(up, raw).identities is not None
    assert packs(up, raw).joined == joined
    assert (packs(up).identities is None) == (joined is not None)


def test_where_nothing_is_relabelled_only_classic_series_may_collide() -> None:
    raw = {"name": "raw", "select": "x", "native_histograms": "classic"}
    extract = {**PLAIN["extract"], "queries": [raw]}
    identities = packer(Settings.model_validate({**PLAIN, "extract": extract})).identities
    assert identities is not None
    series = [
        b'{"__name__":"x_count","a":"b"}',
        b'{"a":"b","__name__":"x_count" }',
        rb'{"__name__":"x\u005fcount","a":"b"}',
        b'{"__name__":"x_counter","a":"b"}',
        b'{"__name__":"x","a":"b"}',
    ]
    assert identities("select", "raw", series) == [b"x_count,a=b"] * 3 + [None] * 2


def test_a_single_source_ticks_by_itself() -> None:
    ticks: list[int] = []
    tick = JointTick(("",), lambda: ticks.append(1)).of("")
    tick()
    tick()
    assert ticks == [1, 1]


def test_a_defect_of_one_ends_the_others_and_is_raised() -> None:
    stop = threading.Event()
    ended: list[str] = []

    def work(source: Any) -> None:
        if source == "broken":
            raise KeyError("a defect")
        stop.wait()
        ended.append(source)

    service: Any = SimpleNamespace(stop=stop)
    sources: Any = ["whole", "broken"]
    with pytest.raises(KeyError, match="a defect"):
        _work_each(service, sources, work)
    assert ended == ["whole"]
