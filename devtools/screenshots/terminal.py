"""A picture of ``etlctl top`` with what it read from a running pipeline."""

from __future__ import annotations

import io
import re
import time

from rich.console import Console

from common.config import Settings
from etlctl.status.alerts import read_alerts
from etlctl.status.command import read_pipeline
from etlctl.top.board import Board, Reading

WIDTH_COLUMNS = 80
_READ_EVERY_SECONDS = 2.0
# The fonts that rich's picture would load from elsewhere; every font of one width will do.
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def watch(board: Board, settings: Settings, seconds: float) -> None:
    """Read the pipeline as ``etlctl top`` does, for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        board.add(Reading(read_pipeline(settings), read_alerts(settings)))
        time.sleep(_READ_EVERY_SECONDS)


def picture(board: Board) -> bytes:
    """What a terminal of 80 columns shows, as SVG that loads nothing."""
    console = Console(
        record=True, width=WIDTH_COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False
    )
    console.print(board.render(WIDTH_COLUMNS))
    return _FONTS.sub("", console.export_svg(title="etlctl top", unique_id="top")).encode()
