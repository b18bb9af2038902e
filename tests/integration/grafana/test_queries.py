"""Every panel, variable and rule is answered through Grafana; a healthy pipeline is behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from monitoring.render.panel_names import DATASOURCE
from tests.e2e.test_panels import RIGHTLY_EMPTY
from tests.integration.grafana.filling import fill, has_value, panels_of, queries_of, values_of
from tests.integration.grafana.server import Grafana
from tests.integration.grafana.test_loads import BOARDS, RULES

PANELS = [(board, panel) for board in BOARDS for panel in panels_of(board) if panel.get("targets")]


@pytest.fixture
def options(grafana: Grafana) -> Callable[[str, str], list[str]]:
    """Values of a label of the series that a selector matches, by way of Grafana."""

    def ask(selector: str, label: str) -> list[str]:
        path = f"/api/datasources/uid/{DATASOURCE}/resources/api/v1/label/{label}/values"
        found: list[str] = grafana.get(path, **{"match[]": selector})["data"]
        return found

    return ask


@pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=[f"{board['uid']} {panel['title']}" for board, panel in PANELS]
)
def test_a_panel_is_answered(
    grafana: Grafana,
    options: Callable[[str, str], list[str]],
    board: dict[str, Any],
    panel: dict[str, Any],
) -> None:
    queries = queries_of(panel, values_of(board, options))
    results = grafana.query(queries)
    for number, query in enumerate(queries):
        result = results[query["refId"]]
        assert "error" not in result, (query["expr"], result)
        if f"{board['uid']} {panel['title']} {number}" not in RIGHTLY_EMPTY:
            assert has_value(result), query["expr"]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_all_is_what_the_variable_offers(
    options: Callable[[str, str], list[str]], board: dict[str, Any]
) -> None:
    """Each option is part of All, and All chooses no series that no option chooses."""
    values = values_of(board, options)
    for variable in board["templating"].get("list", ()):
        name = variable["name"]
        selector, label = re.findall(r"label_values\((.*), (\w+)\)", variable["query"]["query"])[0]
        offered = options(fill(selector, values), label)
        assert offered, name
        assert all(re.fullmatch(values[name], option) for option in offered), name
        metric = selector.partition("{")[0]
        chosen = ", ".join(f'{one}=~"{value}"' for one, value in values.items())
        assert sorted(options(f"{metric}{{{chosen}}}", label)) == sorted(offered), name


@pytest.mark.parametrize("uid", RULES)
def test_a_rule_has_a_value_while_all_is_well(grafana: Grafana, uid: str) -> None:
    """Grafana takes an empty answer for missing data."""
    (first, *_) = RULES[uid]["data"]
    result = grafana.query([first["model"]])["A"]
    assert "error" not in result, result
    assert has_value(result), first["model"]["expr"]
