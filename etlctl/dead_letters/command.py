"""``etlctl dead-letters``: what could not be delivered, and what is to become of it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from redis import Redis
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from common.config import load_settings
from common.exit_codes import ExitCode
from common.state.dead_letters.counted import CountedDeadLetters
from common.state.dead_letters.kept import AnyDeadLetters, DeadLetters, KeptDeadLetter
from common.state.dead_letters.payloads import with_payloads
from common.state.keys import Keys
from etlctl.connect import redis_of
from etlctl.dead_letters.carry_out import Filters, Outcome, carry_out, chosen
from etlctl.dead_letters.counted import (
    counted_lines,
    counted_metadata,
    counted_samples,
    counted_table,
)
from etlctl.dead_letters.export import document, metadata, refuse_existing
from etlctl.dead_letters.export import export as write_file
from etlctl.dead_letters.payloads import batch_of, batch_summary
from etlctl.dead_letters.present import how_many, metadata_lines, payload_lines, table
from etlctl.options import AsJson, ConfigFile, Yes, group, shared_options
from etlctl.output import print_json, progress_bar, remark, stdout

dead_letters_app = group("Look at dead letters, replay, export or purge them.")

_FEW_FAILURES = 10

Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="REASON", help="Only dead letters with this reason."),
]
Stage = Annotated[
    str | None,
    typer.Option("--stage", metavar="STAGE", help="Only dead letters of this stage."),
]
Query = Annotated[
    str | None,
    typer.Option("--query", metavar="NAME", help="Only dead letters of this query."),
]
Limit = Annotated[
    int,
    typer.Option(
        "--limit", metavar="N", min=0, max=1_000_000_000, help="Show the newest N; 0 = all."
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a dead letter.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of dead letters.")]
Everything = Annotated[bool, typer.Option("--all", help="All dead letters.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="Where they are written.")]
Force = Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")]


class Selection(NamedTuple):
    """Which dead letters are meant: those with ``ids``, else those that ``filters`` admit."""

    ids: tuple[str, ...]
    filters: Filters
    yes: bool
    as_json: bool
    config: Path | None


def filters_of(reason: Reason = None, stage: Stage = None, query: Query = None) -> Filters:
    """What a dead letter must be like."""
    return Filters(reason, stage, query)


@shared_options("filters", filters_of)
def selection_of(
    ids: Ids = None,
    *,
    filters: Filters,
    everything: Everything = False,
    yes: Yes = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> Selection:
    """Raises :class:`typer.BadParameter` when it is not clear what is wanted."""
    ways = sum(map(bool, (ids, filters, everything)))
    if ways != 1:
        what = "choose them in one way only" if ways else "say which"
        raise typer.BadParameter(f"{what}: ids, or --reason, --stage, --query, or --all")
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask on: say --yes")
    return Selection(tuple(ids or ()), filters, yes, as_json, config)


@dead_letters_app.command("list")
@shared_options("filters", filters_of)
def list_(
    *,
    filters: Filters,
    limit: Limit = 100,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """List dead letters, the newest last. Payloads are not read."""
    found: deque[KeptDeadLetter] = deque(maxlen=limit or None)
    number = samples = 0
    with _opened(config) as (redis, keys):
        dead = DeadLetters(redis, keys)
        only_counted = list(filter(filters.admit, dead.counted()))
        for letter in filter(filters.admit, dead):
            found.append(letter)
            number += 1
            samples += letter.samples
    if as_json:
        shown = [metadata(letter) for letter in found]
        counts = [counted_metadata(letters) for letters in only_counted]
        print_json(
            {"matching": number, "samples": samples, "dead_letters": shown, "counted": counts}
        )
        return
    if found:
        stdout().print(table(found))
    cut = f", the newest {len(found)} are shown" if len(found) < number else ""
    typer.echo(f"{how_many(number, samples)}{cut}.")
    if only_counted:
        stdout().print(counted_table(only_counted))
        typer.echo(f"{counted_samples(only_counted)} are only counted.")


@dead_letters_app.command("show")
def show(id_: Id, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Show one dead letter and what it holds."""
    with _opened(config) as (redis, keys):
        letter = DeadLetters(redis, keys).find(id_)
        if isinstance(letter, CountedDeadLetters):
            _show_counted(letter, as_json=as_json)
            return
        ((_, payload),) = with_payloads(redis, keys, [letter])
    if as_json:
        batch = batch_of(payload, letter.samples) if payload is not None else None
        content = {"content": batch_summary(batch)} if batch is not None else {}
        print_json({**document(letter, payload), **content})
        return
    for line in (*metadata_lines(letter), "", *payload_lines(payload, letter.samples)):
        typer.echo(line)


