"""``etlctl doctor``: look at everything that a pipeline needs, and say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from etlctl.options import AsJson, ConfigFile

SECTIONS = ("configuration", "prometheus", "redis", "influxdb", "containers")

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="SECTION",
        help=f"Look at this alone: one of {', '.join(SECTIONS)}; can be given several times.",
    ),
]


def doctor(config: ConfigFile = None, only: Only = None, as_json: AsJson = False) -> None:
    """Check all that a pipeline needs, and say what to do.

    Each line is ok, a warning or a failure. Ends with 0 without failures, 1 if there are any, and 2
    if the configuration cannot be used, so that no server could be asked.
    """
    from common.config import DEFAULT_PATH
    from common.errors import ConfigError
    from common.exit_codes import ExitCode
    from etlctl.doctor.examine import examine
    from etlctl.doctor.report import Level, Report
    from etlctl.output import print_json

    if unknown := sorted(set(only or ()) - set(SECTIONS)):
        raise ConfigError(f"--only: no section {unknown[0]!r}: there are {', '.join(SECTIONS)}")
    report = Report()
    usable = examine(report, config or Path(DEFAULT_PATH), only or SECTIONS)
    code = report.exit_code if usable else ExitCode.CONFIG
    if as_json:
        print_json(report.document() | {"exit_code": int(code)})
        raise typer.Exit(code)
    colors = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "red"}
    for level, line in report.lines():
        if level is None:
            typer.echo(line)
        else:
            word = f"  {level:<8}"
            typer.echo(typer.style(word, fg=colors[level]) + line.removeprefix(word))
    raise typer.Exit(code)
