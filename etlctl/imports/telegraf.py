"""telegraf.conf: inputs that read Prometheus, processors that map labels, outputs to InfluxDB.

The keys are those of Telegraf 1.37 (``plugins/*/*/sample.conf``, ``docs/CONFIGURATION.md``).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping

from common.config.query import NAME_PATTERN
from common.durations import format_duration
from common.errors import ConfigError
from common.promql.selector import NAME_LABEL, parse_selector
from etlctl.imports.draft import Draft, Table
from etlctl.imports.influxdb import common_output, write_v1
from etlctl.imports.telegraf_processors import carry_processors

_DEFAULT_INTERVAL = "10s"
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_MS = {"h": 3_600_000.0, "m": 60_000.0, "s": 1_000.0, "ms": 1.0, "us": 1e-3, "µs": 1e-3, "ns": 1e-6}


def read_telegraf(text: str, source: str, environ: Mapping[str, str]) -> Draft:
    """A draft of the pipeline that the file's Prometheus inputs and InfluxDB outputs describe.

    Variables are replaced as Telegraf does it, where ``environ`` has them. Raises
    :class:`ConfigError` for what is no TOML, or has no input that reads Prometheus.
    """
    try:
        root = Table(tomllib.loads(_with_variables(text, environ)), "")
    except ValueError as error:  # of a number with thousands of digits, too
        raise ConfigError(f"{source} is no TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source} is nested too deeply") from None
    draft = Draft(source)
    agent = root.table("agent")
    interval = agent.text("interval", _DEFAULT_INTERVAL)
    if not agent.flag("omit_hostname"):
        draft.note("Telegraf's tag host is not carried: no Prometheus series has it")
    for label, value in root.mapping("global_tags").items():
        draft.constant(label, value)
    inputs = root.table("inputs")
    for table in inputs.tables("promql"):
        _promql(table, draft, interval)
    for table in inputs.tables("prometheus"):
        _prometheus(table, draft)
    if not draft.queries:
        raise ConfigError(f"{source} has neither inputs.promql with queries nor inputs.prometheus")
    for kind in inputs.rest():
        draft.note(f"inputs.{kind}: not carried: it does not read Prometheus")
    processors = root.table("processors")
    carry_processors(processors, draft)
    outputs = root.table("outputs")
    _outputs(outputs, draft)
    for kind in root.rest():
        draft.note(f"{kind}: not carried")
    return draft


def _with_variables(text: str, environ: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return environ.get(match[1] or match[2], match[0])

    # A comment may hold anything; in quotes a value cannot end the text that it stands in.
    return "\n".join(
        line if line.lstrip().startswith("#") else _VARIABLE.sub(value, line)
        for line in text.split("\n")
    )


def _promql(table: Table, draft: Draft, agent_interval: str) -> None:
    _source(table, draft)
    step = table.text("interval", agent_interval)
    renamed = table.text("name_override")
    for instant in table.tables("instant"):
        query, name = instant.text("query"), instant.text("name")
        _add(draft, instant, renamed or name, query, step=step, ranged=False)
        instant.note_rest(draft)
    for ranged in table.tables("range"):
        query, name = ranged.text("query"), ranged.text("name")
        ranged.drop("start", "end")  # windows follow each other without a gap
        _add(draft, ranged, renamed or name, query, step=ranged.text("step", step), ranged=True)
        ranged.note_rest(draft)
    table.note_rest(draft)


def _add(draft: Draft, table: Table, name: str, query: str, *, step: str, ranged: bool) -> None:
    """A plain selector is read as raw samples, unless a step was asked for."""
    if not query.strip():
        raise ConfigError(f"{table.where}.query is missing")
    metric = _metric_of_selector(query)
    name = _identifier(name or metric or "promql")
    if metric is None or ranged:
        step = format_duration(_step_ms(step, table.where))
        draft.query(name, table.where, expr=query, step=step)
        return
    draft.query(name, table.where, select=query)
    draft.note(
        f"{table.where}: {query} is read as raw samples with their own timestamps"
        " instead of one value an interval"
    )


def _metric_of_selector(query: str) -> str | None:
    """The metric that a plain selector names, "" where it names none; None for another query."""
    try:
        selector = parse_selector(query)
    except ConfigError:
        return None
    return next((each.value for each in selector.on(NAME_LABEL) if each.operator == "="), "")


def _prometheus(table: Table, draft: Draft) -> None:
    urls = table.texts("urls")
    held = _layout(table, draft)
    table.drop(
        "url_tag", "response_timeout", "ignore_timestamp", "interval", "username",
        "password", "bearer_token", "bearer_token_string", "tls_ca", "tls_cert", "tls_key",
        "insecure_skip_verify",
    )  # fmt: skip
    instances = [re.sub(r"^https?://|/.*$", "", url) for url in urls]
    if instances:
        quoted = "|".join(re.escape(instance).replace("\\-", "-") for instance in instances)
        selector = f"{{instance=~{_promql_string(quoted)}}}"
        draft.query("prometheus", table.where, select=selector)
        draft.note(
            f"{table.where}: Telegraf scraped {', '.join(instances)} itself; here Prometheus must"
            f" scrape what is extracted. {held}"
        )
    else:
        draft.note(f"{table.where}: has no urls; select what Prometheus scrapes instead")
    table.note_rest(draft)


def _layout(table: Table, draft: Draft) -> str:
    """Carry ``metric_version``; what becomes of each metric, as a sentence without its end."""
    version = table.take("metric_version") if "metric_version" in table else 1
    if version != 2:
        return "Each metric is a measurement with the field value"
    if any("expr" in query for query in draft.queries):
        draft.note(
            f"{table.where}.metric_version: not carried: load.layout would hold for the queries of"
            " inputs.promql, too"
        )
        return "Each metric is a measurement with the field value"
    draft.layout = {"preset": "telegraf_v2"}
    return "Each metric is a field of the measurement prometheus (load.layout)"


def _source(table: Table, draft: Draft) -> None:
    url = table.text("url")
    if draft.extract.get("prometheus_url", url) != url:
        draft.note(f"{table.where}: its Prometheus {url} needs a pipeline of its own")
    elif url:
        draft.extract["prometheus_url"] = url.rstrip("/")
    auth: dict[str, object] = dict(draft.extract.get("auth", {}))
    if (user := table.text("username")) and (password := table.text("password")):
        file = draft.secret("prometheus_password", password, f"{table.where}.password")
        auth |= {"username": user, "password_file": file}
    if token := table.text("token"):
        auth["bearer_token_file"] = draft.secret("prometheus_token", token, f"{table.where}.token")
    for theirs, ours in (("tls_ca", "ca_file"), ("tls_cert", "cert_file"), ("tls_key", "key_file")):
        if path := table.text(theirs):
            auth[ours] = path
    if table.flag("insecure_skip_verify"):
        auth["verify"] = False
    if auth:
        draft.extract["auth"] = auth
    if (timeout := table.text("timeout")) not in ("", "0s"):
        draft.extract["timeout"] = format_duration(_step_ms(timeout, table.where))


def _outputs(outputs: Table, draft: Draft) -> None:
    kinds: tuple[tuple[str, Callable[[Table, Draft], None]], ...] = (
        ("influxdb_v2", _v2),
        ("influxdb", _v1),
    )
    for kind, carry in kinds:
        for table in outputs.tables(kind):
            if draft.influxdb:
                draft.note(f"{table.where}: not carried: a second sink needs a second pipeline")
                continue
            carry(table, draft)
    for kind in outputs.rest():
        draft.note(f"outputs.{kind}: not carried: it is no InfluxDB")


def _v2(table: Table, draft: Draft) -> None:
    common_output(table, draft, "http_proxy")
    draft.influxdb |= {"org": table.text("organization"), "bucket": table.text("bucket")}
    if token := table.text("token"):
        file = draft.secret("influxdb_token", token, f"{table.where}.token")
        draft.influxdb["token_file"] = file
    if tag := table.text("bucket_tag"):
        draft.note(
            f"{table.where}.bucket_tag: not carried: name the buckets of each {tag} in "
            "load.bucket_from"
        )
    table.drop("user_agent", "content_encoding", "concurrent_writes")
    table.note_rest(draft)


def _v1(table: Table, draft: Draft) -> None:
    common_output(table, draft, "http_proxy")
    write_v1(
        draft,
        table.where,
        database=table.text("database", "telegraf"),
        policy=table.text("retention_policy"),
        user=table.text("username"),
        password=table.text("password"),
    )
    table.drop("user_agent", "content_encoding", "skip_database_creation", "write_consistency")
    table.note_rest(draft)


def _step_ms(text: str, where: str) -> int:
    """Milliseconds of a Go duration such as ``1m30s``. Raises :class:`ConfigError`."""
    parts = _GO_DURATION.findall(text)
    duration_ms = sum(float(count) * _MS[unit] for count, unit in parts)
    # Go's are shorter than 293 years.
    if "".join(map("".join, parts)) != text or not 0.5 < duration_ms < 2**63 / 1e6:
        raise ConfigError(f"{where}: {text!r:.40} is not a duration such as 15s or 1m30s")
    return round(duration_ms)


def _identifier(name: str) -> str:
    if re.match(NAME_PATTERN, name):
        return name[:100]
    return re.sub(r"[^a-zA-Z0-9_:]", "_", re.sub(r"^[^a-zA-Z_:]", "_", name))[:100]


def _promql_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
