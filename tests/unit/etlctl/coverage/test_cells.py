"""Cells of the calendar: what each shows, and where rows begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from common.state.feeds import Gap, Range
from common.state.status.coverage import Facts, FeedCoverage, Samples
from etlctl.coverage.cells import DAY_MS, HOUR_MS, State, rows
from etlctl.coverage.present import calendar, legend, summary
from etlctl.times import parse_time


def ms(text: str) -> int:
    return parse_time(text, lambda: 0)


DAY = ms("2026-03-01T00:00:00Z")


def coverage(
    facts: Facts,
    sealed: Sequence[Range] | None = (),
    *,
    start_ms: int = DAY,
    hours: float = 24,
    kept_from_ms: int = 0,
) -> FeedCoverage:
    return FeedCoverage.of(
        "q",
        "cold",
        facts,
        sealed,
        start_ms=start_ms,
        end_ms=start_ms + round(hours * HOUR_MS),
        kept_from_ms=kept_from_ms,
    )


def signs(feed: FeedCoverage) -> dict[str, str]:
    return {
        row.label: "".join(cell.sign if cell else " " for cell in row.cells) for row in rows(feed)
    }


def hours(first: float, last: float) -> Range:
    return DAY + round(first * HOUR_MS), DAY + round(last * HOUR_MS)


WHOLE_DAY = hours(0, 24)


@pytest.mark.parametrize(
    ("facts", "sealed", "shown"),
    [
        ({}, [], "."),
        ({"planned": [WHOLE_DAY]}, None, "L"),
        ({"planned": [WHOLE_DAY]}, [WHOLE_DAY], "S"),
        ({"planned": [WHOLE_DAY], "proven": [WHOLE_DAY]}, None, "P"),
        ({"planned": [WHOLE_DAY], "proven": [WHOLE_DAY]}, [WHOLE_DAY], "#"),
        # Not all of it.
        ({"planned": [WHOLE_DAY], "proven": [WHOLE_DAY]}, [hours(0, 1.999)], "P"),
        ({"planned": [WHOLE_DAY], "proven": [hours(0, 1.999)]}, [WHOLE_DAY], "S"),
        ({"planned": [WHOLE_DAY], "open": [hours(1.9, 3)]}, [], "O"),
        ({"planned": [WHOLE_DAY], "backlog": [hours(1.9, 3)], "open": [hours(1, 2)]}, [], "B"),
        ({"planned": [WHOLE_DAY], "deferred": [hours(1.9, 3)]}, [], "W"),
        ({"planned": [WHOLE_DAY], "purged": [Samples(*hours(0, 1.1), 2)]}, [], "-"),
        ({"planned": [WHOLE_DAY], "dead": [Samples(*hours(1.1, 1.2), 2)]}, [WHOLE_DAY], "D"),
        ({"planned": [WHOLE_DAY], "gaps": [Gap(*hours(1.1, 1.2), "x")]}, [], "G"),
        ({"planned": [WHOLE_DAY], "gaps": [Gap(*hours(1.1, 1.2), "x")]}, [WHOLE_DAY], "S"),
        # It is to be extracted again.
        (
            {
                "planned": [WHOLE_DAY],
                "gaps": [Gap(*hours(1.1, 1.2), "x")],
                "backlog": [hours(1, 1.5)],
            },
            [],
            "B",
        ),
        ({"planned": [WHOLE_DAY], "differing": [Samples(*hours(1.1, 1.2), 2)]}, [WHOLE_DAY], "!"),
        # A range is without its start and with its end.
        ({"planned": [WHOLE_DAY], "backlog": [hours(0, 1), hours(2, 3)]}, [], "L"),
    ],
)
def test_the_second_hour_shows_what_matters_most_of_it(
    facts: dict[str, Any], sealed: Sequence[Range] | None, shown: str
) -> None:
    assert signs(coverage(Facts(**facts), sealed))["2026-03-01"][1] == shown


def test_a_cell_of_which_a_part_is_known_shows_that() -> None:
    feed = coverage(Facts(planned=[hours(1.5, 2.5)]))
    assert signs(feed)["2026-03-01"] == ".LL" + "." * 21


def test_cells_outside_of_the_range_are_empty() -> None:
    feed = coverage(Facts(planned=[WHOLE_DAY]), start_ms=DAY + 5 * HOUR_MS + 1, hours=20)
    assert signs(feed) == {"2026-03-01": " " * 5 + "L" * 19, "2026-03-02": ".." + " " * 22}


def test_what_the_sink_has_deleted_has_no_other_state_but_a_part_that_it_has() -> None:
    facts = Facts(
        planned=[WHOLE_DAY],
        proven=[WHOLE_DAY],
        gaps=[Gap(*hours(0, 1), "x"), Gap(*hours(5, 6), "x")],
    )
    feed = coverage(facts, [hours(1, 24)], kept_from_ms=hours(0, 2.5)[1])
    assert signs(feed)["2026-03-01"][:4] == "XX##"
    assert feed.loaded == feed.sealed == feed.proven == [hours(2.5, 24)]
    assert feed.expired == [hours(0, 2.5)]


@pytest.mark.parametrize(
    ("start", "days", "labels", "lengths"),
    [
        ("2024-02-10T03:00:00Z", 30, ["2024-02", "2024-03"], [29, 31]),
        ("2026-12-31T23:59:59.999Z", 15, ["2026-12", "2027-01"], [31, 31]),
        ("2026-03-01T00:00:00Z", 14, [f"2026-03-{day:02d}" for day in range(1, 15)], [24] * 14),
        ("2026-03-01T00:00:00.001Z", 14, [f"2026-03-{day:02d}" for day in range(1, 16)], [24] * 15),
    ],
)
def test_rows(start: str, days: int, labels: list[str], lengths: list[int]) -> None:
    found = list(rows(coverage(Facts(), start_ms=ms(start), hours=days * 24)))
    assert [row.label for row in found] == labels
    assert [len(row.cells) for row in found] == lengths


def drawn(feed: FeedCoverage, *, colour: bool = False) -> list[str]:
    console = Console(width=80, force_terminal=colour, color_system="standard" if colour else None)
    lines, shown = calendar(feed)
    with console.capture() as captured:
        for line in (*lines, *legend(shown)):
            console.print(line)
    return captured.get().splitlines()


def test_years_of_one_state_take_few_lines() -> None:
    end_ms = DAY + 3650 * DAY_MS
    gap = DAY + 900 * DAY_MS, DAY + 901 * DAY_MS
    facts = Facts(planned=[(DAY, end_ms)], gaps=[Gap(*gap, "x")])
    found = drawn(coverage(facts, [(DAY, gap[0]), (gap[1], end_ms - 1)], hours=3650 * 24))
    assert len(found) < 20
    assert all(len(line) <= 80 for line in found)
    assert "  2026-03     SSSSSSSSSS SSSSSSSSSS SSSSSSSSSSS" in found
    assert "              S up to 2028-07" in found
    assert "  2028-08     SSSSSSSSSS SSSSSSGSSS SSSSSSSSSSS" in found
    assert "              S up to 2036-01" in found


def test_a_calendar_is_read_without_colour_and_has_some_on_a_terminal() -> None:
    feed = coverage(Facts(planned=[hours(0, 20)], proven=[hours(0, 9)]), None)
    assert drawn(feed) == [
        "              00     06     12     18",
        "  2026-03-01  PPPPPP PPPLLL LLLLLL LL....",
        "  L loaded",
        "  P loaded and proven",
        "  . nothing planned",
    ]
    assert any("\x1b[" in line for line in drawn(feed, colour=True))


def test_the_signs_are_one_ascii_character_each_and_differ() -> None:
    found = [state.sign for state in State]
    assert len(set(found)) == len(found)
    assert all(len(sign) == 1 and sign.isascii() and sign != " " for sign in found)


def test_the_summary_leaves_out_what_has_expired() -> None:
    facts = Facts(planned=[WHOLE_DAY], backlog=[hours(23, 24)])
    assert summary(coverage(facts, None, kept_from_ms=hours(0, 4)[1])) == (
        "q@cold: loaded 19h of 20h, proven 0s, sealed unknown"
    )
    assert summary(coverage(Facts())) == "q@cold: no window yet"