def _show_counted(letters: CountedDeadLetters, *, as_json: bool) -> None:
    if as_json:
        print_json(counted_metadata(letters))
        return
    for line in counted_lines(letters):
        typer.echo(line)


@dead_letters_app.command("replay")
@shared_options("selection", selection_of)
def replay(selection: Selection) -> None:
    """Hand dead letters to the stage that refused them, once more.

    The windows of those that were only counted are extracted again. Choose them by ID, by a filter,
    or with --all.
    """
    _carry_out(
        selection, "Replay", "replayed", "Their stage will try them again", DeadLetters.replay
    )


@dead_letters_app.command("purge")
@shared_options("selection", selection_of)
def purge(selection: Selection) -> None:
    """Give dead letters up for good.

    Their samples are counted as dropped ("purged"). Choose them by ID, by a filter, or with --all.
    """
    _carry_out(selection, "Purge", "purged", "They cannot be brought back", DeadLetters.purge)


@dead_letters_app.command("export")
@shared_options("filters", filters_of)
def export(
    file: File,
    *,
    filters: Filters,
    force: Force = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Write dead letters with their payloads to FILE.

    Each is a JSON document on a line. The file is complete or it is not there. Nothing changes in
    Redis.
    """
    refuse_existing(file, force=force)
    with _opened(config) as (redis, keys):
        found = chosen(DeadLetters(redis, keys), (), filters)
        selected = [letter for letter in found if isinstance(letter, KeptDeadLetter)]
        only_counted = [letter for letter in found if isinstance(letter, CountedDeadLetters)]
        with _progress("exporting", len(selected), quiet=as_json) as step:
            lost = write_file(redis, keys, selected, file, force=force, progress=step)
    samples = sum(letter.samples for letter in selected)
    if lost:
        remark(f"note: {lost} of the dead letters have lost their payload")
    if only_counted:
        remark(f"note: {counted_samples(only_counted)} are only counted, and not in the file")
    if as_json:
        counts = {"exported": len(selected), "samples": samples, "without_payload": lost}
        print_json({"file": str(file), **counts})
        return
    typer.echo(f"{how_many(len(selected), samples)} written to {file}.")


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Redis, Keys]]:
    settings = load_settings(config, secrets=("pipeline",))
    redis, keys = redis_of(settings.pipeline)
    with closing(redis):
        yield redis, keys


def _confirm(verb: str, selected: list[AnyDeadLetters], consequence: str) -> None:
    """Go on only if the operator agrees; raises :class:`typer.Exit`."""
    what = f"{verb} {how_many(len(selected), sum(letter.samples for letter in selected))}"
    # Not typer.confirm: its prompt leaves a space on stdout, which is for results.
    typer.echo(f"{what}? {consequence}. [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        remark("Nothing was changed.")
        raise typer.Exit(ExitCode.ERROR)


def _carry_out(
    selection: Selection,
    verb: str,
    done_word: str,
    consequence: str,
    step: Callable[[DeadLetters, AnyDeadLetters], bool],
) -> None:
    """Ask, do ``step`` to each dead letter, and report; ends the command if any failed."""
    outcome = Outcome()
    with _opened(selection.config) as (redis, keys):
        letters = DeadLetters(redis, keys)
        selected = chosen(letters, selection.ids, selection.filters)
        if not selection.yes:
            _confirm(verb, selected, consequence)
        try:
            with _progress(done_word, len(selected), quiet=selection.as_json) as advance:
                carry_out(selected, lambda letter: step(letters, letter), outcome, advance)
        finally:
            _report(done_word, len(selected), outcome, as_json=selection.as_json)
    if outcome.failed:
        raise typer.Exit(ExitCode.ERROR)


def _report(done_word: str, selected: int, outcome: Outcome, *, as_json: bool) -> None:
    for _, why in outcome.failed[:_FEW_FAILURES]:
        remark(f"etlctl: {why}")
    if (more := len(outcome.failed) - _FEW_FAILURES) > 0:
        remark(f"etlctl: … and {more} more")
    if as_json:
        print_json(
            {
                "selected": selected,
                done_word: outcome.done,
                "samples": outcome.samples,
                "no_longer_there": outcome.no_longer_there,
                "failed": [{"id": id_, "error": why} for id_, why in outcome.failed],
            }
        )
        return
    others = {"no longer there": outcome.no_longer_there, "kept": len(outcome.failed)}
    others["not tried"] = selected - outcome.done - sum(others.values())
    rest = "".join(f", {number} {what}" for what, number in others.items() if number)
    typer.echo(f"{how_many(outcome.done, outcome.samples)} {done_word}{rest}.")


@contextmanager
def _progress(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on a terminal; yields what is to be called after each dead letter."""
    with progress_bar(TextColumn(what), BarColumn(), MofNCompleteColumn(), quiet=quiet) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
