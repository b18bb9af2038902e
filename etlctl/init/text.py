"""The etl.yaml that is written: commented, and with nothing in it that is a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

import yaml

from common.durations import format_duration
from etlctl.init.proposal import ONE_TABLE_METRICS, Proposal
from etlctl.init.sink import SinkFacts
from etlctl.init.source import SourceFacts


@dataclass(frozen=True, slots=True)
class Connections:
    """Addresses, and files with the secrets; empty = there is none."""

    prometheus_url: str
    influxdb_url: str
    org: str
    bucket: str
    prometheus_username: str = ""
    prometheus_password_file: str = ""
    prometheus_bearer_token_file: str = ""
    prometheus_ca_file: str = ""
    prometheus_header_files: Mapping[str, str] = field(default_factory=dict)
    prometheus_params: Mapping[str, str] = field(default_factory=dict)
    influxdb_token_file: str = ""
    influxdb_username: str = ""
    influxdb_password_file: str = ""
    influxdb_ca_file: str = ""
    # One that was typed: it is written to ``influxdb_token_file``, and nowhere else.
    influxdb_token: str = field(default="", repr=False)

    @property
    def auth(self) -> dict[str, str]:
        """``extract.auth``, of what is set."""
        found = {
            "username": self.prometheus_username,
            "password_file": self.prometheus_password_file,
            "bearer_token_file": self.prometheus_bearer_token_file,
            "ca_file": self.prometheus_ca_file,
        }
        return {key: value for key, value in found.items() if value}

    @property
    def mappings(self) -> dict[str, Mapping[str, str]]:
        """Those of ``extract``, of what is set."""
        found = {"header_files": self.prometheus_header_files, "params": self.prometheus_params}
        return {key: value for key, value in found.items() if value}

    @property
    def influxdb(self) -> dict[str, str]:
        """``load.influxdb``, of what is set."""
        found = {
            "url": self.influxdb_url,
            "token_file": self.influxdb_token_file,
            "username": self.influxdb_username,
            "password_file": self.influxdb_password_file,
            "ca_file": self.influxdb_ca_file,
        }
        needed = {"org": self.org, "bucket": self.bucket}
        return {key: value for key, value in found.items() if value} | needed


def etl_yaml(
    connections: Connections, source: SourceFacts, sink: SinkFacts, proposal: Proposal
) -> str:
    """The whole file."""
    return "\n".join(_lines(connections, source, sink, proposal)) + "\n"


def _lines(
    connections: Connections, source: SourceFacts, sink: SinkFacts, proposal: Proposal
) -> Iterator[str]:
    yield "# Written by etlctl init. docs/configuration.md lists every key with its default."
    yield "# Durations: 15s, 1m30s, 14d. Check it with: etlctl config check --online"
    yield ""
    yield "extract:"
    kept = f", which keeps {source.retention}" if source.retention else ""
    yield f"  # Prometheus {_comment(source.version) or 'of unknown version'}{_comment(kept)}."
    yield f"  prometheus_url: {_text(connections.prometheus_url)}"
    if connections.auth:
        yield "  auth:"
        for key, value in connections.auth.items():
            yield f"    {key}: {_text(value)}"
    for mapping, texts in connections.mappings.items():
        yield f"  {mapping}:"
        for name, text in texts.items():
            yield f"    {_text(name)}: {_text(text)}"
    yield ""
    settle_seconds = proposal.settle_seconds
    if settle_seconds is None:
        yield "  # Samples are left to settle before they are extracted: by what Prometheus reports"
        yield "  # of scrapes and rules. A duration would hold instead."
    else:
        yield "  # Samples are left to settle before they are extracted: 1.1 × scrape interval +"
        yield "  # scrape time-out, and the evaluation interval of rules."
    yield f"  settle_seconds: {'auto' if settle_seconds is None else _duration(settle_seconds)}"
    yield "  # How far back the very first start reaches."
    yield f"  initial_lookback_seconds: {_duration(proposal.lookback_seconds)}"
    yield ""
    yield "  queries:"
    for query in proposal.queries:
        yield f"    # {_comment(query.why)}; {query.samples_a_day:,} samples a day."
        yield f"    - name: {_text(query.name)}"
        if query.expr:
            yield f"      expr: {_text(query.expr)}"
            yield f"      step: {_duration(query.step_seconds)}"
        else:
            yield f"      select: {_text(query.selector)}"
        if proposal.history_seconds:
            yield "      # To have what Prometheus holds from before the first start, too:"
            yield "      # backfill: true"
    yield ""
    yield "transform:"
    yield "  # Measurements that are kept, exact names or globs; empty = all."
    yield "  valid_metrics: []"
    yield "  # Prometheus' own relabel_config, applied in order. etlctl once shows what it drops."
    yield "  relabel: []"
    for label, values in source.many_values.items():
        yield f"  # Label {_comment(label)} has {values:,} values. To do without it:"
        yield f"  #   - {{action: labeldrop, regex: {_text(label)}}}"
    yield ""
    yield "load:"
    yield f"  # InfluxDB {_comment(sink.version) or 'of unknown version'}."
    yield "  influxdb:"
    for key, value in connections.influxdb.items():
        yield f"    {key}: {_text(value)}"
    if sink.is_3 and source.metrics > ONE_TABLE_METRICS:
        yield f"  # One table for all metrics: {source.metrics:,} tables would come near the limit"
        yield "  # of InfluxDB 3 Core, 2,000 in all databases (docs/line-protocol.md)."
        yield "  layout: {measurement: prometheus, name_tag: true}"
    else:
        yield "  # Lines as Telegraf's metric_version = 2 writes them, for dashboards made for it"
        yield "  # (docs/line-protocol.md):"
        yield "  # layout: {preset: telegraf_v2}"
    yield "  # Rollups of five minutes and of an hour beside it, each in a bucket of its own that"
    yield "  # etlctl sink init makes (docs/history.md):"
    yield "  # tiers:"
    yield "  #   warm: {bucket: BUCKET_5m, resolution: 5m, aggregates: [avg, min, max]}"
    yield "  #   cold: {bucket: BUCKET_1h, resolution: 1h, aggregates: [avg, min, max]}"
    yield ""
    yield "pipeline:"
    yield "  # How often new windows are planned."
    yield f"  interval_seconds: {_duration(proposal.interval_seconds)}"
    yield "  log_level: INFO"
    yield "  # Without it, etlctl run starts a Redis of its own."
    yield "  # redis_url: redis://localhost:6379/0"
    yield "  # redis_password_file: secrets/redis_password"


def _text(value: str) -> str:
    """In quotes, on one line, as YAML reads it back whatever is in it."""
    style = "'" if value.isprintable() else '"'
    return yaml.safe_dump(value, default_style=style, allow_unicode=True, width=inf).rstrip("\n")


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _duration(seconds: float) -> str:
    return format_duration(round(seconds * 1000))
