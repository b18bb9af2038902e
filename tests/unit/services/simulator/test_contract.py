"""The contract of the log: complete, documented, and small enough to be relied on."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_type_hints

from common.runtime import etl_log
from common.runtime.etl_log import COMMON_FIELDS, ERROR_TYPES, EVENT_FIELDS, EVENTS, FIELDS, EtlLine
from devtools import PROJECT_ROOT
from services.simulator.scenarios import REQUESTS
from services.simulator.settings import OPTIONS

ROOT = PROJECT_ROOT
PAGE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its own head."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section, f"docs/simulator.md has no heading ## {heading}"
    found = re.findall(r"^\| (.*) \|$", section[1], re.MULTILINE)
    return [[cell.strip() for cell in row.split(" | ")] for row in found[2:]]


def test_every_field_is_typed_described_and_of_some_event() -> None:
    own = {name for fields in EVENT_FIELDS.values() for name in fields}
    assert set(FIELDS) == set(get_type_hints(EtlLine)) == own | set(COMMON_FIELDS)
    assert not own & set(COMMON_FIELDS)
    assert set(EVENT_FIELDS) == set(EVENTS)
    assert EtlLine.__required_keys__ == set(COMMON_FIELDS)
    assert len(ERROR_TYPES) == 5


def test_the_contract_needs_the_standard_library_only() -> None:
    tree = ast.parse(Path(etl_log.__file__).read_text(encoding="utf-8"))
    imported = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert imported == ["__future__", "typing"]


def test_the_page_has_every_field_as_the_contract_has_it() -> None:
    described = {name.strip("`"): words for name, _, words in rows("Fields of a line")}
    assert list(described.items()) == list(FIELDS.items())


def test_the_page_says_which_lines_have_a_field() -> None:
    for name, lines, _ in rows("Fields of a line"):
        events = [event for event, own in EVENT_FIELDS.items() if name.strip("`") in own]
        expected = ", ".join(f"`{event}`" for event in events) or "all"
        assert lines == expected, name


def test_the_page_has_every_scenario() -> None:
    assert [name.strip("`") for name, *_ in rows("Scenarios")] == list(REQUESTS)


def test_the_page_has_every_setting_with_its_default() -> None:
    documented = {cells[0].strip("`"): cells[1] for cells in rows("Settings")}
    assert documented == {
        OPTIONS.variable(option.name): f"`{option.default}`"
        if option.default
        else "none: must be given"
        if option.required
        else "none"
        for option in OPTIONS.options
    }
