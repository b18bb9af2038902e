"""The pictures of README and docs: drawn from every panel's definition, small, and shown."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from devtools import PROJECT_ROOT
from devtools.screenshots import ask
from devtools.screenshots.__main__ import IMAGES, MOST_BYTES
from devtools.screenshots.ask import Line, Source
from devtools.screenshots.draw import dashboard, number
from devtools.screenshots.terminal import picture
from etlctl.status.alerts import Alerts
from etlctl.top.board import Board, Reading
from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.spec import DashboardSpec, PanelSpec
from monitoring.model import Limit

HOSTILE = "<script>\"&'"
PANELS = [(board, panel) for board in DASHBOARDS for row in board.rows for panel in row.panels]


def drawn(panel: PanelSpec, lines: list[Line], limit: Limit | None = None) -> str:
    text = dashboard("d", [("row", [(panel, limit, lines)])])
    # What it reads was written here.
    found = ET.fromstring(text)
    return " ".join(one.text or "" for one in found.iter())


@pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=[f"{board.uid} {panel.title}" for board, panel in PANELS]
)
def test_every_panel_is_drawn_with_data_and_without(board: DashboardSpec, panel: PanelSpec) -> None:
    points = [(1000.0 + 15 * step, float(step % 5)) for step in range(20)]
    lines = [Line(f"{HOSTILE}{name}", points) for name in range(9)]
    for limit in (None, Limit(">", 3.0), Limit("<", 0.0)):
        said = drawn(panel, lines, limit)
        assert panel.title in said
        assert panel.kind == "alerts" or "<script>" in said
    assert panel.kind == "alerts" or "unknown" in drawn(panel, [])
    drawn(panel, [Line("one value", [(1000.0, 0.0)])])


@pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=[f"{board.uid} {panel.title}" for board, panel in PANELS]
)
def test_every_query_is_asked_whole(
    board: DashboardSpec, panel: PanelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get_json(url: str, *, params: dict[str, str]) -> Any:
        asked.append(params["query"])
        series = {"metric": {"job": "j"}, "value": [1, "NaN"], "values": [[1, "2"], [2, "+Inf"]]}
        return {"data": {"result": [series]}}

    monkeypatch.setattr(ask, "get_json", get_json)
    lines = Source("http://p", 0, 600).lines(board, panel)
    assert len(asked) == len(panel.queries)
    # What JSON has no number for is not drawn.
    assert all(line.points == [(1.0, 2.0)] for line in lines)
    assert not [expr for expr in asked if re.search(r"\$\w", expr)]


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.25, "s", "250 ms"),
        (1200, "s", "20 min"),
        (0.5, "percentunit", "50 %"),
        (2_500_000, "short", "2.5 M"),
        (1536, "bytes", "1.5 KiB"),
        (1200, "suffix: samples/s", "1.2 k samples/s"),
    ],
)
def test_numbers_have_their_units(value: float, unit: str, said: str) -> None:
    assert number(value, unit) == said


def test_the_picture_of_a_terminal_loads_nothing() -> None:
    board = Board()
    board.add(Reading(None, Alerts([]), "Redis cannot be reached"))
    found = ET.fromstring(picture(board))
    said = " ".join(one.text or "" for one in found.iter()).replace("\N{NO-BREAK SPACE}", " ")
    assert "Redis cannot be reached" in said and "etlctl top" in said
    assert "http" not in said and "@font-face" not in said


def test_every_picture_is_small_and_shown() -> None:
    pages = [PROJECT_ROOT / "README.md", *(PROJECT_ROOT / "docs").glob("*.md")]
    shown: set[Path] = set()
    for page in pages:
        for name in re.findall(r"\]\(([^)]*images/[^)]+)\)", page.read_text(encoding="utf-8")):
            shown.add((page.parent / name).resolve())
    assert shown == set(IMAGES.iterdir())
    assert all(image.stat().st_size <= MOST_BYTES for image in shown)
