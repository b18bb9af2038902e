"""``etlctl status``: where the pipeline stands, from its ledger as of one instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict

import typer
from redis.exceptions import RedisError

from common.config import load_settings
from common.exit_codes import ExitCode
from common.state.ledger import Account, Audit
from common.state.status.findings import first_line
from common.state.status.reading import PipelineStatus, proven_up_to_ms, read_status
from common.state.windows import Gap
from etlctl.connect import redis_of
from etlctl.failures import CannotTell, message_of
from etlctl.history.state import document, line
from etlctl.options import AsJson, ConfigFile
from etlctl.output import counts, escape, print_json, stdout, thousands
from etlctl.tables import Table
from etlctl.times import rfc3339

WARNED_SHARE = 0.5


def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the ledger, the streams and the windows of every query.

    Everything is read from Redis. Ends with 0 if all is well, 1 if something needs a person, and 2
    if that cannot be told.
    """
    settings = load_settings(config, secrets=("pipeline",))
    max_dead_letters = settings.pipeline.dead_letters.max_entries
    redis, keys = redis_of(settings.pipeline)
    try:
        with closing(redis):
            found = read_status(redis, keys, max_dead_letters)
    except RedisError as error:
        raise CannotTell(message_of(error)) from None
    audit = found.audit
    needs = found.findings()
    code = ExitCode.ERROR if needs else ExitCode.OK
    if as_json:
        state = {
            "well": not needs,
            "findings": [asdict(one) for one in needs],
            "workers": [asdict(one) for one in found.workers],
            "backfills": [document(one) for one in found.backfills],
        }
        print_json(state | found.document())
        raise typer.Exit(code)
    console = stdout()
    console.print(f"[bold]{escape(first_line(needs))}[/]", soft_wrap=True)
    for one in needs:
        console.print(f"* {escape(one.detail)}", soft_wrap=True)
    for table in (accounts(audit), windows(found), streams(audit, max_dead_letters)):
        console.print(table)
    for feed, account in audit.accounts.items():
        if account.dropped:
            console.print(f"Dropped of {escape(feed)}: {counts(account.dropped)}.", soft_wrap=True)
    for backfill in found.backfills:
        console.print(escape(line(backfill, found.workers)), soft_wrap=True)
    if found.gaps:
        console.print(gap_table(found.gaps))
    console.print(balance(audit))
    if warning := dead_letters_warning(audit, max_dead_letters):
        console.print(warning)
    raise typer.Exit(code)


def accounts(audit: Audit) -> Table:
    """The ledger, one row for each feed and one for all."""
    table = Table(
        "Ledger, in samples",
        "feed",
        *("extracted", "loaded", "dropped", "dead-lettered", "in flight", "imbalance"),
        spare=("extracted", "loaded", "in flight", "dropped", "dead-lettered"),
    )
    for feed, account in audit.accounts.items():
        _account_row(table, feed, account)
    table.add_section()
    _account_row(table, "all", audit.total)
    return table


def windows(status: PipelineStatus) -> Table:
    """How far each feed is extracted, loaded and proven."""
    table = Table(
        "Windows",
        "feed",
        *("loaded up to", "lag", "backlog", "open", "unsettled", "gaps", "proven up to"),
        spare=("proven up to", "gaps", "open", "unsettled", "backlog"),
    )
    for name, feed in status.feeds.items():
        lag_seconds = max(0, status.audit.now_ms - feed.loaded_watermark_ms) // 1_000
        proven_ms = proven_up_to_ms(status.proofs.get(name))
        backlog_seconds = sum(end - start for start, end in feed.backlog) // 1_000
        table.add_row(
            escape(name),
            # Until then older time may be missing, from before Redis lost its data.
            rfc3339(feed.loaded_watermark_ms) if feed.reconciled else "sink not read yet",
            f"{thousands(lag_seconds)} s",
            f"{thousands(backlog_seconds)} s",
            thousands(len(feed.open)),
            thousands(len(feed.unsettled)),
            thousands(feed.gaps),
            "–" if proven_ms is None else rfc3339(proven_ms),
        )
    return table


def gap_table(gaps: Mapping[str, Sequence[Gap]]) -> Table:
    """What can never be extracted, newest last."""
    table = Table("Gaps", "feed", "after", "up to", texts=("reason",), spare=("reason",))
    for name, found in gaps.items():
        for gap in found:
            table.add_row(
                escape(name), rfc3339(gap.start_ms), rfc3339(gap.end_ms), escape(gap.reason)
            )
    return table


def streams(audit: Audit, max_dead_letters: int) -> Table:
    """What is in flight."""
    table = Table(
        "Streams",
        "stream",
        *("entries", "samples", "bytes", "oldest"),
        spare=("bytes", "samples"),
    )
    for name, depth in audit.streams.items():
        age = (
            f"{thousands(max(0, audit.now_ms - depth.oldest_ms) // 1_000)} s"
            if depth.oldest_ms
            else "–"
        )
        cells = (thousands(n) for n in (depth.entries, depth.samples, depth.bytes))
        table.add_row(name, *cells, age)
    share = f"{thousands(audit.dead_letter_entries)} of {thousands(max_dead_letters)}"
    table.add_row("dead letters", share, thousands(audit.total.dead_lettered), "", "")
    return table


def balance(audit: Audit) -> str:
    """One sentence: whether every sample is accounted for."""
    if audit.imbalance_samples:
        return (
            f"[bold red]{thousands(audit.imbalance_samples)} samples are not accounted for.[/]"
            f" Lost from the streams: {thousands(audit.lost_samples)}."
        )
    pressure = " Extraction is paused: too much is in flight." if audit.back_pressure else ""
    return f"[green]Every extracted sample is accounted for.[/]{pressure}"


def dead_letters_warning(audit: Audit, max_dead_letters: int) -> str:
    """A sentence where dead letters are near their cap, else nothing; at it they are a finding."""
    if WARNED_SHARE * max_dead_letters < audit.dead_letter_entries < max_dead_letters:
        return (
            "[yellow]More than half of the dead letters that may be kept are there:[/] replay or"
            " purge some (etlctl dead-letters)."
        )
    return ""


def _account_row(table: Table, name: str, account: Account) -> None:
    table.add_row(
        escape(name),
        thousands(account.extracted),
        thousands(account.loaded),
        thousands(sum(account.dropped.values())),
        thousands(account.dead_lettered),
        thousands(account.in_flight),
        thousands(account.imbalance_samples),
    )
