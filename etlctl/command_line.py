"""Running a command line: what it ends with, and how an error of it is told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from common.exit_codes import ExitCode
from etlctl.failures import exit_code_of, is_expected, message_of
from etlctl.output import print_json, printed, remark, use_any_stdout

_JSON = "--json"


def run(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``app`` and exit; an error is one line for each problem on stderr.

    With ``--json`` it is also a document on stdout. Without ``arguments`` it is the process' own
    command line.
    """
    if arguments is None:
        arguments = sys.argv[1:]
        use_any_stdout()
    printed.json = printed.reader_gone = False
    try:
        # Not standalone: then it would end the process by itself, and say nothing as JSON.
        code = app(list(arguments), prog_name=name, standalone_mode=False)
    except typer.Abort:
        remark("Aborted!")
        _end(ExitCode.ERROR, ["Aborted!"], arguments)
    except Exception as error:
        if is_expected(error):
            problems = message_of(error).splitlines()
            for problem in problems:
                remark(f"{name}: {problem}")
            _end(exit_code_of(error), problems, arguments)
        if not _is_of_the_command_line(error):
            raise
        error.show()  # type: ignore[attr-defined]
        _end(ExitCode.CONFIG, [error.format_message()], arguments)  # type: ignore[attr-defined]
    sys.exit(code or ExitCode.OK)


def _is_of_the_command_line(error: Exception) -> bool:
    # Typer comes with a click of its own, or uses the installed one: both look like this.
    return hasattr(error, "show") and hasattr(error, "format_message")


def _end(code: ExitCode, problems: Sequence[str], arguments: Sequence[str]) -> NoReturn:
    # A command that fails halfway has printed its document already.
    if _JSON in arguments and not printed.json:
        print_json({"problems": list(problems), "exit_code": int(code)})
    sys.exit(code)
