"""Every link of a page leads to a file, and to a heading that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from tests.unit.docs.pages import PAGES, prose_of

LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as the repository's own view and the site make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w -]", "", plain).lower().replace(" ", "-")
        assert anchor not in found, f"{page.name} has the heading {heading} twice"
        found.add(anchor)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    anchors(page)
    for target in LINK.findall(prose_of(page)):
        if "://" in target:
            assert target.startswith("https://"), target
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists() and file.is_relative_to(PROJECT_ROOT), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_linked_from_the_readme_or_a_page_that_is() -> None:
    reached: set[Path] = set()
    waiting = [PROJECT_ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for target in LINK.findall(prose_of(page)):
            name = target.partition("#")[0]
            if name and "://" not in target:
                waiting.append((page.parent / name).resolve())
    assert set(PAGES) <= reached


def test_every_picture_is_shown() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in LINK.findall(prose_of(page))
    }
    pictures = [*(PROJECT_ROOT / "docs").rglob("*.png"), *(PROJECT_ROOT / "docs").rglob("*.svg")]
    assert pictures
    assert set(pictures) <= shown
