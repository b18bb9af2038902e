"""``etlctl init``: look at both servers, propose, write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etlctl.init.given import Given, given_options
from etlctl.options import AsJson, PlainConfigFile, shared_options

if TYPE_CHECKING:
    from etlctl.init.answers import Asking
    from etlctl.init.proposal import Proposal
    from etlctl.init.sink import SinkFacts
    from etlctl.init.source import SourceFacts
    from etlctl.init.text import Connections


URL_QUESTION = "Prometheus' URL (of replicas: all, with commas between)"


@shared_options("given", given_options)
def init(
    given: Given,
    config: PlainConfigFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a configuration that is there.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: take what is proposed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at Prometheus and InfluxDB, and write an etl.yaml.

    Proposes queries, and shows what they come to: samples and bytes a day, and how long the history
    would take.
    """
    from common.config import DEFAULT_PATH
    from common.errors import ConfigError
    from etlctl.init.answers import Asking, naming_options
    from etlctl.init.proposal import propose
    from etlctl.init.write import refuse_if_there, written

    file = config or DEFAULT_PATH
    refuse_if_there(file, force=force)
    interactive = not yes and not as_json
    if interactive and not sys.stdin.isatty():
        raise ConfigError("--yes: stdin is no terminal to ask on: give --yes, and options")
    asking = Asking(interactive=interactive)
    with naming_options():
        connections, source, sink = _looked(asking, given)
    if not source.jobs:
        where = connections.prometheus_url or ", ".join(source.sources)
        raise ConfigError(
            f"{where}: has no metric up: it has scraped nothing yet (try "
            "again after its scrape interval), or this is no Prometheus that scrapes (write "
            "etl.yaml by hand: docs/configuration.md)"
        )
    if asking.interactive:
        _show_source(source)
    proposal = propose(source, asking.jobs(source.jobs, given.jobs))
    if not as_json:
        _show_proposal(proposal)
    if not asking.yes(f"Write {file}?"):
        raise typer.Abort
    written(file, connections, source, sink, proposal, force=force)
    _tell(file, source, sink, proposal, as_json=as_json)


def _looked(asking: Asking, given: Given) -> tuple[Connections, SourceFacts, SinkFacts]:
    """Both servers, asked as soon as enough is known of each."""
    from dataclasses import replace

    from common.errors import ConfigError
    from etlctl.init.answers import pairs, path_of, secret_file
    from etlctl.init.sink import look_at_sink
    from etlctl.init.source import look_at_sources
    from etlctl.init.text import Connections
    from etlctl.init.write import TOKEN_FILE, extract_settings, influx_settings

    sources = pairs("--source", given.sources)
    if sources and given.prometheus_url is not None:
        raise ConfigError("--source: cannot be given with --prometheus-url: name that one, too")
    url = "" if sources else asking.text("--prometheus-url", given.prometheus_url, URL_QUESTION)
    connections = Connections(
        prometheus_url=url,
        sources=sources,
        influxdb_url="",
        org="",
        bucket="",
        prometheus_username=given.prometheus_username or "",
        prometheus_password_file=secret_file(
            "--prometheus-password-file", given.prometheus_password_file
        ),
        prometheus_bearer_token_file=secret_file(
            "--prometheus-bearer-token-file", given.prometheus_bearer_token_file
        ),
        prometheus_ca_file=path_of(given.prometheus_ca_file),
        prometheus_header_files={
            name: path_of(Path(file))
            for name, file in pairs(
                "--prometheus-header-file", given.prometheus_header_files
            ).items()
        },
        prometheus_params=pairs("--prometheus-param", given.prometheus_params),
    )
    source = look_at_sources(extract_settings(connections))
    connections = replace(
        connections,
        influxdb_url=asking.text("--influxdb-url", given.influxdb_url, "InfluxDB's URL"),
        org=asking.text("--org", given.org, "Organisation (any word for 1.x)"),
        bucket=asking.text("--bucket", given.bucket, "Bucket (of 1.x: database)"),
        influxdb_username=given.influxdb_username or "",
        influxdb_password_file=secret_file(
            "--influxdb-password-file", given.influxdb_password_file
        ),
        influxdb_token_file=secret_file("--influxdb-token-file", given.influxdb_token_file),
        influxdb_ca_file=path_of(given.influxdb_ca_file),
    )
    if not connections.influxdb_token_file and not connections.influxdb_username:
        token = asking.secret("InfluxDB's token (nothing where it asks for none)")
        if token:
            connections = replace(connections, influxdb_token_file=TOKEN_FILE, influxdb_token=token)
    question = f"Bucket {connections.bucket} is not there. Make it, to keep points for ever?"
    sink = look_at_sink(influx_settings(connections), lambda: asking.yes(question))
    return connections, source, sink


def _show_source(source: SourceFacts) -> None:
    from etlctl.output import remark, thousands

    days = source.history_seconds / 86_400
    remark(
        f"Prometheus {source.version or '(version unknown)'}: {len(source.jobs)} jobs, "
        f"{thousands(source.metrics)} metrics, {days:.1f} days of history"
        + (f", keeps {source.retention}" if source.retention else "")
    )
    for job in source.jobs:
        remark(
            f"  {job.name}: {thousands(job.series)} series of {job.targets} targets, every "
            f"{job.interval_seconds:g} s"
        )


def _show_proposal(proposal: Proposal) -> None:
    from etlctl.output import thousands

    for query in proposal.queries:
        typer.echo(f"{query.name}: {thousands(query.samples_a_day)} samples a day: {query.why}")
    megabytes = proposal.stored_bytes_a_day / 1e6
    typer.echo(
        f"together {thousands(proposal.samples_a_day)} samples a day, about {megabytes:,.1f} MB a "
        "day in InfluxDB"
    )
    if proposal.history_samples:
        typer.echo(
            f"history: {proposal.history_seconds / 86_400:.1f} days, about "
            f"{thousands(proposal.history_samples)} samples, "
            f"{_span(proposal.history_load_seconds)} to load (backfill: true)"
        )


def _span(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _tell(
    file: Path, source: SourceFacts, sink: SinkFacts, proposal: Proposal, *, as_json: bool
) -> None:
    from dataclasses import asdict

    from etlctl.output import print_json, remark

    if as_json:
        totals = {
            "samples_a_day": proposal.samples_a_day,
            "stored_bytes_a_day": proposal.stored_bytes_a_day,
            "history_samples": proposal.history_samples,
            "history_load_seconds": round(proposal.history_load_seconds),
        }
        print_json(
            {
                "file": str(file),
                "source": asdict(source),
                "sink": asdict(sink),
                "proposal": asdict(proposal) | totals,
            }
        )
        return
    if sink.made:
        remark(sink.made)
    typer.echo(f"{file} is written")
    named = "" if str(file) == "config/etl.yaml" else f" --config {file}"
    if not sink.bucket_is_there:
        if sink.why_not_made:
            remark(f"warning: {sink.why_not_made}")
        remark(f"the bucket is not there yet: make it, or run etlctl sink init{named}")
    remark(
        f"next: etlctl doctor{named}, etlctl run{named},"
        f" and in another terminal: etlctl verify{named}"
    )
