"""``python -m monitoring``: renders and checks; docs/monitoring.md."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from common.errors import ConfigError, StackError
from common.exit_codes import ExitCode

app = typer.Typer(
    name="monitoring",
    help="Alerts, recording rules and dashboards, for Prometheus and Grafana.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def render(
    check: Annotated[bool, typer.Option("--check", help="compare only, write nothing")] = False,
) -> None:
    """Write the files that Prometheus and Grafana read, or compare them."""
    from monitoring.render.files import differences, write

    if check:
        _end(differences(), "run `python -m monitoring render`")
        return
    for name in write():
        typer.echo(f"deploy/{name}")


@app.command()
def check() -> None:
    """Compare the rendered files; have promtool and docker compose check them."""
    from monitoring.render.checks import Promtool, check_all

    failed = []
    for outcome in check_all(Promtool()):
        status = "FAILED" if outcome.problem else "skip" if outcome.skipped else "ok"
        typer.echo(f"{status:6} {outcome.name}")
        failed += outcome.problem.splitlines()
    _end(failed, "")


@app.command()
def receivers(
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="file to write; stdout if not given")
    ] = None,
    secrets: Annotated[
        Path,
        typer.Option(metavar="FOLDER", envvar="SECRETS_DIR", help="where the secret files lie"),
    ] = Path("secrets"),
    check: Annotated[
        bool, typer.Option("--check", help="write nothing, say whether Grafana can use all of it")
    ] = False,
    rendered: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", envvar="GRAFANA_RECEIVERS_FILE", help="what --check finds rendered"
        ),
    ] = None,
) -> None:
    """Render Grafana's contact points and policies for the receivers that are configured."""
    from monitoring.render.files import render_receivers
    from monitoring.render.receivers import file_problems, receivers_from

    configured = receivers_from(os.environ, secrets)
    text = render_receivers(configured)
    if check:
        if rendered is not None and (found := [*file_problems(rendered, os.environ)]):
            raise ConfigError(*found)
        typer.echo(configured.summary)
        return
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        # Grafana reads it as a user of its own; there is no secret in it.
        output.chmod(0o644)
    except OSError as error:
        raise ConfigError(f"{output}: {error.strerror}") from error


def _end(problems: list[str], advice: str) -> None:
    for line in problems:
        typer.echo(f"monitoring: {line}", err=True)
    if problems:
        if advice:
            typer.echo(f"monitoring: {advice}", err=True)
        raise typer.Exit(ExitCode.ERROR)


def main() -> None:
    """Run one command; an error is one line for each problem."""
    try:
        app(prog_name="python -m monitoring")
    except (ConfigError, StackError) as error:
        for line in str(error).splitlines():
            typer.echo(f"monitoring: {line}", err=True)
        config = isinstance(error, ConfigError)
        sys.exit(ExitCode.CONFIG if config else ExitCode.ERROR)


if __name__ == "__main__":
    main()
