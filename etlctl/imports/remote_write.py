"""The ``remote_write`` section of a prometheus.yml.

Keys: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#remote_write.
InfluxDB 1.x takes it at ``/api/v1/prom/write?db=…&rp=…&u=…&p=…``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import yaml

from common.durations import format_duration, parse_duration_ms
from common.errors import ConfigError
from etlctl.imports.draft import Draft, Table
from etlctl.imports.influxdb import headers, write_v1

_INFLUX_PATH = "/api/v1/prom/write"
_RULE_KEYS = (
    "source_labels", "separator", "regex", "target_label", "replacement", "modulus", "action",
)  # fmt: skip
# Of these a key without a value is an empty text to Prometheus; of all others it is no key.
_EMPTY = frozenset(("separator", "regex", "target_label", "replacement", "action"))
_RESOLVED = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
EVERYTHING = '{__name__=~".+"}'


class _AsText(yaml.SafeLoader):
    """Takes what is not null as text, as Prometheus does where it wants text: ``replica: 1``."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in those if tag in _RESOLVED]
        for first, those in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_remote_write(text: str, source: str) -> Draft:
    """A draft of a pipeline that carries what the section sends, from Prometheus' history.

    Raises :class:`ConfigError` for what is no YAML, or has no remote_write.
    """
    try:
        document = yaml.load(text, Loader=_AsText)  # noqa: S506 (a safe one)
    except yaml.YAMLError as error:
        # Without the line itself, which may hold a password.
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{where} is no YAML: {getattr(error, 'problem', error)}") from None
    except (ValueError, RecursionError) as error:  # of what a tag says that it is, or of its depth
        raise ConfigError(f"{source} cannot be read: {error}") from None
    root = Table({"remote_write": document} if isinstance(document, list) else document, "")
    draft = Draft(source)
    for table in root.tables("global"):
        _global(table, draft)
    writes = root.tables("remote_write")
    if not writes:
        raise ConfigError(f"{source} has no remote_write")
    chosen = next((each for each in writes if _INFLUX_PATH in str(each.peek("url"))), writes[0])
    for each in writes:
        if each is not chosen:
            draft.note(f"{each.where} ({each.text('name') or _shown(_url_of(each))}): not carried")
    draft.query("everything", chosen.where, select=EVERYTHING)
    _write(chosen, draft)
    return draft


def _global(table: Table, draft: Draft) -> None:
    for label, value in table.mapping("external_labels").items():
        if "$" in value:
            draft.note(f"global.external_labels.{label}: {value} may be a variable of Prometheus'")
        draft.constant(label, value)
    interval_ms = _duration_ms(table, "scrape_interval", "1m")
    timeout_ms = _duration_ms(table, "scrape_timeout", "10s")
    evaluation_ms = _duration_ms(table, "evaluation_interval", "1m")
    settle_ms = max(interval_ms * 11 // 10 + min(timeout_ms, interval_ms), evaluation_ms)
    draft.extract["settle_seconds"] = format_duration(-(-settle_ms // 1000) * 1000)


def _duration_ms(table: Table, key: str, default: str) -> int:
    try:
        return parse_duration_ms(table.text(key, default))
    except ValueError as error:
        raise ConfigError(f"{table.where}.{key}: {error}") from None


def _write(table: Table, draft: Draft) -> None:
    address = _url_of(table)
    base = _shown(address._replace(path=""))
    before, found, _ = address.path.partition(_INFLUX_PATH)
    user, password = _basic_auth(table, draft) if found else ("", "")
    if found:
        said = {key: values[-1] for key, values in parse_qs(address.query).items()}
        draft.influxdb["url"] = base + before
        write_v1(
            draft,
            table.where,
            database=said.get("db", ""),
            policy=said.get("rp", ""),
            user=said.get("u", user),
            password=said.get("p", password),
        )
        headers(table, "headers", draft)
        if proxy := table.text("proxy_url"):
            draft.influxdb["proxy_url"] = proxy
        for tls in table.tables("tls_config"):
            for key in ("ca_file", "cert_file", "key_file", "server_name"):
                if value := tls.text(key):
                    draft.influxdb[key] = value
            tls.note_rest(draft)
    else:
        why = (
            f"{_shown(address)} is no InfluxDB: name one" if any(address) else "has no url: name it"
        )
        draft.note(f"{table.where}: {why} (--influxdb URL)")
    for rule in table.tables("write_relabel_configs"):
        taken = {key: rule.take(key) for key in _RULE_KEYS if key in rule}
        carried = {
            key: "" if value is None else value
            for key, value in taken.items()
            if value is not None or key in _EMPTY
        }
        if (modulus := str(carried.get("modulus", ""))).isdecimal() and len(modulus) < 20:
            carried["modulus"] = int(modulus)
        draft.relabel.append(carried)
        rule.note_rest(draft)
    table.drop("name", "queue_config", "remote_timeout", "metadata_config")
    table.note_rest(draft)


def _url_of(table: Table) -> SplitResult:
    text = table.text("url")
    try:
        address = urlsplit(text)
        _ = address.port  # a password with a slash is taken for a port
    except ValueError:  # its text may hold the password
        address = urlsplit("")
    if text and not (address.scheme and address.netloc):
        raise ConfigError(f"{table.where}.url is no URL")
    return address


def _shown(address: SplitResult) -> str:
    """Without what may hold a password."""
    if not any(address):
        return "no url"
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def _basic_auth(table: Table, draft: Draft) -> tuple[str, str]:
    for auth in table.tables("basic_auth"):
        user: Any = auth.text("username")
        if path := auth.text("password_file"):
            draft.influxdb |= {"username": user, "password_file": path}
        return user, auth.text("password")
    return "", ""
