"""What ``etlctl status`` and ``etlctl top`` show: health first, on a screen of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from common.durations import format_duration
from common.state.ledger import Account, Audit
from common.state.status.findings import first_line
from common.state.status.reading import PipelineStatus, proven_up_to_ms
from common.state.status.stages import Stage, backlog, stages
from common.state.windows import Gap
from etlctl.history.state import line
from etlctl.output import counts, escape, thousands
from etlctl.status.alerts import Alerts
from etlctl.tables import Table
from etlctl.times import rfc3339

WARNED_SHARE = 0.5
_UNKNOWN = "–"


def screen(status: PipelineStatus, alerts: Alerts) -> Iterator[str | Table]:
    """All of it; text is rich markup, a paragraph each."""
    audit, needs = status.audit, status.findings()
    yield f"[bold {'red' if needs else 'green'}]{escape(first_line(needs))}[/]"
    for one in needs:
        yield f"* {escape(one.detail)}"
    yield alerts_line(alerts)
    yield stage_table(stages(status.workers))
    yield windows(status)
    yield from settle_lines(status)
    yield backlog_line(status)
    for backfill in status.backfills:
        yield escape(line(backfill, status.workers))
    if status.gaps:
        yield gap_table(status.gaps)
    yield streams(audit)
    yield dead_letters_line(status)
    if warning := dead_letters_warning(audit, status.dead_letters_max):
        yield warning
    yield accounts(audit)
    for feed, account in audit.accounts.items():
        if account.dropped:
            yield f"Dropped of {escape(feed)}: {counts(account.dropped)}."
    yield balance(audit)


def alerts_line(alerts: Alerts) -> str:
    """Which fire, or why that is not known."""
    if alerts.firing is None:
        return f"[dim]Alerts firing: not known: {escape(alerts.why)}.[/]"
    names = ", ".join(alerts.firing)
    return f"Alerts firing: [bold red]{escape(names)}[/]." if names else "Alerts firing: none."


def stage_table(found: Sequence[Stage]) -> Table:
    """Replicas and rates."""
    table = Table("Stages", "stage", "replicas", "ready", "samples/s", "batch", spare=("batch",))
    for one in found:
        replicas = len(one.workers)
        ready = thousands(one.ready)
        batch = one.batch_seconds
        table.add_row(
            one.service,
            thousands(replicas) if replicas else "[bold red]0[/]",
            ready if one.ready == replicas else f"[bold red]{ready}[/]",
            f"{one.samples_per_second:,.0f}",
            _UNKNOWN if batch is None else f"{batch:,.3f} s",
        )
    return table


def backlog_line(status: PipelineStatus) -> str:
    """What is still to be extracted, and when that is done."""
    found = backlog(status.audit, status.feeds, status.workers)
    if not found.seconds:
        return "Backlog: none."
    if found.eta_seconds is None:
        until = "when that is done is not known: it does not shrink, or nothing was extracted yet"
    else:
        until = f"done in about {format_duration(1000 * (round(found.eta_seconds) + 1))}"
    feeds = "1 feed" if found.feeds == 1 else f"{thousands(found.feeds)} feeds together"
    return f"Backlog: {thousands(found.seconds)} s of {feeds}; {until}."


def dead_letters_line(status: PipelineStatus) -> str:
    """How many wait, and why."""
    audit, most = status.audit, status.dead_letters_max
    kept = thousands(audit.dead_letter_entries)
    share = kept if most is None else f"{kept} of {thousands(most)}"
    samples = thousands(audit.total.dead_lettered)
    reasons = f": {escape(counts(status.dead_letters))}" if status.dead_letters else ""
    return f"Dead letters: {share}, {samples} samples{reasons}."


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
        "Queries",
        "feed",
        *("lag", "backlog", "open", "unsettled", "gaps", "loaded up to", "proven up to"),
        spare=("loaded up to", "unsettled", "open", "gaps", "proven up to", "backlog"),
    )
    now_ms = status.audit.now_ms
    for name, feed in status.feeds.items():
        lag = f"{thousands(feed.lag_ms(now_ms) // 1_000)} s"
        proven_ms = proven_up_to_ms(status.proofs.get(name))
        backlog_seconds = sum(end - start for start, end in feed.backlog) // 1_000
        table.add_row(
            escape(name),
            f"[bold red]{lag}[/]" if feed.is_behind(now_ms) else lag,
            f"{thousands(backlog_seconds)} s",
            thousands(len(feed.open)),
            thousands(len(feed.unsettled)),
            thousands(feed.gaps),
            # Until then older time may be missing, from before Redis lost its data.
            rfc3339(feed.loaded_watermark_ms) if feed.reconciled else "sink not read yet",
            _UNKNOWN if proven_ms is None else rfc3339(proven_ms),
        )
    return table


def settle_lines(status: PipelineStatus) -> Iterator[str]:
    """How long samples settle before they are extracted, and why; queries alike on one line."""
    alike: dict[tuple[int, str], list[str]] = {}
    for feed in status.feeds.values():
        if feed.settle_why:
            names = alike.setdefault((feed.settle_ms, feed.settle_why), [])
            if feed.query not in names:
                names.append(feed.query)
    for (settle_ms, why), names in sorted(alike.items()):
        settle = format_duration(settle_ms)
        yield f"Samples settle for {settle} ({escape(why)}): {escape(', '.join(names))}."


def gap_table(gaps: Mapping[str, Sequence[Gap]]) -> Table:
    """What can never be extracted, newest last."""
    table = Table("Gaps", "feed", "after", "up to", texts=("reason",), spare=("reason",))
    for name, found in gaps.items():
        for gap in found:
            table.add_row(
                escape(name), rfc3339(gap.start_ms), rfc3339(gap.end_ms), escape(gap.reason)
            )
    return table


def streams(audit: Audit) -> Table:
    """What is in flight."""
    table = Table(
        "In flight",
        "stream",
        *("entries", "samples", "bytes", "oldest"),
        spare=("bytes", "samples"),
    )
    for name, depth in audit.streams.items():
        age = (
            f"{thousands(max(0, audit.now_ms - depth.oldest_ms) // 1_000)} s"
            if depth.oldest_ms
            else _UNKNOWN
        )
        cells = (thousands(n) for n in (depth.entries, depth.samples, depth.bytes))
        table.add_row(name, *cells, age)
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


def dead_letters_warning(audit: Audit, max_dead_letters: int | None) -> str:
    """A sentence where dead letters are near their cap, else nothing; at it they are a finding."""
    if max_dead_letters is None:
        return ""
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
