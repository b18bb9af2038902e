"""Tables fit the width that there is: numbers whole, names readable, columns left out by name."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import termios
from collections import Counter

import pytest
from rich.console import Console

from common.state.ledger import Account, Audit, Depth
from common.state.status.reading import PipelineStatus
from common.state.windows import FeedStatus, Gap
from devtools import PROJECT_ROOT
from etlctl.status import present as status
from etlctl.tables import TEXT_MIN_CHARS, Table
from etlctl.verify.present import table as verify_table
from services.verifier.outcome import Outcome, QueryResult

MANY = 987_654_321_012
LONG = "a_query_whose_name_is_" + "very_" * 14 + "long"
NOW_MS = 1_764_000_000_000
AUDIT = Audit(
    NOW_MS,
    {
        f"{name}@hot": Account(MANY, MANY, {"not_whitelisted": MANY, "nan": 1}, MANY, MANY)
        for name in ("raw", LONG)
    },
    {"raw": Depth(MANY, MANY, MANY, NOW_MS - MANY), "points": Depth()},
    0,
    MANY,
    {},
    False,
)
FEEDS = {
    f"{name}@hot": FeedStatus(
        query=name,
        tier="hot",
        fingerprint="f",
        origin_ms=0,
        head_ms=NOW_MS,
        backlog=[(0, NOW_MS)],
        open=[],
        unsettled=[],
        attempts=0,
        planned_ms=0,
        gaps=MANY,
        reconciled=True,
    )
    for name in ("raw", LONG)
}
GAPS = {LONG: [Gap(NOW_MS, NOW_MS + 1_000, "older than what the source keeps")]}


def result(name: str) -> QueryResult:
    made = QueryResult(name, dropped=Counter(not_whitelisted=MANY))
    made.source = made.expected = made.found = made.missing = made.extra = made.different = MANY
    return made


TABLES = {
    "verify": verify_table(Outcome(0, NOW_MS, [result("raw"), result(LONG), QueryResult("none")])),
    "accounts": status.accounts(AUDIT),
    "windows": status.windows(PipelineStatus(AUDIT, FEEDS, [], MANY)),
    "streams": status.streams(AUDIT),
    "gaps": status.gap_table(GAPS),
}


def shown(table: Table, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def numbers(lines: list[str]) -> set[str]:
    return set(re.findall(r"\d+(?:,\d+)+", "\n".join(lines)))


@pytest.mark.parametrize("width", [60, 80, 120, 140])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_and_cuts_nothing(name: str, width: int) -> None:
    table = TABLES[name]
    lines = shown(table, width)

    assert max(map(len, lines)) <= width
    # A number is as where there is room for everything, or not there at all.
    assert numbers(lines) <= numbers(shown(table, 1_000))
    for heading in table.headings:
        assert heading in " ".join(" ".join(lines).split())
    # A long name is whole, in parts that can be read.
    name_width = table.widths(width)[0]
    assert name_width >= min(TEXT_MIN_CHARS, table.widths(1_000)[0])
    if name != "streams":
        assert LONG in "".join(line[:name_width].strip() for line in lines)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_least_important_columns_are_left_out_first(width: int) -> None:
    table = TABLES["verify"]
    kept = [table.headings[index] for index in table.widths(width)]
    assert kept[0] == "query"
    assert kept[-1] == "verdict"
    assert (
        kept[1:-1]
        == {
            60: ["missing"],
            80: ["missing", "different"],
            120: ["expected", "found", "missing", "extra", "different"],
        }[width]
    )


def test_usual_numbers_leave_little_out_of_80_columns() -> None:
    found = QueryResult("http_request_rate", source=1_234_567, expected=1_234_567, found=1_234_567)
    table = verify_table(Outcome(0, NOW_MS, [found]))
    kept = [table.headings[index] for index in table.widths(80)]
    assert kept == ["query", "expected", "found", "missing", "extra", "different", "verdict"]


def test_markup_counts_no_width() -> None:
    table = Table("", "name", "number", texts=("text",))
    table.add_row("[bold red]abc[/]", "1", "[green]fine[/]")
    assert table.widths(80) == {0: 4, 1: 6, 2: 4}


def test_the_width_is_that_of_the_terminal() -> None:
    """A terminal of 60 columns, and the command as an operator runs it."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 60))
    code = "from tests.unit.etlctl.test_tables import TABLES\n"
    code += "from etlctl.output import stdout\nstdout().print(TABLES['verify'])"
    environ = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env=environ | {"TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        timeout=60,
        check=True,
    )
    os.close(follower)
    said = os.read(leader, 100_000).decode()
    os.close(leader)
    plain = re.sub(r"\x1b\[[\d;]*m", "", said)
    assert [line.rstrip() for line in plain.splitlines()] == shown(TABLES["verify"], 60)
