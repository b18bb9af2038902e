"""Which queries a pushed series belongs to, and the labels that it has then."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping

import pytest

from common.config import Query
from common.errors import SourceUnavailable
from common.state.feeds import Feed
from services.extractor.push.bad_request import BadRequest
from services.extractor.push.external_labels import (
    KEPT_SECONDS,
    ExternalLabels,
    external_labels_of,
)
from services.extractor.push.selecting import Selecting
from services.extractor.push.write_request import WriteRequest
from services.extractor.windows import Plan
from tests.support.remote_write import series


def plan(select: str, labels: Mapping[str, str] | None = None) -> Plan:
    query = Query(name="q", select=select).bound(1.0, {}, dict(labels or {}))
    return Plan(Feed("q", "hot", "select", "f"), query, 1000, 0, 0, 10**9, 212_000)


def sent(labels: Mapping[str, str]) -> bytes:
    return WriteRequest.parse(series(dict(labels), [])).label_sets[0]


@pytest.mark.parametrize(
    ("select", "labels", "wanted"),
    [
        ("up", {}, True),
        ("down", {}, False),
        ('{__name__=~"u.*",job="a"}', {"job": "a"}, True),
        ('{__name__=~"u.*",job="a"}', {"job": "ab"}, False),
        ('up{job=~"a"}', {"job": "ab"}, False),
        ('up{job!="a"}', {}, True),
        ('up{job!~"a|b"}', {"job": "b"}, False),
        ('up{job=""}', {}, True),
        ('up{job=~".+"}', {}, False),
        ('up{path=~"a.b"}', {"path": "a\nb"}, True),
    ],
)
def test_a_selector_selects_as_in_prometheus(
    select: str, labels: Mapping[str, str], wanted: bool
) -> None:
    found = Selecting([plan(select)]).find(sent({"__name__": "up", **labels}))

    assert bool(found.feeds) is wanted


def test_labels_are_what_a_query_shows() -> None:
    found = Selecting([plan("nothing"), plan("up"), plan("up")]).find(
        sent({"job": 'a"\n\\é', "__name__": "up", "A": "1"})
    )

    assert found.feeds == (1, 2)
    assert found.series == '{"A":"1","__name__":"up","job":"a\\"\\n\\\\é"}'.encode()


def test_fixed_labels_take_the_place_of_its_own() -> None:
    fixed = {"cluster": "c", "site": "north"}

    found = Selecting([plan("up", fixed)]).find(sent({"__name__": "up", "site": "x", "a": "1"}))

    assert json.loads(found.series) == {**fixed, "__name__": "up", "a": "1"}
    assert found.series.startswith(b'{"cluster":"c","site":"north",')


def test_external_labels_are_taken_off_where_they_are_as_configured() -> None:
    selecting = Selecting([plan('up{cluster!="c"}')])
    ours, other = ({"__name__": "up", "cluster": name} for name in ("c", "d"))

    assert selecting.find(sent(ours)).feeds == ()
    selecting.set_external({"cluster": "c"})
    assert selecting.find(sent(ours)).series == b'{"__name__":"up"}'
    assert selecting.find(sent(other)).series == b'{"__name__":"up","cluster":"d"}'
    selecting.set_external({})
    assert selecting.find(sent(ours)).feeds == ()


def test_what_is_remembered_has_a_limit() -> None:
    selecting = Selecting([plan("up")], remembered_bytes=1000)
    for number in range(1000):
        assert selecting.find(sent({"__name__": "up", "n": str(number)})).feeds == (0,)
        assert selecting.find(sent({"__name__": "no", "n": str(number)})).feeds == ()

    assert len(selecting.known) < 40


@pytest.mark.parametrize("name", ["up", "no"])
def test_what_is_remembered_takes_no_more_memory_than_that(name: str) -> None:
    """Short label sets take mostly what Python adds to each, and to what became of it."""
    selecting = Selecting([plan("up")], remembered_bytes=1 << 18)
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        most_bytes = most = 0
        for number in range(12_000):
            selecting.find(sent({"__name__": name, "n": str(number)}))
            most = max(most, len(selecting.known))
            most_bytes = max(most_bytes, tracemalloc.get_traced_memory()[0] - before_bytes)
    finally:
        tracemalloc.stop()

    assert most < 12_000, "the limit was reached"
    assert 1 << 17 < most_bytes < 1.25 * (1 << 18)


def test_what_is_no_series_is_refused_each_time() -> None:
    selecting = Selecting([plan("up")])
    for _ in range(2):
        with pytest.raises(BadRequest):
            selecting.find(sent({"job": "a"}))


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ("global:\n  scrape_interval: 15s\n", {}),
        (
            'global:\n  scrape_interval: 15s\n  external_labels:\n    a: b\n    c: "0"\n'
            "  x: y\nrule_files:\n",
            {"a": "b", "c": "0"},
        ),
        ("global:\n  external_labels:\n    a: 1e3\n    b: =\n", {"a": "1e3", "b": "="}),
        ("remote_write:\n- headers:\n    external_labels: x\n", {}),
        (
            "global:\n  external_labels:\n    note: |-\n      a\n\n      b\n    site: north\n"
            "scrape_configs: []\n",
            {"note": "a\n\nb", "site": "north"},
        ),
    ],
)
def test_external_labels_of_a_configuration(config: str, labels: Mapping[str, str]) -> None:
    body = json.dumps({"data": {"yaml": config}}).encode()

    assert external_labels_of(body) == labels


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"x", b"[]", b'{"data":null}', b'{"data":{"yaml":1}}'),
        b'{"data":{"yaml":"global:\\n  external_labels:\\n    a: [b\\n"}}',
    ],
)
def test_of_what_is_no_configuration_nothing_is_known(body: bytes) -> None:
    assert external_labels_of(body) is None


class Server:
    def __init__(self, run: object | None) -> None:
        self.run, self.label, self.asked, self.now = run, "a", 0, 0.0
        self.labels = ExternalLabels(lambda: self.run, self._config, lambda: self.now)

    def _config(self) -> bytes:
        self.asked += 1
        config = f"global:\n  external_labels:\n    of: {self.label}\n"
        return json.dumps({"data": {"yaml": config}}).encode() if self.label else b"502"


def test_external_labels_are_those_of_the_configuration_that_was_loaded_last() -> None:
    server = Server("first")
    for _ in range(3):
        assert server.labels() == {"of": "a"}
    assert server.asked == 1

    server.run, server.label = "second", ""
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="does not show"):
            server.labels()
    server.label = "b"
    assert server.labels() == {"of": "b"}


def test_a_server_that_does_not_say_when_it_was_configured_is_asked_now_and_then() -> None:
    server = Server(None)
    assert server.labels() == {"of": "a"}
    server.label = "b"
    server.now += KEPT_SECONDS - 1
    assert server.labels() == {"of": "a"}
    server.now += 1
    assert server.labels() == {"of": "b"}
