"""``python -m devtools.demo``: the whole pipeline on this machine, and its proof."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from common.exit_codes import ExitCode
from devtools import PROJECT_ROOT
from devtools.demo.run import Demo
from devtools.demo.view import View
from etlctl.command_line import run
from etlctl.output import stdout
from etlctl.verify.present import table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Seconds = Annotated[
    float,
    typer.Option(
        "--seconds",
        metavar="SECONDS",
        min=0,
        envvar="DEMO_SECONDS",
        help="How long samples are moved; 0 = until Ctrl-C.",
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Where the figures are written; build/demo.json if not given.",
    ),
]

Installed = Annotated[
    float,
    typer.Option(
        "--install-seconds",
        metavar="SECONDS",
        min=0,
        envvar="DEMO_INSTALL_SECONDS",
        help="How long installing took before; it counts as set-up.",
    ),
]

INTERRUPTED = 128 + signal.SIGINT


@app.command()
def demo(seconds: Seconds = 60.0, report: Report = None, install_seconds: Installed = 0.0) -> None:
    """Run the whole pipeline on real servers for a while and prove source and sink equal.

    Needs nothing installed: what is missing is unpacked into .tools/. Ends with 0 only if every
    sample arrived and is accounted for. Ctrl-C stops everything cleanly.
    """
    console = stdout()
    view = View(console)
    stop = threading.Event()
    try:
        with _signals(stop, ctrl_c_ends_run=seconds == 0):
            result = Demo(view, run_seconds=seconds, stop=stop).run()
    except KeyboardInterrupt:
        view.say("Interrupted: everything was stopped, nothing was compared.")
        raise typer.Exit(INTERRUPTED) from None
    result = replace(result, setup_seconds=result.setup_seconds + install_seconds)
    file = report or PROJECT_ROOT / "build" / "demo.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
    for tier, outcome in result.outcomes.items():
        console.print(table(outcome, tier))
    view.say(result.summary())
    view.say(f"The figures are in {file}.")
    raise typer.Exit(ExitCode.ERROR if result.problems else ExitCode.OK)


@contextmanager
def _signals(stop: threading.Event, *, ctrl_c_ends_run: bool) -> Iterator[None]:
    """SIGTERM interrupts like Ctrl-C; with ``ctrl_c_ends_run`` the first Ctrl-C only stops."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        if ctrl_c_ends_run and number == signal.SIGINT and not stop.is_set():
            stop.set()
        else:
            raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    run(app, "demo")
