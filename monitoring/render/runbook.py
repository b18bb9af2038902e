"""docs/runbook.md, taken apart: a section for each alert."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitoring import PROJECT_ROOT
from monitoring.render.panel_names import RUNBOOK_DASHBOARD

# Of a panel as wide as a page of 1,600 pixels with the menu beside it: a line of text and the space
# below a paragraph, in pixels; the panel's title and padding.
_CHARS_A_LINE = 180
_LINE_PX = 22
_PARAGRAPH_PX = 16
_FRAME_PX = 48
# A row of the grid, and what of it is between two panels.
_ROW_PX = 38
_BETWEEN_PX = 8

PAGE = PROJECT_ROOT / "docs" / "runbook.md"


@dataclass(frozen=True, slots=True)
class Section:
    """What the runbook says of one alert, without the heading."""

    alert: str
    text: str


def sections(page: Path = PAGE) -> tuple[Section, ...]:
    """The sections in the page's order; an alert's heading is ``## EtlName``."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^## (Etl\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return tuple(Section(alert, body.strip()) for alert, body in found)


def in_grafana(section: Section, ids: Mapping[str, int]) -> str:
    """The section's text with links that lead somewhere inside Grafana.

    Other sections are panels of the same dashboard; other pages are not there, only named.
    """

    def link(found: re.Match[str]) -> str:
        text, target = found[1], found[2]
        for alert, number in ids.items():
            if target == f"#{alert.lower()}":
                return f"[{text}](/d/{RUNBOOK_DASHBOARD}?viewPanel={number})"
        page = target.partition("#")[0]
        return f"docs/{page}" if text == page else f"{text} (docs/{page})"

    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", link, section.text)


def text_height_px(markdown: str) -> int:
    """How high a panel must be that shows the whole text; lines of the source are no lines of it.

    Of a link only its text is seen.
    """
    paragraphs = [one for one in re.split(r"\n\s*\n", markdown.strip()) if one]
    shown = (re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(one.split())) for one in paragraphs)
    lines = sum(math.ceil(len(re.sub(r"[*`]", "", text)) / _CHARS_A_LINE) for text in shown)
    return lines * _LINE_PX + len(paragraphs) * _PARAGRAPH_PX + _FRAME_PX


def panel_rows(markdown: str) -> int:
    """Rows of the dashboard's grid that the text takes."""
    return math.ceil((text_height_px(markdown) + _BETWEEN_PX) / _ROW_PX)


def panel_ids(found: tuple[Section, ...]) -> dict[str, int]:
    """Alert → id of its panel in the runbook's dashboard."""
    return {section.alert: number for number, section in enumerate(found, start=1)}


def first_step(section: Section) -> str:
    """The first sentence of what to check, as plain text."""
    (check,) = re.findall(r"\*\*Check:\*\* (.*?)(?=\n\n|\Z)", section.text, re.DOTALL)
    plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(check.split()))
    plain = plain.replace("**", "").replace("*", "")
    sentence = re.split(r"(?<=[.?]) (?=[A-Z`])", plain)[0]
    whole = sentence if sentence[-1] in ".?" else f"{sentence}."
    return f"{whole[0].upper()}{whole[1:]}"
