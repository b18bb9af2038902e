"""docs/line-protocol.md says what the code does: its examples are run, its reasons compared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.samples.line_names import map_key, map_measurement, map_value
from common.samples.series import MAX_KEY_BYTES, SeriesDrop
from devtools import PROJECT_ROOT
from services.extractor.extract import NATIVE_HISTOGRAM
from services.extractor.push.receive import STALE_MARKER
from services.transformer import transform
from services.transformer.clean import SampleDrop
from services.transformer.line_protocol import MAX_OUTPUT_BYTES, MAX_OUTPUT_LINES

ROOT = PROJECT_ROOT
TEXT = (ROOT / "docs" / "line-protocol.md").read_text(encoding="utf-8")
MAPS = {"value": map_value, "key": map_key, "measurement": map_measurement}


def tables() -> Iterator[tuple[str, list[list[str]]]]:
    """The first head and the rows of each table, cells without their backquotes."""
    for table in re.findall(r"(?:^\|.*\|\n)+", TEXT, re.MULTILINE):
        rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in table.splitlines()
        ]
        yield rows[0][0], rows[2:]


EXAMPLES = [
    (head, json.loads(cells[0].strip("`")), json.loads(cells[1].strip("`")))
    for head, rows in tables()
    if head in MAPS
    for cells in rows
]


@pytest.mark.parametrize(("kind", "text", "held"), EXAMPLES)
def test_examples(kind: str, text: str, held: str) -> None:
    assert MAPS[kind](text) == held


def test_there_are_examples_of_every_kind() -> None:
    assert {kind for kind, _, _ in EXAMPLES} == set(MAPS)


def test_reasons() -> None:
    dropped, dead = (
        [row[0].strip("`") for row in rows] for head, rows in tables() if head == "reason"
    )
    assert sorted(dropped) == sorted([*SeriesDrop, *SampleDrop, NATIVE_HISTOGRAM, STALE_MARKER])
    source = Path(transform.__file__).read_text(encoding="utf-8")
    used = set(re.findall(r'(?:DeadLetter\(|_dead\(\s*entry,\s*)"(\w+)"', source))
    used |= set(re.findall(r'"(\w+)" if other else "(\w+)"', source)[0])
    assert set(dead) == used


def test_limits() -> None:
    assert f"{MAX_KEY_BYTES:,} bytes" in TEXT
    assert f"{MAX_OUTPUT_LINES:,} lines" in TEXT
    assert f"{MAX_OUTPUT_BYTES // 1_000_000} MB" in TEXT
