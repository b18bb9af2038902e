"""The pages are laid out for the site so that each link leads somewhere, and nothing is fetched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from devtools.docs.site import PAGES, external, page, prepare

NAV = (PROJECT_ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]


@pytest.mark.parametrize(
    ("folder", "text", "expected"),
    [
        ("", "[a](docs/etlctl.md#x)", "[a](etlctl.md#x)"),
        ("", "![a](docs/images/a.png)", "![a](images/a.png)"),
        ("docs", "[a](../CONTRIBUTING.md)", "[a](contributing.md)"),
        ("docs", "[a](metrics.md)", "[a](metrics.md)"),
        ("docs", "[a](#here)", "[a](#here)"),
        ("docs", "[a](https://example.com/b)", "[a](https://example.com/b)"),
        ("docs", "[`common`](../common/source) b", "`common` b"),
        ("", "```\n[a](docs/b.md)\n```\n", "```\n[a](docs/b.md)\n```\n"),
    ],
)
def test_links_lead_to_pages_of_the_site(folder: str, text: str, expected: str) -> None:
    assert page(text, folder) == expected


def test_the_site_has_every_page_and_its_nav_each_once(tmp_path: Path) -> None:
    prepare(tmp_path / "source")
    laid_out = {path.name for path in (tmp_path / "source").glob("*.md")}
    assert laid_out == {path.name for path in (PROJECT_ROOT / "docs").glob("*.md")} | {
        *PAGES.values()
    }
    listed = re.findall(r": ([\w-]+\.md)$", NAV, re.MULTILINE)
    assert sorted(listed) == sorted(laid_out)


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://example.com/a.js"></script>',
        "<img alt='a' src='//example.com/a.png'>",
        '<link rel="stylesheet" href="https://example.com/a.css">',
        "@import url(https://example.com/a.css)",
    ],
)
def test_what_a_browser_would_fetch_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(text, encoding="utf-8")
    assert external(tmp_path)


def test_links_that_a_reader_follows_are_no_fetch(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="https://example.com">a</a><img src="images/a.png">', encoding="utf-8"
    )
    assert external(tmp_path) == []
