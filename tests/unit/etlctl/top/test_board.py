"""What ``top`` shows, also while Redis is away."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from common.state.ledger import Account, Audit
from common.state.status.reading import PipelineStatus
from etlctl.status.alerts import Alerts
from etlctl.top.board import Board, Reading
from etlctl.top.sparkline import sparkline

NONE = Alerts([])
AWAY = Reading(None, NONE, "Redis cannot be reached: refused")


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([0.0, 1.0, 2.0, 4.0, 8.0], 5, "▁▂▃▅█"),
        ([1.0, None, 2.0], 5, "  ▅ █"),
        ([9.0, 1.0, 1.0], 2, "██"),
        ([0.0, 0.0], 2, "▁▁"),
        ([None, None], 2, "  "),
        ([], 3, "   "),
        ([1.0], 0, ""),
        ([-1.0, 1.0], 2, "▁█"),
    ],
)
def test_a_line_of_blocks(values: list[float | None], width: int, line: str) -> None:
    assert sparkline(values, width) == line


class Time:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def reading(extracted: int) -> Reading:
    audit = Audit(0, {"q@hot": Account(extracted, extracted)}, {}, 0, 0, {}, back_pressure=False)
    return Reading(PipelineStatus(audit, {}, [], 10), NONE)


def shown(board: Board) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(board.render(80))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    return lines


def test_figures_stand_above_what_status_shows() -> None:
    clock = Time()
    board = Board(clock)
    for step in range(4):
        clock.seconds = 20.0 * step
        board.add(reading(1_000_000 * step))
    lines = shown(board)
    assert lines[0].startswith("Not all is well: no extractor runs")
    (extracted,) = (line for line in lines if line.startswith("extracted "))
    assert "50,000 samples/s" in extracted
    assert extracted.endswith(" ███")
    assert "In flight" in lines
    assert "q or Ctrl-C ends." in lines


def test_before_the_first_reading() -> None:
    assert shown(Board()) == ["Redis is being read. q or Ctrl-C ends."]


def test_a_redis_that_is_away_is_said_and_what_was_known_stays() -> None:
    clock = Time()
    board = Board(clock)
    board.add(AWAY)
    first, *rest = shown(board)
    assert first == "Whether all is well cannot be told: Redis cannot be reached: refused"
    assert rest == ["q or Ctrl-C ends."]
    board.add(reading(5))
    clock.seconds = 30.0
    board.add(AWAY)
    lines = shown(board)
    assert lines[:2] == [first, "What follows was read 30 s ago."]
    assert not any("Not all is well" in line for line in lines)
    board.add(reading(5))
    assert shown(board)[0].startswith("Not all is well")
