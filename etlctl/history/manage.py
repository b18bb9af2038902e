"""``etlctl backfill list | pause | resume | cancel``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import typer

from common.config import load_settings
from common.errors import ConfigError, EtlError
from common.exit_codes import ExitCode
from common.state.backfills import Backfill, Backfills, State
from common.state.status.reading import is_over
from common.state.workers import WorkerReport, Workers
from etlctl.connect import redis_of
from etlctl.history.state import document, share_percent, state_of
from etlctl.options import AsJson, ConfigFile
from etlctl.output import escape, print_json, stdout, thousands
from etlctl.tables import Table
from etlctl.times import rfc3339
from etlctl.watching import Seen, Watch, watched

Id = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]

_SAID = {
    "paused": "is paused; `etlctl backfill resume {}` goes on with it.",
    "running": "is running.",
    "cancelled": "is cancelled; what was extracted of it stays loaded.",
}


def add_commands(app: typer.Typer) -> None:
    """Give the group its commands."""
    for name, command in (("list", show), ("pause", pause), ("resume", resume), ("cancel", cancel)):
        app.command(name)(command)


def show(watch: Watch = None, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Show the backfills that run, and the last ones that are over."""
    pipeline = load_settings(config, secrets=("pipeline",)).pipeline

    def look() -> Seen:
        redis, keys = redis_of(pipeline)
        with closing(redis):
            found = Backfills(redis, keys).all()
            workers = Workers(redis, keys).alive()
        if as_json:
            return ExitCode.OK, lambda: print_json({"backfills": [document(one) for one in found]})
        return ExitCode.OK, lambda: _print(found, workers)

    watched(watch, look, as_json=as_json)


def _print(found: Sequence[Backfill], workers: Sequence[WorkerReport]) -> None:
    if not found:
        typer.echo("There is no backfill.")
        return
    table = Table(
        "Backfills",
        "id",
        *("done", "samples", "after", "up to"),
        texts=("state", "feeds"),
        spare=("feeds", "samples"),
    )
    for one in found:
        table.add_row(
            one.id,
            f"{share_percent(one)} %",
            thousands(one.samples),
            rfc3339(one.from_ms),
            rfc3339(one.to_ms),
            escape(state_of(one, workers)),
            escape(", ".join(one.feeds)),
        )
    stdout().print(table)


def pause(id_: Id, config: ConfigFile = None) -> None:
    """Extract no more of a backfill until it is resumed."""
    _change(id_, "paused", config)


def resume(id_: Id, config: ConfigFile = None) -> None:
    """Go on with a backfill that was paused."""
    _change(id_, "running", config)


def cancel(id_: Id, config: ConfigFile = None) -> None:
    """Extract no more of a backfill; what is loaded stays."""
    _change(id_, "cancelled", config)


def _change(id_: str, state: State, config: ConfigFile) -> None:
    redis, keys = redis_of(load_settings(config, secrets=("pipeline",)).pipeline)
    with closing(redis):
        backfills = Backfills(redis, keys)
        found = {one.id: one for one in backfills.all()}
        if id_ not in found:
            raise ConfigError(f"{id_}: there is no such backfill; see `etlctl backfill list`")
        if is_over(found[id_]) or not backfills.change(id_, state):
            raise EtlError(f"{id_}: is over already; see `etlctl backfill list`")
    typer.echo(f"{id_} {_SAID[state].format(id_)}")
