"""Which commands there are. Only the module of the one that is run is imported.

So each starts without what only others need: numpy, requests, rich, the clients of the servers.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Annotated

import typer

# name → (module, its member: a function or a group of commands, what `etlctl --help` says of it)
COMMANDS = {
    "init": (
        "init.command",
        "init",
        "Look at Prometheus and InfluxDB, and write an etl.yaml.",
    ),
    "doctor": (
        "doctor.command",
        "doctor",
        "Check all that a pipeline needs, and say what to do.",
    ),
    "run": ("run.command", "run", "Run all stages as processes of this one, until Ctrl-C."),
    "reload": (
        "reload",
        "reload",
        "Have the services read etl.yaml again; wait until they have.",
    ),
    "once": (
        "once.command",
        "once",
        "Show what a short range of a query becomes, or write it.",
    ),
    "verify": (
        "verify.command",
        "verify",
        "Compare source and sink point by point, in every tier.",
    ),
    "repair": (
        "verify.report",
        "repair",
        "Extract again what verify found missing or different.",
    ),
    "recount": (
        "verify.recount",
        "recount",
        "Find by counts what came late to the source.",
    ),
    "backfill": (
        "history.backfill",
        "backfill_app",
        "Extract time before the feeds' origins, and wait for it.",
    ),
    "extract": ("history.extract", "extract_app", "Have time extracted by hand."),
    "status": (
        "status.command",
        "status",
        "Show whether all is well, and what the stages do.",
    ),
    "coverage": (
        "coverage.command",
        "coverage",
        "Show what of each query is loaded, proven, sealed, missing.",
    ),
    "top": (
        "top.command",
        "top",
        "Show live what `etlctl status` shows, with sparklines.",
    ),
    "tap": (
        "tap.command",
        "tap",
        "Show samples or points as they flow; consume nothing.",
    ),
    "simulate": (
        "simulate",
        "simulate",
        "Set the scenario of the simulated ETL process, or print it.",
    ),
    "identity": (
        "identity",
        "identity",
        "Show which source and sink the Redis namespace belongs to.",
    ),
    "config": ("config", "config_app", "Validate and show the configuration."),
    "import": (
        "imports.command",
        "import_",
        "Write an etl.yaml from a telegraf.conf or a remote_write.",
    ),
    "transform": (
        "transform.command",
        "transform_app",
        "Try the transform's rules on cases in files, or on samples.",
    ),
    "dead-letters": (
        "dead_letters.command",
        "dead_letters_app",
        "Look at dead letters, replay, export or purge them.",
    ),
    "backup": (
        "backup.command",
        "backup",
        "Save in a folder what the pipeline and its servers keep.",
    ),
    "restore": ("backup.command", "restore", "Bring back what `etlctl backup` saved."),
    "secrets": (
        "secrets.command",
        "secrets_app",
        "Make, check, rotate and show the stack's secrets.",
    ),
    "sink": ("sink.command", "sink_app", "Prepare the InfluxDB that the pipeline writes to."),
    "completion": (
        "completion",
        "completion",
        "Print the script that lets a shell complete the command.",
    ),
    "stack": (
        "stack.command",
        "stack_app",
        "Run the stack in containers, through docker compose.",
    ),
}


def app_with(wanted: Collection[str]) -> typer.Typer:
    """``etlctl`` with the ``wanted`` commands; of the others it knows no more than their names."""
    app = typer.Typer(
        name="etlctl",
        help="Operate the pipeline: Prometheus → Redis Streams → InfluxDB.",
        no_args_is_help=True,
        add_completion=False,
        # An operator gets one sentence, never a traceback.
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for name, (module, member, purpose) in COMMANDS.items():
        if name not in wanted:
            app.command(name, help=purpose)(_only_named)
            continue
        found = getattr(import_module(f"etlctl.{module}"), member)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _only_named() -> None:
    raise AssertionError("the command was not imported")


def _print_version(wanted: bool) -> None:
    if wanted:
        from common.version import project_version

        typer.echo(f"etlctl {project_version()}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass
