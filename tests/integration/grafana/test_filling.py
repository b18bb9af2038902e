"""Variables are filled as Grafana fills them, on the rendered dashboards too; needs no Grafana."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from monitoring.render.files import render
from tests.integration.grafana.filling import fill, has_value, panels_of, queries_of, values_of

BOARDS = [json.loads(text) for name, text in render().items() if name.endswith(".json")]


def label_values(selector: str, label: str) -> list[str]:
    return [f"{label}-1", f"{label}.2"]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_every_target_of_the_dashboards_can_be_filled(board: dict[str, object]) -> None:
    values = values_of(board, label_values)
    for panel in panels_of(board):
        for query in queries_of(panel, values):
            assert "$job" not in query["expr"] and "$instance" not in query["expr"]


def test_all_is_its_own_value_or_every_option() -> None:
    def variable(name: str, query: str, all_value: str | None) -> dict[str, object]:
        return {"name": name, "query": {"query": query}, "allValue": all_value}

    asked = []

    def options(selector: str, label: str) -> list[str]:
        asked.append(selector)
        return label_values(selector, label)

    board = {
        "templating": {
            "list": [
                variable("job", 'label_values(up{job!="x"}, job)', None),
                variable("instance", 'label_values(up{job=~"$job"}, instance)', ".+"),
            ]
        }
    }
    assert values_of(board, options) == {"job": r"(job\\-1|job\\.2)", "instance": ".+"}
    assert asked == ['up{job!="x"}', r'up{job=~"(job\\-1|job\\.2)"}']


def test_what_the_server_fills_in_stays() -> None:
    assert fill('rate(a{job=~"${job}"}[$__rate_interval])', {"job": "a|b"}) == (
        'rate(a{job=~"a|b"}[$__rate_interval])'
    )


def test_a_variable_without_a_value_is_named() -> None:
    with pytest.raises(ValueError, match=r"no value of \$jobs: up\{job=\"\$jobs\"\}"):
        fill('up{job="$jobs"}', {"job": "x"})


@pytest.mark.parametrize(
    ("column", "found"), [([1.5], True), ([None, 0], True), ([None], False), ([], False)]
)
def test_a_result_has_a_value(column: list[float | None], found: bool) -> None:
    frame = {
        "schema": {"fields": [{"type": "time"}, {"type": "number"}]},
        "data": {"values": [[0 for _ in column], column]},
    }
    assert has_value({"frames": [frame]}) is found
    assert not has_value({"error": "bad_data"})


def test_every_variable_of_the_suite_is_documented() -> None:
    code = (Path(__file__).parent / "server.py").read_text(encoding="utf-8")
    page = (PROJECT_ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    named = set(re.findall(r"ETL_TEST_GRAFANA_\w+", code))
    assert named == set(re.findall(r"ETL_TEST_GRAFANA_\w+", page))
