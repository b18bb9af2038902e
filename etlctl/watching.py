"""``--watch``: a command that shows the same again and again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import isfinite
from typing import Annotated

import typer

from common.exit_codes import ExitCode
from etlctl.failures import exit_code_of, is_expected, message_of
from etlctl.output import print_json, printed, remark, stdout
from etlctl.times import Clock

_LEAST_SECONDS, _MOST_SECONDS = 0.2, 86_400.0
# What the command ends with if nothing is shown after it, and what shows it.
Seen = tuple[ExitCode, Callable[[], None]]


def pause_option(seconds: float | None) -> float | None:
    """The seconds of an option, if one can wait so long."""
    if seconds is not None and not (
        isfinite(seconds) and _LEAST_SECONDS <= seconds <= _MOST_SECONDS
    ):
        raise typer.BadParameter(
            f"must be {_LEAST_SECONDS:g} to {_MOST_SECONDS:,.0f} seconds, not {seconds:g}"
        )
    return seconds


Watch = Annotated[
    float | None,
    typer.Option(
        "--watch",
        metavar="SECONDS",
        callback=pause_option,
        help="Show it again every so many seconds, until Ctrl-C.",
    ),
]


def watched(
    every_seconds: float | None,
    look: Callable[[], Seen],
    *,
    as_json: bool,
    clock: Clock | None = None,
) -> ExitCode:
    """Show once what ``look`` finds, or every so many seconds until Ctrl-C; the last exit code.

    An error ends the command only where it is shown once: a server that is away may come back.
    """
    if every_seconds is None:
        code, show = look()
        show()
        return code
    sleep = (clock or Clock()).sleep
    code = ExitCode.OK
    try:
        while not printed.reader_gone:
            code, show = _looked(look, as_json=as_json)
            if not as_json:
                console = stdout()
                if console.is_terminal:
                    console.clear()
            show()
            sys.stdout.flush()
            sleep(every_seconds)
    except KeyboardInterrupt:
        pass
    return code


def _looked(look: Callable[[], Seen], *, as_json: bool) -> Seen:
    try:
        return look()
    except Exception as error:
        if not is_expected(error):
            raise
        code, problems = exit_code_of(error), message_of(error).splitlines()

    def show() -> None:
        for problem in problems:
            remark(f"etlctl: {problem}")
        if as_json:
            print_json({"problems": problems, "exit_code": int(code)})

    return code, show
