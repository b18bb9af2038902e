"""The keys of an InfluxDB sink, as the files of other tools have them."""

from __future__ import annotations

import re

from common.durations import format_duration, parse_duration_ms
from common.errors import ConfigError
from etlctl.imports.draft import Draft, Table


def common_output(table: Table, draft: Draft, proxy: str) -> None:
    """What Telegraf's outputs to InfluxDB 1.x and 2.x share."""
    urls = table.texts("urls")
    if urls and not urls[0].startswith(("http://", "https://")):
        raise ConfigError(f"{table.where}.urls: {urls[0]} is no http or https URL")
    if urls:
        draft.influxdb["url"] = urls[0].rstrip("/")
    if len({url.partition("://")[0] for url in urls}) > 1:
        draft.note(f"{table.where}.urls: only the first is carried, {urls[0]}")
    elif len(urls) > 1:  # of one cluster there as here
        draft.influxdb["urls"] = list(dict.fromkeys(url.rstrip("/") for url in urls))
    headers(table, "http_headers", draft)
    for theirs, ours in (
        ("tls_ca", "ca_file"),
        ("tls_cert", "cert_file"),
        ("tls_key", "key_file"),
        ("tls_server_name", "server_name"),
        (proxy, "proxy_url"),
    ):
        if value := table.text(theirs):
            draft.influxdb[ours] = value
    if timeout := table.text("timeout"):
        try:
            draft.influxdb["timeout_seconds"] = format_duration(parse_duration_ms(timeout))
        except ValueError as error:
            raise ConfigError(f"{table.where}.timeout: {error}") from None


def headers(table: Table, key: str, draft: Draft) -> None:
    """Headers of every request, each value in a file of its own."""
    for name, value in table.mapping(key).items():
        where = f"{table.where}.{key}.{name}"
        if name.lower() == "authorization":
            draft.note(f"{where}: not carried: give a token, or a username and password")
            continue
        file = f"influxdb_header_{re.sub('[^a-z0-9_-]', '_', name.lower())}"
        draft.influxdb.setdefault("header_files", {})[name] = draft.secret(file, value, where)


def write_v1(
    draft: Draft, where: str, *, database: str, policy: str, user: str, password: str
) -> None:
    """A database of InfluxDB 1.x, which knows no organisation."""
    draft.influxdb |= {"org": "-", "bucket": f"{database}/{policy}" if policy else database}
    if user and password:
        file = draft.secret("influxdb_password", password, f"{where}.password")
        draft.influxdb |= {"username": user, "password_file": file}
