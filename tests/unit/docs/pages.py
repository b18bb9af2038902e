"""The pages, and the pieces of them that are code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from devtools import PROJECT_ROOT

# CHANGELOG.md also names what there is no more.
PAGES = (
    PROJECT_ROOT / "README.md",
    PROJECT_ROOT / "CONTRIBUTING.md",
    *sorted((PROJECT_ROOT / "docs").glob("*.md")),
)
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"``(.+?)``|`([^`]+)`")


def text_of(page: Path) -> str:
    """The page as it is."""
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCED.sub("", text_of(page))


def code_of(page: Path) -> Iterator[str]:
    """Each line of its code blocks (a continued line is one), and each code span of its text."""
    for block in _FENCED.findall(text_of(page)):
        yield from block.replace("\\\n", " ").splitlines()
    for double, single in _SPAN.findall(prose_of(page)):
        yield " ".join((double or single).split())


def words(pattern: str) -> dict[str, set[str]]:
    """Every whole match of a pattern in the code of all pages, with the pages that have it."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for piece in code_of(page):
            for word in re.findall(pattern, piece):
                found.setdefault(word, set()).add(page.name)
    return found


def all_code() -> str:
    """The code of all pages as one text."""
    return "\n".join(piece for page in PAGES for piece in code_of(page))
