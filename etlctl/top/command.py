"""``etlctl top``: where the pipeline stands, live, until q or Ctrl-C."""

from __future__ import annotations

import threading
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from common.config import Settings, load_settings
from common.errors import ConfigError
from common.exit_codes import ExitCode
from etlctl.failures import CannotTell
from etlctl.options import ConfigFile
from etlctl.status.alerts import Alerts, read_alerts
from etlctl.status.command import read_pipeline
from etlctl.top.board import Board, Reading
from etlctl.top.terminal import Terminated, ended_by_signals, has_keys, keys_as_pressed, pressed
from etlctl.watching import pause_option

# An audit of many entries takes its time: Redis is asked for no more than this share of it.
_MOST_SHARE = 0.1
_ALERTS_SECONDS = 15.0
# How soon a reading is shown, and a new size of the terminal filled.
_SHOWN_SECONDS = 0.25
_QUIT = "qQ"

Interval = Annotated[
    float,
    typer.Option(
        "--interval",
        metavar="SECONDS",
        callback=pause_option,
        help="How often Redis is read, at least.",
    ),
]


def top(interval: Interval = 2.0, config: ConfigFile = None) -> None:
    """Show live what `etlctl status` shows, with sparklines.

    A Redis that goes away is said, and waited for. q or Ctrl-C ends it, with 0.
    """
    settings = load_settings(config, secrets=("pipeline",))
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal or not has_keys():
        raise ConfigError("top needs a terminal; `etlctl status --watch 2` does not")
    board, over = Board(), threading.Event()
    defects: list[Exception] = []

    def read() -> None:
        try:
            _keep_reading(settings, board, interval, over)
        except Exception as error:
            defects.append(error)

    # Daemon: a server that does not answer must not hold up the end.
    reader = threading.Thread(target=read, daemon=True)
    try:
        with ended_by_signals(), keys_as_pressed(), _screen(board, console) as live:
            reader.start()
            while not set(pressed(_SHOWN_SECONDS)) & set(_QUIT):
                if defects:
                    raise defects[0]
                live.update(board.render(console.width), refresh=True)
    except KeyboardInterrupt:
        pass
    except Terminated:
        raise typer.Exit(ExitCode.ERROR) from None
    finally:
        over.set()


def _screen(board: Board, console: Console) -> Live:
    """A screen of its own: what the terminal showed before is there again afterwards."""
    first = board.render(console.width)
    return Live(first, console=console, screen=True, auto_refresh=False)


def _keep_reading(
    settings: Settings, board: Board, interval_seconds: float, over: threading.Event
) -> None:
    alerts, alerts_due = Alerts(None, "Prometheus was not asked yet"), 0.0
    while not over.is_set():
        began = time.monotonic()
        try:
            board.add(Reading(read_pipeline(settings), alerts))
        except CannotTell as error:
            board.add(Reading(None, alerts, str(error)))
        took_seconds = time.monotonic() - began
        if began >= alerts_due:
            alerts = read_alerts(settings)
            alerts_due = time.monotonic() + _ALERTS_SECONDS
        over.wait(max(interval_seconds, took_seconds / _MOST_SHARE))
