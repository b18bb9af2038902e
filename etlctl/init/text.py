"""The etl.yaml that is written: commented, and with nothing in it that is a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

import yaml

from common.durations import format_duration
from common.sink.influx3 import TAGS_MAX
from etlctl.init.proposal import ONE_TABLE_METRICS, Proposal
from etlctl.init.sink import SinkFacts
from etlctl.init.source import SourceFacts

# Distinguishes what is read of several sources; series have seldom one of their own.
SOURCE_LABEL = "prometheus"
# Keys that need no quotes; others are whatever somebody gave.
_PLAIN = frozenset(
    "prometheus_url replicas sources name url labels auth header_files params username"
    " password_file bearer_token_file ca_file".split()
)


@dataclass(frozen=True, slots=True)
class Connections:
    """Addresses, and files with the secrets; empty = there is none.

    ``prometheus_url`` may be those of replicas, with commas between, and so may each of
    ``sources``, by name, which are there instead. All are asked with the same credentials.
    """

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
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def extract(self) -> dict[str, Any]:
        """What of ``extract`` says where to read, and how to get in."""
        keys = {"auth": self.auth} if self.auth else {}
        keys |= {key: dict(value) for key, value in self.mappings.items()}
        if not self.sources:
            return {**_place(self.prometheus_url, "prometheus_url"), **keys}
        sources = [
            {"name": name, **_place(urls, "url"), "labels": {SOURCE_LABEL: name}, **keys}
            for name, urls in self.sources.items()
        ]
        return {"sources": sources}

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
    if connections.sources:
        yield "  # Series of each have its labels, so that what two of them write differs."
    yield from _tree(connections.extract, "  ")
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
        if query.sources:
            yield f"      sources: [{', '.join(map(_text, query.sources))}]"
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
        yield "  # of InfluxDB 3 Core, 2,000 in all databases (docs/line-protocol.md). That one"
        yield f"  # has a tag column for each label of any metric, and may have {TAGS_MAX} of them."
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


def _place(urls: str, key: str) -> dict[str, Any]:
    first, *more = [url.strip() for url in urls.split(",")]
    return {"replicas": [first, *more]} if more else {key: first}


def _tree(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Mappings and lists of texts, and lists of such mappings."""
    for key, value in values.items():
        name = key if key in _PLAIN else _text(key)
        if isinstance(value, str):
            yield f"{indent}{name}: {_text(value)}"
            continue
        yield f"{indent}{name}:"
        if isinstance(value, Mapping):
            yield from _tree(value, f"{indent}  ")
            continue
        for one in value:
            lines = [_text(one)] if isinstance(one, str) else list(_tree(one, ""))
            yield f"{indent}  - {lines[0]}"
            yield from (f"{indent}    {line}" for line in lines[1:])


def _text(value: str) -> str:
    """In quotes, on one line, as YAML reads it back whatever is in it."""
    style = "'" if value.isprintable() else '"'
    return yaml.safe_dump(value, default_style=style, allow_unicode=True, width=inf).rstrip("\n")


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _duration(seconds: float) -> str:
    return format_duration(round(seconds * 1000))
