"""Queries that could overwrite each other's series, and relabel rules, as Prometheus has them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.config import advice
from common.config.query import READ_CHECK, RESERVED_NAMES
from devtools import PROJECT_ROOT
from services.loader import watermark
from services.loader.sealing import configurations, seals
from tests.support.relabel_rule_cases import ACCEPTED, ACCEPTED_SINCE_3, REFUSED
from tests.support.settings_files import LOAD, MINIMAL, load, problems

ROOT = PROJECT_ROOT

E = "{{name: {}, expr: '{}', step: 15s}}"
S = "{{name: {}, select: '{}'}}"
H = "{{name: {}, select: '{}', native_histograms: classic}}"
X = "{{name: {}, expr: '{}', step: 15s, native_histograms: classic}}"


def config(*queries: str, more: str = "") -> str:
    lines = "".join(f"    - {query}\n" for query in queries)
    return f"{LOAD}extract:\n  prometheus_url: http://p\n  queries:\n{lines}{more}"


COLLIDING = [
    (
        (S.format("a", "up"), S.format("b", 'up{job="x"}')),
        "b may select the same series as a (queries[0]): give them matchers that exclude each "
        "other",
    ),
    (
        (S.format("a", '{job="x"}'), S.format("b", '{job=~"x|y"}')),
        "b may select the same series as a (queries[0])",
    ),
    (
        (E.format("up", "up"), S.format("raw", '{job="x"}')),
        "the expr up would be written to the measurement of the metric up, which the select raw "
        "may contain: rename the expr",
    ),
    ((S.format("raw", '{job="x"}'), E.format("scrape_duration_seconds", "1")), "rename the expr"),
    (
        (S.format("raw", '{job="x"}'), E.format("hits", "rate(a[5m])"), E.format("b", "hits / 2")),
        "the expr hits would be written to the measurement",
    ),
    ((S.format("raw", "hits"), E.format("hits", "vector(1)")), "the expr hits would be written"),
    ((S.format("raw", '{__name__=~"h.*"}'), E.format("hits", "vector(1)")), "the expr hits would"),
    ((S.format("raw", '{__name__!~"x.*",a="b"}'), E.format("up", "1")), "the expr up would"),
    (
        (S.format("raw", '{a="b"}'), E.format("h", 'sum({__name__="h"})')),
        "the expr h would be written",
    ),
    (
        (H.format("raw", "h"), S.format("sums", "h_sum")),
        "sums may select the same series as raw (queries[0]): native_histograms: classic also "
        "writes NAME_bucket, NAME_count and NAME_sum of what is selected: list the names",
    ),
    ((H.format("raw", '{a="x",le=""}'), H.format("b", '{a="x",le!=""}')), "by another label"),
    ((H.format("raw", "h"), S.format("all", '{__name__=~"h.*"}')), "matchers that exclude each"),
    ((H.format("raw", "h"), E.format("h_count", "vector(1)")), "the expr h_count would be written"),
    (
        (X.format("h", "vector(1)"), S.format("raw", "h_sum")),
        "the expr h would be written to the measurement of the metric h_sum, which the select raw",
    ),
    (
        (E.format("h_count", "vector(1)"), X.format("h", "vector(2)")),
        "the expr h and the expr h_count (queries[0]) would both write h_count, because of "
        "native_histograms: rename one of them",
    ),
]

PEACEFUL = [
    (H.format("raw", '{job="x",__name__!~"up|scrape_.*"}'), E.format("up", "sum(up)")),
    (H.format("raw", '{job="x",__name__=~".+"}'), E.format("hits", "vector(1)")),
    (S.format("a", '{job="x"}'), S.format("b", '{job="y"}')),
    (S.format("a", "up"), S.format("b", "down")),
    (E.format("a", "up"), E.format("b", "up")),
    (E.format("job:up:sum", "sum by (job) (up)"), S.format("raw", "up")),
    (E.format("availability", "up"), S.format("raw", '{job="x"}')),
    (E.format("up", "up"), S.format("raw", 'down{job="x"}')),
    (E.format("up", "up"), S.format("raw", '{job="x",__name__!="up"}')),
    (E.format("up", "up"), S.format("raw", '{job="x",__name__!~"up|scrape_.*"}')),
    (E.format("job", "sum by (job) (up)"), S.format("raw", '{job="x"}')),
    (E.format("rate", "rate(x[5m])"), S.format("raw", '{job="x"}')),
    (H.format("a", '{job="x"}'), H.format("b", '{job="y"}')),
    (H.format("a", "h"), S.format("b", "h_total")),
    (S.format("a", "h"), S.format("b", "h_sum")),
    (X.format("h", "vector(1)"), S.format("raw", "h_max"), E.format("h_min", "vector(2)")),
]


@pytest.mark.parametrize(("queries", "wanted"), COLLIDING)
def test_queries_that_could_write_the_same_series_are_refused(
    tmp_path: Path, queries: tuple[str, ...], wanted: str
) -> None:
    found = problems(tmp_path, config(*queries))
    assert len(found) == 1
    assert wanted in found[0]
    assert found[0].startswith("etl.yaml:")
    assert "extract.queries[1]: " in found[0]


@pytest.mark.parametrize("queries", PEACEFUL)
def test_queries_that_cannot_are_accepted(tmp_path: Path, queries: tuple[str, ...]) -> None:
    assert problems(tmp_path, config(*queries)) == []


@pytest.mark.parametrize(
    ("rule", "remarked"),
    [
        ({"target_label": "job", "replacement": "same"}, True),
        ({"target_label": "$1"}, True),
        ({"regex": "job", "action": "labeldrop"}, True),
        ({"regex": "x_(.*)", "action": "labelmap"}, True),
        ({"target_label": "env", "replacement": "same"}, False),
        ({"source_labels": ["job"], "regex": "x", "action": "drop"}, False),
    ],
)
def test_selectors_that_relabelling_may_make_one_are_remarked_on(
    tmp_path: Path, rule: dict[str, Any], remarked: bool
) -> None:
    queries = (S.format("a", '{job="x"}'), S.format("b", '{job="y"}'))
    more = f"transform: {{relabel: [{json.dumps(rule)}]}}\n"
    found = advice(load(tmp_path, config(*queries, more=more)))
    assert bool(found) is remarked
    if remarked:
        assert found[0].startswith("queries a and b differ only in the label job")


def test_an_expr_of_several_metrics_is_remarked_on(tmp_path: Path) -> None:
    def remarks(expr: str) -> tuple[str, ...]:
        query = json.dumps({"name": "q", "expr": expr, "step": 15})
        return advice(load(tmp_path, config(query)))

    (found,) = remarks('{__name__=~"a|b"}')
    assert found.startswith("query q: its expr may return several metrics, which are all written")
    assert remarks('sum by (job) ({__name__=~"a|b"})') == ()


# --- relabel rules ---------------------------------------------------------------------------


def relabel(rule: dict[str, Any]) -> str:
    return f"{MINIMAL}transform:\n  relabel:\n    - {json.dumps(rule)}\n"


@pytest.mark.parametrize("rule", ACCEPTED + ACCEPTED_SINCE_3)
def test_a_rule_is_accepted(tmp_path: Path, rule: dict[str, Any]) -> None:
    assert problems(tmp_path, relabel(rule)) == []


@pytest.mark.parametrize(("rule", "key", "wanted"), REFUSED)
def test_a_rule_is_refused(tmp_path: Path, rule: dict[str, Any], key: str, wanted: str) -> None:
    found = problems(tmp_path, relabel(rule))
    assert len(found) == 1
    assert found[0].startswith(f"etl.yaml:5: transform.relabel[0]{key}: ")
    assert wanted in found[0]


@pytest.mark.parametrize(
    ("written", "key", "text"),
    [
        ("regex: 1", "regex", "1"),
        ("regex: 0x1F", "regex", "0x1F"),
        ("regex: true", "regex", "true"),
        ("regex: 2024-01-01", "regex", "2024-01-01"),
        ("regex: 'true'", "regex", "true"),
        ("regex: ", "regex", ""),
        ("regex: ~", "regex", ""),
        ("replacement: 1.50", "replacement", "1.50"),
        ("replacement: off", "replacement", "off"),
        ("replacement: 1_000", "replacement", "1_000"),
        ("replacement: null", "replacement", ""),
        ("separator: ", "separator", ""),
        ("separator: -1", "separator", "-1"),
        ("source_labels: ", "source_labels", ()),
        ("source_labels: [1, no, a]", "source_labels", ("1", "no", "a")),
    ],
)
def test_scalars_of_a_rule_are_text_as_written(
    tmp_path: Path, written: str, key: str, text: object
) -> None:
    file = f"{MINIMAL}transform:\n  relabel:\n    - target_label: 12:30\n      {written}\n"
    (rule,) = load(tmp_path, file).transform.relabel
    assert (rule.target_label, getattr(rule, key)) == ("12:30", text)


@pytest.mark.parametrize("empty", ["", "~", "''"])
def test_an_empty_target_is_none(tmp_path: Path, empty: str) -> None:
    rule = f"{{action: labeldrop, regex: a, target_label: {empty}}}"
    (read,) = load(tmp_path, f"{MINIMAL}transform: {{relabel: [{rule}]}}\n").transform.relabel
    assert read.target_label is None


def test_other_scalars_are_not_read_as_text(tmp_path: Path) -> None:
    modulus = (
        f"{MINIMAL}transform: {{relabel: [{{target_label: a, action: hashmod, modulus: 0x10}}]}}\n"
    )
    assert load(tmp_path, modulus).transform.relabel[0].modulus == 16
    (problem,) = problems(tmp_path, f"{MINIMAL}pipeline: {{redis_namespace: 1}}\n")
    assert problem.endswith("pipeline.redis_namespace: must be text: put it in quotes, not 1")


def test_defaults_written_out_are_as_good_as_left_out(tmp_path: Path) -> None:
    rule = {"regex": "a", "separator": ";", "replacement": "$1", "action": "labeldrop"}
    assert problems(tmp_path, relabel(rule)) == []


def test_settings_can_be_read_where_no_sample_is_read(tmp_path: Path) -> None:
    """The loader has neither numpy nor polars, and no client of Prometheus."""
    file = tmp_path / "etl.yaml"
    queries = (S.format("a", '{job=~"x.*"}'), S.format("b", '{job="y"}'))
    rule = '{"source_labels": ["a"], "regex": "a.*", "action": "keep"}'
    file.write_text(config(*queries, more=f"transform: {{relabel: [{rule}]}}\n"))
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('lz4', 'numpy', 'polars', 'redis', 'requests')))\n"
        "from pathlib import Path\n"
        "import common.runtime.service\n"
        "from common.config import load_settings\n"
        f"print(len(load_settings(Path({str(file)!r}), {{}}).extract.queries))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert (ran.stdout, ran.stderr) == ("2\n", "")


def test_the_reserved_names_are_those_that_the_loader_writes() -> None:
    ours = {one.MEASUREMENT for one in (watermark, seals, configurations)} | {READ_CHECK}
    assert ours == RESERVED_NAMES


def test_behind_a_regex_of_names_suffixes_can_stand(tmp_path: Path) -> None:
    open_text, closed = (
        H.format("a", f'{{job="x",__name__=~"x.*\\\\Qy{end}"}}') for end in ("", "\\\\E")
    )
    (found,) = problems(tmp_path, config(open_text))
    assert "extract.queries[0].select: the regex 'x.*\\\\Qy' has \\Q without \\E" in found
    assert problems(tmp_path, config(closed)) == []
    plain = open_text.replace(", native_histograms: classic", "")
    assert problems(tmp_path, config(plain)) == []


def test_native_histograms_are_dropped_or_classic_series(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, config(H.format("a", "up").replace("classic", "fields")))
    assert "native_histograms" in found
